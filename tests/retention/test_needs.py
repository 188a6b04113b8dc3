"""Retention beside the stages themselves: what they still need stays, and what goes makes none of them work again."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from midas_ray.errors import DataError
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files, read_manifest, up_to_date
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.retention.run import clean_data
from midas_ray.settings import CleanData
from midas_ray.storage import Storage
from tests.features.serial import plan_of, read_features, run_features
from tests.reconstruct.market import START_MS, Market
from tests.retention.test_models import write_model

VENUE, SYMBOL = "binance-futures", "btcusdt"
STEP_MS = 10_000
DAYS = 6
FIRST = date(2026, 1, 1)
NOW = datetime(2026, 1, 7, tzinfo=UTC)
DAY_MS = 86_400_000


def settings(root: Path, **others: Any) -> CleanData:
    given = {"data_dir": str(root), "snapshot_interval_ms": STEP_MS, "model_dir": str(root / "models")}
    return CleanData(**given | {"assume_yes": True} | others)


def trade_until(market: Market, end_ms: int) -> None:
    while market.now_ms < end_ms:
        market.depth(market.random.randint(1, 1_200_000))
        market.trade()


def some_days(root: Path, days: int = DAYS) -> Market:
    """A quiet market from 1 January 2026 on, one file an hour; its collector has ended."""
    market = Market(root, seed=3)
    market.open()
    market.depth(50)
    market.snapshot()
    trade_until(market, START_MS + days * DAY_MS - 1_300_000)
    market.close()
    return market


def to_reconstruct(root: Path) -> list[int]:
    """Hours that `midas reconstruct` would compute."""
    storage, values = Storage(str(root)), settings(root)
    files = raw_files(storage, VENUE, SYMBOL)
    keys = hour_keys(files, values)
    done = up_to_date(files, keys, read_manifest(storage, VENUE, SYMBOL))
    return sorted(set(keys) - set(done))


def reconstruct(root: Path) -> None:
    storage, values = Storage(str(root)), settings(root)
    files = raw_files(storage, VENUE, SYMBOL)
    keys = hour_keys(files, values)
    done = up_to_date(files, keys, read_manifest(storage, VENUE, SYMBOL))
    for task in plan_tasks(VENUE, SYMBOL, files, keys, done):
        reconstruct_hours(str(root), task, values)


def days_left(root: Path, table: str) -> list[int]:
    """Days of January of which anything of the table is there."""
    partitions = Storage(str(root)).partitions({"clean": "clean/book"}.get(table, table))
    return [partition.date.day for partition in partitions]


def clean_rows(root: Path, table: str) -> pl.DataFrame:
    storage = Storage(str(root))
    paths = storage.list_files(f"clean/{table}/venue={VENUE}/symbol={SYMBOL}", ".parquet")
    return pl.concat([pl.DataFrame(storage.read_parquet(path)) for path in paths])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six days through reconstruct and features; nobody may change it."""
    root = tmp_path_factory.mktemp("finished")
    some_days(root)
    reconstruct(root)
    run_features(Storage(str(root)), SYMBOL)
    return root


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that keeps the times of files, as what is up to date rests on them."""
    shutil.copytree(finished, tmp_path / "data", copy_function=shutil.copy2)
    return tmp_path / "data"


def test_raw_that_is_not_reconstructed_stays_whatever_its_age(tmp_path: Path, capsys: Any) -> None:
    some_days(tmp_path, days=3)
    assert clean_data(settings(tmp_path, older_than="1h", dry_run=True), NOW) == 0
    assert "not reconstructed yet: the hours 2025-12-31 23:00 to 2026-01-04 00:00" in capsys.readouterr().out
    assert clean_data(settings(tmp_path, older_than="1h"), NOW) == 0
    assert days_left(tmp_path, "raw") == [1, 2, 3]


def test_of_finished_days_the_next_hour_and_the_next_day_keep_what_they_need(copy: Path) -> None:
    assert clean_data(settings(copy, older_than="1h"), NOW) == 0
    assert days_left(copy, "raw") == [6]
    assert days_left(copy, "clean") == days_left(copy, "features") == [3, 4, 5, 6]


def test_what_went_makes_nothing_be_computed_again(copy: Path, finished: Path) -> None:
    before = {table: clean_rows(copy, table) for table in ("book", "trades")}
    features = read_features(Storage(str(copy)), SYMBOL)
    assert clean_data(settings(copy, older_than="1h"), NOW) == 0
    assert to_reconstruct(copy) == []
    assert plan_of(Storage(str(copy)), SYMBOL).days == []
    kept = pl.col("ts") > datetime(2026, 1, 3, tzinfo=UTC)
    for table, frame in before.items():
        assert_frame_equal(clean_rows(copy, table), frame.filter(kept), check_exact=True)
    assert_frame_equal(read_features(Storage(str(copy)), SYMBOL), features.filter(kept), check_exact=True)


def come_back(root: Path, scratch: Path) -> None:
    """The collector of `finished` starts again after half an hour, and collects for a day."""
    market = some_days(scratch)
    market.root = root
    market.restart(1_800_000)
    market.depth(40)
    market.snapshot()
    trade_until(market, START_MS + (DAYS + 1) * DAY_MS)
    market.close()


def test_days_after_retention_are_what_they_are_without_it(copy: Path, finished: Path, tmp_path: Path) -> None:
    """Everything that is new equals what someone has who kept everything, and the ledger knows the time between."""
    whole = tmp_path / "whole"
    shutil.copytree(finished, whole, copy_function=shutil.copy2)
    assert clean_data(settings(copy, older_than="1h"), NOW) == 0
    assert days_left(copy, "raw") == [6]
    for root in (copy, whole):
        come_back(root, tmp_path / f"scratch-{root.name}")
        reconstruct(root)
        run_features(Storage(str(root)), SYMBOL)
    new = pl.col("ts") > NOW - timedelta(days=1)
    for table in ("book", "trades"):
        assert_frame_equal(clean_rows(copy, table).filter(new), clean_rows(whole, table).filter(new), check_exact=True)
    assert clean_rows(whole, "gaps")["cause"].to_list() == ["down"]
    assert_frame_equal(clean_rows(copy, "gaps"), clean_rows(whole, "gaps"))
    mine, theirs = (read_features(Storage(str(root)), SYMBOL).filter(new) for root in (copy, whole))
    assert mine.height > 1440
    assert_frame_equal(mine, theirs, check_exact=True)


def test_by_size_the_oldest_days_go_and_no_more_than_needed(copy: Path) -> None:
    storage = Storage(str(copy))
    sizes = {day: sum(storage.sizes(paths)) for day, paths in storage.partitions("raw").items()}
    limit = sum(sorted(sizes.values())[-3:]) + sum(sizes.values()) // 1000
    assert clean_data(settings(copy, max_size=limit, tables="raw"), NOW) == 0
    left = days_left(copy, "raw")
    assert left[-1] == 6
    assert left == list(range(left[0], 7))
    assert sum(sum(storage.sizes(paths)) for paths in storage.partitions("raw").values()) <= limit


def test_a_size_that_cannot_be_reached_is_told(copy: Path) -> None:
    with pytest.raises(DataError, match=r"--max-size 1 B: .* stay, as they are needed"):
        clean_data(settings(copy, max_size=1), NOW)
    assert days_left(copy, "raw") == [6]  # it went as far as it could


def test_clean_whose_features_are_not_there_stays_with_its_history(copy: Path, capsys: Any) -> None:
    for path in Storage(str(copy)).list_files("features"):
        if "date=2026-01-04" in path:
            Storage(str(copy)).delete(path)
    assert clean_data(settings(copy, older_than="1h"), NOW) == 0
    assert days_left(copy, "clean") == [1, 2, 3, 4, 5, 6]
    assert clean_data(settings(copy, older_than="1h", dry_run=True), NOW) == 0
    line = "keep clean of btcusdt 2026-01-01 to 2026-01-04 (4 days)"
    assert any(
        line in shown and "the features of 2026-01-04 are not up to date and need it" in shown
        for shown in capsys.readouterr().out.splitlines()
    )


def test_features_of_a_model_stay_until_its_folder_goes(copy: Path) -> None:
    folder = write_model(copy / "models", "tft-1", str(copy))
    assert clean_data(settings(copy, older_than="1h"), NOW) == 0
    assert days_left(copy, "features") == [1, 2, 3, 4, 5, 6]
    assert days_left(copy, "clean") == [3, 4, 5, 6]
    assert plan_of(Storage(str(copy)), SYMBOL).days == []
    folder.rename(copy / "elsewhere")
    assert clean_data(settings(copy, older_than="1h"), NOW) == 0
    assert days_left(copy, "features") == [3, 4, 5, 6]


def test_of_live_features_the_newest_day_stays_and_notes_of_archives_go_with_their_day(copy: Path) -> None:
    storage = Storage(str(copy))
    for day in (1, 2, 5):
        folder = f"venue={VENUE}/symbol={SYMBOL}/date=2026-01-0{day}"
        storage.write_bytes(f"live_features/{folder}/07-60000ms.jsonl", b"{}\n")
        storage.write_bytes(f"clean/archive/{folder}/book.json", b"{}")
    assert clean_data(settings(copy, older_than="1h", dry_run=True), NOW) == 0
    assert clean_data(settings(copy, older_than="1h"), NOW) == 0
    assert days_left(copy, "live_features") == [5]
    assert days_left(copy, "clean/archive") == [5]


def test_the_flags_release_what_they_name(copy: Path) -> None:
    write_model(copy / "models", "tft-1", str(copy))
    assert clean_data(settings(copy, delete_unfinished=True), NOW) == 0
    assert (days_left(copy, "raw"), days_left(copy, "clean"), days_left(copy, "features")) == ([], [], [1, 2])
    assert clean_data(settings(copy, delete_unfinished=True, delete_model_data=True), NOW) == 0
    assert days_left(copy, "features") == []


def test_trades_without_a_book_are_not_computed_again_either(tmp_path: Path) -> None:
    """Where there is no book, an hour knows whether the one before it was collected: that one may have gone."""
    some_days(tmp_path)
    reconstruct(tmp_path)
    storage = Storage(str(tmp_path))
    for path in storage.list_files("clean/book"):
        storage.delete(path)
    run_features(storage, SYMBOL)
    features = read_features(storage, SYMBOL)
    for path in storage.list_files("raw"):
        storage.delete(path)
    assert clean_data(settings(tmp_path, older_than="1h"), NOW) == 0
    assert [partition.date.day for partition in storage.partitions("clean/trades")] == [3, 4, 5, 6]
    assert plan_of(storage, SYMBOL).days == []
    kept = pl.col("ts") > datetime(2026, 1, 3, tzinfo=UTC)
    assert_frame_equal(read_features(storage, SYMBOL), features.filter(kept), check_exact=True)
