"""python -m benchmarks.features: 72 features of one day of clean data, against reading its files with polars.

864,000 grid rows of ten levels, 100,000 prints; one process, one thread, warm kernels, nothing kept from an earlier
round. Prints the ratio within one run, seconds and peak memory. Expected: under 10 s and under 2 GB.
"""

import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import polars as pl

from midas_ray.storage import Storage
from tests.features.clean_data import HOUR_US, START_US, make_market, write_clean
from tests.features.serial import VENUE, run_features

ROUNDS = 3
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


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, so that its memory does not count.
        writer = multiprocessing.get_context("spawn").Process(target=write_day, args=(folder,))
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("the day of clean data could not be written")
        floors, whole = [], []
        for round_number in range(ROUNDS + 1):
            for made in ("features", "feature_stats"):
                shutil.rmtree(Path(folder, made), ignore_errors=True)
            start = time.perf_counter()
            rows = read_with_polars(folder)
            floor = time.perf_counter() - start
            start = time.perf_counter()
            run_features(Storage(folder))
            if round_number:  # the first one compiles
                floors.append(floor)
                whole.append(time.perf_counter() - start)
        ratios = [round(total / floor, 1) for total, floor in zip(whole, floors, strict=True)]
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        buckets = pl.read_parquet(f"{folder}/features/venue={VENUE}/**/*.parquet", hive_partitioning=False).height
        print(f"{rows['book']:,} grid rows, {rows['trades']:,} prints, {buckets:,} buckets of 72 features")
        print(f"features / reading with polars: median {statistics.median(ratios)} (each {ratios})")
        seconds = statistics.median(whole)
        print(f"features {seconds:.2f} s, reading {statistics.median(floors):.2f} s, peak {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
