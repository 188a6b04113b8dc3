"""`midas_ray.open`: lazy frames of every table, with the days that are asked for and no more."""

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

import midas_ray
from midas_ray.errors import DataError, UsageError
from midas_ray.features.registry import FEATURE_NAMES
from midas_ray.storage import Storage
from midas_ray.tables import GAPS, LIQUIDATIONS, MARK, TRADES, book_schema
from tests.features.clean_data import HOUR_US, MINUTE_US, START_US, make_market, with_trade_gap, write_clean
from tests.features.serial import run_features

MIDNIGHT = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours on each side of midnight, a trade gap across it."""
    path = tmp_path_factory.mktemp("archive")
    market = make_market(4, start_us=START_US - 2 * HOUR_US, grid_ms=1000)
    write_clean(Storage(str(path)), with_trade_gap(market, START_US - MINUTE_US, START_US + 5 * MINUTE_US))
    run_features(Storage(str(path)))
    return path


def test_schemas_are_those_of_the_tables_without_hive_columns(folder: Path) -> None:
    data = midas_ray.open(str(folder))
    assert dict(data.book("testusdt").collect_schema()) == book_schema()
    for found, expected in (
        (data.trades, TRADES),
        (data.gaps, GAPS),
        (data.mark, MARK),
        (data.liquidations, LIQUIDATIONS),
    ):
        assert dict(found("testusdt").collect_schema()) == expected
    names = data.features("TESTUSDT").collect_schema().names()
    assert names == ["ts", "symbol", *FEATURE_NAMES, "coverage", "trades_coverage", "null_kinds"]


def test_ends_of_intervals_and_times_of_events_split_at_midnight(folder: Path) -> None:
    data = midas_ray.open(str(folder))
    for table, at_midnight in ((data.book, "before"), (data.features, "before"), (data.mark, "after")):
        before, after = (
            table("testusdt", *span).select("ts").collect()["ts"] for span in ((None, MIDNIGHT), (MIDNIGHT, None))
        )
        assert len(before) == len(after)
        assert (before if at_midnight == "before" else after).is_in([MIDNIGHT]).any()
        assert table("testusdt").collect().height == len(before) + len(after)


def test_times_may_be_text_dates_or_datetimes(folder: Path) -> None:
    data = midas_ray.open(str(folder))
    spans = [("2026-01-05", "2026-01-06"), (date(2026, 1, 5), date(2026, 1, 6)), (MIDNIGHT, datetime(2026, 1, 6))]
    assert [data.trades("testusdt", *span).collect().height for span in spans] == [
        data.trades("testusdt").filter(pl.col("ts") >= MIDNIGHT).collect().height
    ] * 3
    assert data.features("testusdt", "2026-01-05T00:30", "2026-01-05T01:00").collect().height == 30


def test_only_the_days_asked_for_are_opened(folder: Path) -> None:
    plan = midas_ray.open(str(folder)).book("testusdt", "2026-01-05", "2026-01-06").explain()
    assert "date=2026-01-05" in plan
    assert "date=2026-01-04" not in plan


def test_a_gap_is_found_from_either_side(folder: Path) -> None:
    data = midas_ray.open(str(folder))
    assert data.gaps("testusdt", None, "2026-01-04T23:59:30").collect().height == 1
    assert data.gaps("testusdt", "2026-01-05T00:04", None).collect().height == 1
    assert data.gaps("testusdt", "2026-01-05T00:06", None).collect().height == 0


def test_ledgers_with_and_without_fault_lie_side_by_side_and_foreign_files_are_left_alone(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    storage = Storage(str(tmp_path))
    (path,) = storage.list_files("clean/gaps", ".parquet")
    table = storage.read_parquet(path)
    storage.write_parquet(path.replace("00.parquet", "01.parquet"), table.drop_columns(["fault"]))
    storage.write_bytes(path.replace("00.parquet", "mine.parquet"), b"no Parquet")
    gaps = midas_ray.open(str(tmp_path)).gaps("testusdt").collect()
    assert dict(gaps.schema) == GAPS
    assert gaps["fault"].to_list() == ["venue", "venue"]


def test_a_span_without_rows_is_empty_but_typed(folder: Path) -> None:
    empty = midas_ray.open(str(folder)).trades("testusdt", "2030-01-01").collect()
    assert empty.height == 0
    assert dict(empty.schema) == TRADES


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda data: data.book("nosuch"), DataError, "expected data of nosuch, found testusdt"),
        (
            lambda data: data.bars("testusdt"),
            DataError,
            "clean/bars: expected data of testusdt, found no symbol at all",
        ),
        (
            lambda data: data.book("testusdt", venue="binance-spot"),
            DataError,
            "of binance-spot: expected data of testusdt",
        ),
        (
            lambda data: data.book("testusdt", "yesterday"),
            UsageError,
            "'yesterday': expected a time such as 2026-11-22",
        ),
        (lambda data: data.book("testusdt", "2026-02-01", "2026-01-01"), UsageError, "is after end"),
    ],
)
def test_mistakes_are_told_in_one_line(folder: Path, ask: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=r"^[^\n]*$") as caught:
        ask(midas_ray.open(str(folder)))  # type: ignore[operator]
    assert message in str(caught.value)


def test_a_symbol_of_two_venues_must_be_chosen(folder: Path, tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    source = Storage(str(folder))
    for path in source.list_files("clean/trades"):
        for venue in ("binance-futures", "binance-spot"):
            storage.write_bytes(path.replace("binance-futures", venue), source.read_bytes(path))
    data = midas_ray.open(str(tmp_path))
    with pytest.raises(UsageError, match="say which with venue"):
        data.trades("testusdt")
    assert data.trades("testusdt", venue="binance-spot").collect().height > 0


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a data folder, found none"):
        midas_ray.open(str(tmp_path / "nothing"))
