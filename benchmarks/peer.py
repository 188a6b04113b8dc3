"""hftbacktest beside this project, on the same real file, and whether the books are the same.

    python -m benchmarks.peer [--rounds 7] [--file PATH.gz --symbol btcusdt --tick 0.1 --lot 0.001]

hftbacktest: its own `convert` of the raw file (kept in memory), then its ten best levels each 100 ms in a compiled loop
over the faster of its two books. Ours: plan, replay and clean Parquet of the imported journal; the import is timed in a
row of its own. One process, warm; all in turn in each round. Ours decompresses ahead in a second thread where a core is
free; the processor column counts both. hftbacktest's version is the last that stands beside
this project's numpy; 2.4.3 asks for an older one and took the same time in an environment of its own.

The books are compared on the exchange's clock: hftbacktest is given exchange time as local time and steps to just
before each of our grid times, where both have applied every event before it.
"""

import gzip
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import hftbacktest
import numpy as np
import polars as pl
import zstandard

from benchmarks.clean import captures_root, import_lines, read_clean, reconstruct_all
from benchmarks.hftbacktest_replay import LEVELS, STEP_NS, Floats, converted, on_exchange_clock, ten_levels
from benchmarks.plain import reconstruct_plain
from benchmarks.rows import Row, Target, finish, in_turn, parser_of
from midas_ray.tables import level_columns

VENUE = "binance-futures"
FILE = "binance-futures-raw/btcusdt_20240808.gz"
MOST_ROWS = 40_000


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the rows of two books at the same times relate.

    rows: live rows of ours. equal: those in which every price and size that ours states is the other's. partly: rows
    in which ours leaves levels null, because they lie beyond what its snapshot covered; hftbacktest shows there what
    happened to change since. first_difference: of the first row that is not equal, for a person.
    """

    rows: int
    equal: int
    partly: int
    first_difference: str = ""


def ours_as_levels(book: pl.DataFrame, tick: float) -> Floats:
    """(rows, 4, 10) of clean/book, prices in ticks, as `ten_levels` gives them; NaN beyond the known depth."""
    kinds = ("bid_px", "bid_sz", "ask_px", "ask_sz")
    levels = np.stack([book.select(level_columns(kind, LEVELS)).to_numpy() for kind in kinds], axis=1)
    levels[:, (0, 2)] = np.rint(levels[:, (0, 2)] / tick)
    return levels


def compare(book: pl.DataFrame, events: np.ndarray, tick: float, lot: float) -> Comparison:
    """Our clean/book against hftbacktest's replay of its own events, at every live grid time of ours."""
    live = book.filter(pl.col("state") == "live")
    ts_ns = live["ts"].dt.epoch("ns").to_numpy()
    steps = (ts_ns - ts_ns[0]) // STEP_NS
    theirs = ten_levels(on_exchange_clock(events), "roi", tick, lot, int(steps[-1]) + 1, int(ts_ns[0]) - STEP_NS - 1)
    steps = steps[steps < len(theirs)]
    ours, theirs = ours_as_levels(live, tick)[: len(steps)], theirs[steps]
    known = ~np.isnan(ours)
    same = (ours == theirs) | ~known
    equal = same.all(axis=(1, 2))
    difference = ""
    if not equal.all():
        row = int(np.flatnonzero(~equal)[0])
        kind, level = (int(at[0]) for at in np.nonzero(~same[row]))
        difference = f"{live['ts'][row]}: kind {kind} level {level + 1}: {ours[row, kind, level]} and "
        difference += f"{theirs[row, kind, level]}"
    return Comparison(len(steps), int(equal.sum()), int((~known.all(axis=(1, 2))).sum()), difference)


def decompressed(paths: list[Path]) -> int:
    """One-shot decompression of our journals into memory; gives the bytes."""
    decompressor = zstandard.ZstdDecompressor()
    return sum(len(decompressor.stream_reader(path.open("rb"), read_across_frames=True).readall()) for path in paths)


def gunzipped(path: Path) -> int:
    with gzip.open(path) as file:
        return len(file.read())


def measure(source: Path, symbol: str, tick: float, lot: float, rounds: int) -> list[Row]:
    """Rows of everything, on one file. Raises ImportFileError, DataError."""
    with tempfile.TemporaryDirectory() as folder:
        number = iter(range(10_000))

        def imported() -> str:
            data_dir = f"{folder}/{next(number)}"
            import_lines(data_dir, VENUE, symbol, [str(source)])
            return data_dir

        data_dir, events = imported(), converted(source)
        journals = sorted(Path(data_dir, "raw").rglob("*.jsonl.zst"))
        timing = in_turn(
            {
                "convert": lambda: converted(source),
                "roi": lambda: ten_levels(events, "roi", tick, lot, MOST_ROWS),
                "hash map": lambda: ten_levels(events, "hash map", tick, lot, MOST_ROWS),
                "ours": lambda: reconstruct_all(data_dir, VENUE, symbol),
                "floor": lambda: decompressed(journals),
                "gunzip": lambda: gunzipped(source),
                "plain": lambda: reconstruct_plain(journals),
                "import": imported,
            },
            rounds,
        )
        found = compare(read_clean(data_dir, "book", VENUE, symbol), events, tick, lot)
    faster = min(("roi", "hash map"), key=lambda kind: timing[kind].median_s)
    peer = timing["convert"].then(timing[faster])
    ours, floor = timing["ours"], timing["floor"]
    name = f"peer: {source.name}"
    other = "roi" if faster == "hash map" else "hash map"
    rows = [
        ours.row(name, "our reconstruct of the imported journal", against="decompression", **ours.over(floor)),
        peer.row(
            name,
            f"hftbacktest {hftbacktest.__version__}: convert + replay",
            against="our reconstruct",
            target=Target(8, "at least"),
            **peer.over(ours),
        ),
        timing["convert"].row(name, "hftbacktest: convert alone"),
        timing[faster].row(name, f"hftbacktest: replay alone, {faster} book"),
        timing[other].row(name, f"hftbacktest: replay alone, {other} book"),
        timing["plain"].row(
            name, "plain Python: json and a dictionary", against="our reconstruct", **timing["plain"].over(ours)
        ),
        floor.row(name, "one-shot decompression of our journal (the floor)"),
        timing["gunzip"].row(name, "one-shot decompression of the source (gzip)"),
        timing["import"].row(
            name,
            "our import, once a file",
            against="hftbacktest's convert",
            **timing["import"].over(timing["convert"]),
        ),
    ]
    note = f"{found.equal:,} of {found.rows:,}"
    if found.partly:
        note += f"; in {found.partly:,} ours leaves levels null that its one snapshot did not cover"
    if found.first_difference:
        note += f"; first difference {found.first_difference}"
    share = found.equal / found.rows if found.rows else 0.0
    what = "rows with the same prices and sizes in both"
    return [*rows, Row(benchmark=name, what=what, value=share, unit="", target=Target(1, "at least"), note=note)]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--file", type=Path, default=captures_root() / FILE, help="lines of '<recv ns> <json>', gzip")
    parser.add_argument("--symbol", default="btcusdt")
    parser.add_argument("--tick", type=float, default=0.1)
    parser.add_argument("--lot", type=float, default=0.001)
    arguments = parser.parse_args()
    if not arguments.file.is_file():
        print(f"peer: left out: expected {arguments.file}, found none (set MIDAS_TEST_DATA or --file)", file=sys.stderr)
        finish([], arguments.json)
        return
    found = measure(arguments.file, arguments.symbol, arguments.tick, arguments.lot, arguments.rounds)
    finish(found, arguments.json)


if __name__ == "__main__":
    main()
