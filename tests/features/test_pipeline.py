"""The pipeline on files: gaps stay nulls, sharding and restarts change nothing, only what changed is computed again."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURE_NAMES, FEATURES, POSITION
from midas_ray.storage import Storage
from tests.features.clean_data import (
    HOUR_US,
    MINUTE_US,
    START_US,
    make_market,
    with_book_gap,
    with_trade_gap,
    without_collector,
    write_clean,
)
from tests.features.serial import features_of, plan_of, read_features, run_features

WITHOUT = {"derivatives", "calendar"}


def kinds_of(frame: pl.DataFrame) -> np.ndarray:
    return np.frombuffer(b"".join(frame["null_kinds"].to_list()), dtype=np.uint8).reshape(-1, len(FEATURES))


def minute_of(frame: pl.DataFrame) -> np.ndarray:
    return (frame["ts"].cast(pl.Int64).to_numpy() - START_US) // MINUTE_US


def needs(stream: str) -> list[int]:
    """Positions of features made from the bucket's own book or trades."""
    return [POSITION[feature.name] for feature in FEATURES if feature.inputs == (stream,)]


@given(start_s=st.floats(300, 3000), length_s=st.floats(0.5, 400))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_gap_never_becomes_a_number(
    start_s: float, length_s: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    start_us = START_US + int(start_s * 10) * 100_000 + 37_000
    end_us = start_us + int(length_s * 1e6)
    market = make_market(1.2, trades_an_hour=2000, grid_ms=500)
    storage = Storage(str(tmp_path_factory.mktemp("gap")))
    write_clean(storage, with_trade_gap(with_book_gap(market, start_us, end_us), start_us, end_us))
    frame = features_of(storage)
    kinds, minute = kinds_of(frame), minute_of(frame)
    begins, ends = START_US + (minute - 1) * MINUTE_US, START_US + minute * MINUTE_US
    inside = (begins >= start_us) & (ends <= end_us)
    touched = (start_us < ends) & (end_us >= begins)
    for stream in ("book", "trade"):
        assert (kinds[inside][:, needs(stream)] == NullKind.GAP).all()
    assert (kinds[touched][:, needs("trade")] == NullKind.GAP).all()
    sums = [
        POSITION[name] for name in ("ofi", "ofi_cumulative", "ofi_normalized", "ofi_multilevel", "realized_volatility")
    ]
    rows_lost = (start_us + 500_000 < ends) & (end_us > begins)
    if end_us - start_us > 500_000:
        assert (kinds[rows_lost][:, sums] == NullKind.GAP).all()
    null = frame.select(pl.col(FEATURE_NAMES).is_null()).to_numpy()
    assert (null == (kinds != NullKind.VALUE)).all()


def test_coverage_says_what_was_there(tmp_path: Path) -> None:
    market = make_market(1, grid_ms=500)
    market = with_book_gap(market, START_US + 10 * MINUTE_US, START_US + 10 * MINUTE_US + 15_000_000)
    market = with_trade_gap(market, START_US + 20 * MINUTE_US, START_US + 20 * MINUTE_US + 30_000_000)
    market = without_collector(market, START_US + 30 * MINUTE_US, START_US + 42 * MINUTE_US + 15_000_000)
    storage = Storage(str(tmp_path))
    write_clean(storage, market)
    frame = features_of(storage)
    minute = minute_of(frame)
    assert minute.tolist() == [*range(1, 31), *range(43, 61)]  # no rows where no collector ran
    coverage, trades_coverage = frame["coverage"].to_numpy(), frame["trades_coverage"].to_numpy()
    assert coverage[minute == 11] == 0.75
    assert trades_coverage[minute == 11] == 1.0
    assert trades_coverage[minute == 21] == pytest.approx(0.5)
    assert coverage[minute == 43] == trades_coverage[minute == 43] == 0.75
    assert ((coverage == 1) & (trades_coverage == 1)).sum() == 45
    kinds = kinds_of(frame)
    returns = kinds[:, POSITION["returns"]]
    assert returns[minute == 1] == NullKind.WARM_UP
    assert returns[minute == 43] == NullKind.GAP  # P of minute 42 is lost, the data had begun


def test_hours_that_arrive_one_by_one_give_the_same_bits(tmp_path: Path) -> None:
    begin_us = START_US - 2 * HOUR_US
    market = make_market(4, start_us=begin_us, grid_ms=1000)
    at_once, growing = Storage(str(tmp_path / "once")), Storage(str(tmp_path / "growing"))
    write_clean(at_once, market)
    whole = features_of(at_once)
    for hours in (1, 3, 4):
        write_clean(growing, market.until(begin_us + hours * HOUR_US))
        run_features(growing)
    assert_frame_equal(read_features(growing), whole, check_exact=True)


def test_a_second_run_computes_nothing_and_a_changed_hour_only_itself(tmp_path: Path) -> None:
    market = make_market(5, grid_ms=1000, start_us=START_US - 2 * HOUR_US)
    storage = Storage(str(tmp_path))
    write_clean(storage, market)
    assert run_features(storage) == {"statistics": 5, "cost notional": 2, "costs": 5, "features": 1}
    first = read_features(storage)
    assert run_features(storage) == {"statistics": 0, "cost notional": 0, "costs": 0, "features": 0}
    hour = next(path for path in storage.list_files("clean/trades", ".parquet") if path.endswith("/02.parquet"))
    storage.write_parquet(hour, storage.read_parquet(hour))
    assert run_features(storage) == {"statistics": 1, "cost notional": 1, "costs": 1, "features": 1}
    assert_frame_equal(read_features(storage), first, check_exact=True)
    assert len(storage.list_files("feature_stats")) == 10  # nothing stale stays


def test_old_clean_data_that_go_take_no_features_with_them(tmp_path: Path) -> None:
    market = make_market(5, grid_ms=1000, start_us=START_US - 3 * HOUR_US)
    storage = Storage(str(tmp_path))
    write_clean(storage, market)
    whole = features_of(storage)
    for path in storage.list_files("clean"):
        if "date=2026-01-04" in path:
            storage.delete(path)
    assert plan_of(storage).days == []
    assert_frame_equal(features_of(storage), whole, check_exact=True)


def test_other_settings_compute_anew(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    write_clean(storage, make_market(2, grid_ms=1000))
    minutes = features_of(storage)
    assert len(plan_of(storage, time_bucket_ms=600_000).days) == 1
    tens = features_of(storage, time_bucket_ms=600_000)
    assert tens.height == 12
    assert tens["volume"].to_list() == pytest.approx(
        minutes.group_by_dynamic("ts", every="10m", closed="right", label="right")
        .agg(pl.col("volume").sum())["volume"]
        .to_list()
    )
    explicit = features_of(storage, cost_notional=5000.0)
    assert explicit["cost_to_buy_bps"].null_count() == 0
    path = storage.list_files("features", ".parquet")[0]
    assert storage.read_parquet_metadata(path)["cost_notional"] == "5000.0"


def test_the_default_notional_is_a_tenth_of_one_side_and_waits_an_hour(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    market = make_market(2, grid_ms=1000)
    write_clean(storage, market)
    frame = features_of(storage)
    found = float(storage.read_parquet_metadata(storage.list_files("features", ".parquet")[0])["cost_notional"])
    hour = market.book.filter(pl.col("ts").cast(pl.Int64) <= START_US + HOUR_US)
    held = sum(
        (hour[f"{side}_px_{level:02d}"] * hour[f"{side}_sz_{level:02d}"]).mean()
        for side in ("bid", "ask")
        for level in range(1, 11)
    )
    assert found == pytest.approx(0.1 * held / 2, rel=1e-12)
    kinds = kinds_of(frame)[:, POSITION["cost_to_sell_bps"]]
    assert kinds.tolist() == [NullKind.WARM_UP] * 59 + [NullKind.VALUE] * 61


def test_a_stream_declared_but_silent_is_covered(tmp_path: Path) -> None:
    market = make_market(2, grid_ms=1000)
    storage = Storage(str(tmp_path))
    write_clean(storage, market)
    for table in ("trades", "liquidations"):
        for path in storage.list_files(f"clean/{table}", "01.parquet"):
            storage.delete(path)
    frame = features_of(storage)
    assert frame["trades_coverage"].to_list() == [1.0] * 120
    assert frame["volume"].to_list()[60:] == [0.0] * 60
    assert frame["liquidation_buy_volume"].to_list()[60:] == [0.0] * 60


def test_trades_alone_have_the_close_as_price(tmp_path: Path) -> None:
    market = make_market(2, trades_an_hour=2000)
    storage = Storage(str(tmp_path))
    write_clean(storage, market)
    for path in storage.list_files("clean/book"):
        storage.delete(path)
    frame = features_of(storage)
    path = storage.list_files("features", ".parquet")[0]
    assert storage.read_parquet_metadata(path)["price_source"] == "close"
    assert frame["close"].null_count() == 2  # the first and the last minute are not wholly known
    assert frame["volatility_20"].count() > 80
    assert frame["midprice"].count() == frame["ofi"].count() == 0
    assert frame["coverage"].to_list() == [0.0] * 120
    assert 0 < frame["trades_coverage"][0] < 1
    assert frame["trades_coverage"].to_list()[1:119] == [1.0] * 118
