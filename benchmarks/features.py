"""python -m benchmarks.features: 72 features of one day of clean data, against reading its files with polars.

864,000 grid rows of ten levels, 100,000 prints; one process, one thread, warm kernels, nothing kept from an earlier
round.
"""

import multiprocessing
import os
import resource
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import polars as pl

from benchmarks.rows import Row, Target, finish, in_turn, parser_of
from midas_ray.storage import Storage
from tests.features.clean_data import HOUR_US, START_US, make_market, write_clean
from tests.features.serial import VENUE, run_features

NAME = "features: a day of one symbol"
TRADES_AN_HOUR = 4167
TABLES = ("book", "trades", "mark", "liquidations")


def write_day(folder: str) -> None:
    for hour in range(24):
        market = make_market(1, seed=hour, start_us=START_US + hour * HOUR_US, trades_an_hour=TRADES_AN_HOUR)
        write_clean(Storage(folder), market)


def read_with_polars(folder: str) -> dict[str, int]:
    """The floor: every row of the inputs once into memory. Gives the rows of each table."""
    return {
        table: sum(pl.read_parquet(path).height for path in Path(folder, "clean", table).rglob("*.parquet"))
        for table in TABLES
    }


def measure(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, so that its memory does not count.
        writer = multiprocessing.get_context("spawn").Process(target=write_day, args=(folder,))
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("the day of clean data could not be written")
        rows = read_with_polars(folder)

        def from_nothing() -> None:
            for made in ("features", "feature_stats"):
                shutil.rmtree(Path(folder, made), ignore_errors=True)
            run_features(Storage(folder))

        timing = in_turn({"floor": lambda: read_with_polars(folder), "ours": from_nothing}, rounds)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        buckets = pl.read_parquet(f"{folder}/features/venue={VENUE}/**/*.parquet", hive_partitioning=False).height
    floor, ours = timing["floor"], timing["ours"]
    data = f"{rows['book']:,} grid rows, {rows['trades']:,} prints, {buckets:,} buckets"
    return [
        ours.row(NAME, "72 features", target=Target(5, "at most"), note=data),
        Row(
            benchmark=NAME,
            what="72 features / reading with polars",
            value=ours.median_s / floor.median_s,
            unit="x",
        ),
        floor.row(NAME, "reading the same files with polars (the floor)"),
        Row(benchmark=NAME, what="peak memory of features", value=peak_mb, unit="MB", target=Target(1000, "at most")),
    ]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    finish(measure(arguments.rounds), arguments.json)


if __name__ == "__main__":
    main()
