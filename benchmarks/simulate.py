"""Simulated history against its floor: the compression of the same bytes.

    python -m benchmarks.simulate [--hours 2] [--level-changes 20]

How many times real time a thin market's history is written per second of processor time (all threads together: what one
core would take), and the ratio to Zstandard alone on the same JSON.
"""

import resource
import tempfile
import time
from pathlib import Path

import zstandard

from benchmarks.rows import Row, Target, finish, parser_of
from midas_ray.simulate.history import HistorySummary, write_history

START_NS = 1_767_614_400_000_000_000  # 2026-01-05 12:00 UTC: the busy half of the day
NAME = "simulate: history"
WARM_UP_S = 5.0
REQUIRED_TIMES_REAL_TIME = 1500.0


def written(root: Path, seconds: float, level_changes: float) -> tuple[HistorySummary, float]:
    """(summary, processor seconds) of one history."""
    before_s = time.process_time()
    summary = write_history(
        str(root), "binance-futures", ("btcusdt",), 7, START_NS, seconds, level_changes=level_changes
    )
    return summary, time.process_time() - before_s


def compression_s(root: Path) -> float:
    """Processor seconds that Zstandard at the same level takes for the same JSON."""
    elapsed_s = 0.0
    for path in sorted(root.rglob("*.jsonl.zst")):
        with path.open("rb") as file:
            data = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
        before_s = time.process_time()
        zstandard.ZstdCompressor(level=3).compress(data)
        elapsed_s += time.process_time() - before_s
    return elapsed_s


def measure(hours: float, level_changes: float) -> list[Row]:
    seconds = hours * 3600
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder) / "warm-up", WARM_UP_S, level_changes)
        root = Path(folder) / "measured"
        summary, processor_s = written(root, seconds, level_changes)
        floor_s = compression_s(root)
    return [
        Row(
            benchmark=NAME,
            what="history, times real time on one core",
            value=seconds / processor_s,
            unit="x",
            target=Target(REQUIRED_TIMES_REAL_TIME, "at least"),
            note=f"{summary}; {summary.level_changes / (seconds * 10):.1f} level changes a message",
        ),
        Row(
            benchmark=NAME,
            what="processor time of the history",
            value=processor_s,
            against="Zstandard alone",
            ratio=processor_s / floor_s,
        ),
        Row(benchmark=NAME, what="Zstandard alone on the same JSON (the floor)", value=floor_s),
        Row(
            benchmark=NAME,
            what="peak memory",
            value=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            unit="MB",
        ),
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--hours", type=float, default=2.0, help="hours of history (default 2)")
    parser.add_argument("--level-changes", type=float, default=20.0, help="per 100 ms message (default 20)")
    arguments = parser.parse_args()
    finish(measure(arguments.hours, arguments.level_changes), arguments.json)


if __name__ == "__main__":
    main()
