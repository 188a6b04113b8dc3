"""python -m benchmarks.reconstruct: one hour of BTC-like raw data to clean Parquet, against one-shot decompression.

One process, one thread, warm; a plain Python implementation of the same beside it (`benchmarks.plain`).
"""

import os
import resource
import tempfile
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import zstandard

from benchmarks.clean import reconstruct_all
from benchmarks.journals import write_busy_hour
from benchmarks.plain import reconstruct_plain
from benchmarks.rows import Row, Target, finish, in_turn, parser_of

VENUE, SYMBOL = "binance-futures", "btcusdt"
NAME = "reconstruct: a BTC-like hour"


def decompress(path: Path) -> int:
    """The floor: the whole journal into memory at once. Gives its bytes."""
    reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
    return len(reader.readall())


def measure(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        messages, changes = write_busy_hour(Path(folder))
        journals = sorted(Path(folder, "raw").rglob("*.jsonl.zst"))
        timing = in_turn(
            {
                "floor": lambda: [decompress(path) for path in journals],
                "ours": lambda: reconstruct_all(folder, VENUE, SYMBOL),
            },
            rounds,
        )
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        plain = in_turn({"plain": lambda: reconstruct_plain(journals)}, rounds=1, warm_up=0)["plain"]
        json_mb = sum(map(decompress, journals)) / 1e6
    floor, ours = timing["floor"], timing["ours"]
    data = f"{messages:,} messages, {changes:,} level changes, {json_mb:.0f} MB of JSON lines"
    return [
        ours.row(
            NAME, "reconstruct", against="decompression", target=Target(3, "at most"), note=data, **ours.over(floor)
        ),
        floor.row(NAME, "one-shot decompression of the journal (the floor)"),
        plain.row(
            NAME,
            "plain Python: json and a dictionary",
            against="reconstruct",
            ratio=plain.median_s / ours.median_s,
            processor_ratio=plain.processor_s[0] / sorted(ours.processor_s)[rounds // 2],
            note="once",
        ),
        Row(benchmark=NAME, what="peak memory of reconstruct", value=peak_mb, unit="MB"),
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    finish(measure(arguments.rounds), arguments.json)


if __name__ == "__main__":
    main()
