"""Across days: midnight, late hours, the windows that reach back, and a plain reference for VPIN and whales."""

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from midas_ray.features.daily import DAY_US
from midas_ray.features.day import history_days
from midas_ray.features.hour import BIN_EDGES
from midas_ray.storage import Storage
from tests.features.clean_data import HOUR_US, MINUTE_US, START_US, Market, make_market, write_clean
from tests.features.serial import features_of, read_features, run_features

BEGIN_US = START_US - 26 * HOUR_US
"""22:00 UTC two days before: a short day, a whole one, and two hours of a third."""
SHARE = 1 / 24


@pytest.fixture(scope="module")
def market() -> Market:
    return make_market(28, start_us=BEGIN_US, grid_ms=10_000, trades_an_hour=400)


@pytest.fixture(scope="module")
def days(market: Market, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    storage = Storage(str(tmp_path_factory.mktemp("days")))
    write_clean(storage, market)
    return features_of(storage, vpin_bucket_share=SHARE)


def at(frame: pl.DataFrame, ts_us: int, name: str) -> object:
    return frame.filter(pl.col("ts").cast(pl.Int64) == ts_us)[name][0]


def test_history_reaches_back_far_enough() -> None:
    assert [history_days(1_000_000 * seconds) for seconds in (1, 60, 600, 1800, 3600)] == [2, 2, 2, 3, 5]


def test_midnight_closes_the_old_day(days: pl.DataFrame) -> None:
    flow = days.filter((pl.col("ts").cast(pl.Int64) > START_US - DAY_US) & (pl.col("ts").cast(pl.Int64) <= START_US))[
        "ofi"
    ]
    assert at(days, START_US, "ofi_cumulative") == pytest.approx(flow.sum(), abs=1e-9)
    assert at(days, START_US + MINUTE_US, "ofi_cumulative") == at(days, START_US + MINUTE_US, "ofi")
    assert at(days, START_US + MINUTE_US, "ofi_10") is not None


def naive_vpin(market: Market, ts_us: int) -> float | None:
    """VPIN at `ts_us` of the third day: V of each day from the whole of the day before it."""
    trades = market.trades.with_columns(
        us=pl.col("ts").cast(pl.Int64), lots=(pl.col("qty") * 1000).round().cast(pl.Int64)
    )
    shares: list[float] = []
    for day_us in (START_US - DAY_US, START_US):
        before = trades.filter((pl.col("us") >= day_us - DAY_US) & (pl.col("us") < day_us))["lots"].sum()
        minutes = (day_us - max(day_us - DAY_US, BEGIN_US)) // MINUTE_US
        size = round(SHARE * 1440 * before / minutes)
        filled = signed = 0
        for us, lots, side in (
            trades.filter(pl.col("us") // DAY_US == day_us // DAY_US).select("us", "lots", "side").rows()
        ):
            if us >= ts_us:
                break
            for _ in range(lots):
                filled += 1
                signed += 1 if side == "buy" else -1
                if filled == size:
                    shares.append(abs(signed) / size)
                    filled = signed = 0
    return float(np.mean(shares[-50:])) if len(shares) >= 10 else None


@pytest.mark.parametrize("minute", [1, 30, 119])
def test_vpin_against_a_plain_reference(minute: int, market: Market, days: pl.DataFrame) -> None:
    ts_us = START_US + minute * MINUTE_US
    assert at(days, ts_us, "vpin") == pytest.approx(naive_vpin(market, ts_us), rel=1e-12)


def upper_edge(notional: float) -> float:
    """Upper edge of the bin (lower, upper] of a notional."""
    octave = 2.0 ** math.floor(math.log2(notional))
    for edge in [*(2 * BIN_EDGES).tolist(), 2.0]:
        if octave * edge >= notional:
            return octave * edge
    raise AssertionError


@pytest.mark.parametrize("minute", [-300, 5, 77])
def test_whales_against_a_plain_reference(minute: int, market: Market, days: pl.DataFrame) -> None:
    end_us = START_US + minute * MINUTE_US
    start_us = end_us - MINUTE_US
    prints = market.trades.with_columns(us=pl.col("ts").cast(pl.Int64), notional=pl.col("px") * pl.col("qty"))
    before = prints.filter((pl.col("us") >= start_us - DAY_US) & (pl.col("us") < start_us))["notional"].sort().to_list()
    threshold = upper_edge(before[math.ceil(0.99 * len(before)) - 1])
    own = prints.filter((pl.col("us") >= start_us) & (pl.col("us") < end_us) & (pl.col("notional") > threshold))
    assert at(days, end_us, "whale_volume") == pytest.approx(own["qty"].sum(), abs=1e-9)
    signed = own["qty"] * pl.Series([1.0 if side == "buy" else -1.0 for side in own["side"]], dtype=pl.Float64)
    assert at(days, end_us, "whale_signed_volume") == pytest.approx(signed.sum(), abs=1e-9)


def test_some_whales_swim_here(days: pl.DataFrame) -> None:
    assert (days["whale_volume"] > 0).sum() > 20


def test_an_hour_that_arrives_late_changes_what_rests_on_it(market: Market, tmp_path: Path, days: pl.DataFrame) -> None:
    storage = Storage(str(tmp_path))
    write_clean(storage, market)
    late = [path for path in storage.list_files("clean") if "date=2026-01-04/12" in path]
    kept = {path: storage.read_bytes(path) for path in late}
    for path in late:
        storage.delete(path)
    run_features(storage, vpin_bucket_share=SHARE)
    assert at(read_features(storage), START_US - 11 * HOUR_US + MINUTE_US, "returns") is None
    for path, data in kept.items():
        storage.write_bytes(path, data)
    run_features(storage, vpin_bucket_share=SHARE)
    assert_frame_equal(read_features(storage), days, check_exact=True)
