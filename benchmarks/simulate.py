"""Simulated history against its floor: the compression of the same bytes.

    python -m benchmarks.simulate [--hours 2] [--level-changes 20]

Prints how many times real time a thin market's history is written, by the clock and per second of processor time (all
threads together: what one core would take), and the ratio to Zstandard alone on the same JSON.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import zstandard

from midas_ray.simulate.history import HistorySummary, write_history

START_NS = 1_767_614_400_000_000_000  # 2026-01-05 12:00 UTC: the busy half of the day
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=2.0, help="hours of history (default 2)")
    parser.add_argument("--level-changes", type=float, default=20.0, help="per 100 ms message (default 20)")
    arguments = parser.parse_args()
    seconds = arguments.hours * 3600
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder) / "warm-up", WARM_UP_S, arguments.level_changes)
        root = Path(folder) / "measured"
        summary, processor_s = written(root, seconds, arguments.level_changes)
        floor_s = compression_s(root)
    print(summary)
    print(f"level changes a message: {summary.level_changes / (seconds * 10):.1f}")
    print(f"processor time {processor_s:.2f} s: {seconds / processor_s:,.0f} x real time on one core")
    print(f"24 h on one core: {86400 * processor_s / seconds:.1f} s, asked: {86400 / REQUIRED_TIMES_REAL_TIME:.1f} s")
    print(f"Zstandard alone {floor_s:.2f} s: ratio {processor_s / floor_s:.2f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
