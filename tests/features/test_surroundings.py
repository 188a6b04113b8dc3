"""Features depend on the raw data and their own settings alone: not on the machine, nor on what else is written."""

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage
from tests.features.raw_market import SYMBOL, VENUE, RawMarket, make_features, reconstruct
from tests.features.serial import read_features
from tests.reconstruct.test_any_cut import assert_same_bits, tables_of

ELSEWHERE = {
    "TZ": "Asia/Kolkata",
    "LC_ALL": "tr_TR.UTF-8",
    "PYTHONHASHSEED": "7",
    "POLARS_MAX_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


def write_market(root: Path, max_bytes: int = 2**40) -> None:
    """Two hours over midnight with a gap and finer numbers."""
    market = RawMarket(root, 5, max_bytes)
    market.now_ms += 60 * 60_000
    market.next_mark_ms = market.now_ms
    market.open()
    market.minutes(0.3)
    market.snapshot()
    market.minutes(30)
    market.finer_numbers()
    market.lose_depth(20)
    market.minutes(80)
    market.close()


def made(root: Path, book: BookSettings, pack_bytes: int = 2**40, **chosen: float) -> dict[str, pl.DataFrame]:
    """The clean tables and features of what is in raw."""
    storage = Storage(str(root))
    files = raw_files(storage, VENUE, SYMBOL)
    for task in plan_tasks(VENUE, SYMBOL, files, hour_keys(files, book), {}, pack_bytes):
        reconstruct_hours(str(root), task, book)
    make_features(root, **chosen)
    return tables_of(root) | {"features": read_features(storage, SYMBOL)}


def main(root: Path) -> None:
    """What the other process does."""
    write_market(root)
    reconstruct(root, grid_ms=1000)
    make_features(root)


def test_time_zone_locale_threads_and_hash_seed_do_not_show(tmp_path: Path) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    main(here)
    command = "import sys, pathlib; from tests.features.test_surroundings import main; main(pathlib.Path(sys.argv[1]))"
    repository = str(Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", command, str(elsewhere)],
        check=True,
        cwd=repository,
        env=os.environ | ELSEWHERE | {"PYTHONPATH": repository},
    )
    found, wanted = (
        tables_of(root) | {"features": read_features(Storage(str(root)), SYMBOL)} for root in (elsewhere, here)
    )
    assert_same_bits(found, wanted)


def test_deeper_books_give_the_same_features(tmp_path: Path) -> None:
    write_market(tmp_path / "ten")
    write_market(tmp_path / "fifty")
    ten, fifty = (
        made(tmp_path / name, BookSettings(snapshot_interval_ms=1000, order_book_depth=depth))
        for name, depth in (("ten", 10), ("fifty", 50))
    )
    assert "bid_px_50" in fifty["book"].columns
    assert fifty["book"]["bid_px_20"].count() > 5000
    ten["book"], fifty["book"] = ten["book"], fifty["book"].select(ten["book"].columns)
    assert_same_bits(fifty, ten)


@pytest.mark.parametrize(("bucket_ms", "grid_ms"), [(10_000, 1000), (3_600_000, 1000)])
def test_other_buckets_are_the_same_however_hours_are_packed(tmp_path: Path, bucket_ms: int, grid_ms: int) -> None:
    write_market(tmp_path / "one")
    write_market(tmp_path / "many", max_bytes=60_000)
    book = BookSettings(snapshot_interval_ms=grid_ms)
    one = made(tmp_path / "one", book, time_bucket_ms=bucket_ms)
    many = made(tmp_path / "many", book, pack_bytes=1, time_bucket_ms=bucket_ms)
    assert len(one["features"]) >= 2
    assert_same_bits(many, one)
