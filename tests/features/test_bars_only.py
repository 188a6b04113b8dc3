"""A dataset of the exchange's bars alone."""

import json
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from midas_ray.features.registry import FEATURES
from midas_ray.storage import Storage
from tests.features.clean_data import MINUTE_US, START_US, make_bars, timestamps, write_bars
from tests.features.serial import features_of, read_features, run_features


def test_prices_and_ranges_come_from_the_bars_all_else_is_a_gap(tmp_path: Path) -> None:
    bars = make_bars(300)
    storage = Storage(str(tmp_path))
    write_bars(storage, bars)
    frame = features_of(storage)
    for name in ("ts", "open", "high", "low", "close", "volume"):
        assert frame[name].to_list() == bars[name].to_list()
    assert frame["returns"][7] == pytest.approx(math.log(bars["close"][7] / bars["close"][6]))
    span = math.log(bars["high"][9] / bars["low"][9])
    assert frame["parkinson_volatility"][9] == pytest.approx(span / math.sqrt(4 * math.log(2)))
    metadata = storage.read_parquet_metadata(storage.list_files("features", ".parquet")[0])
    assert metadata["price_source"] == "close"
    null = json.loads(metadata["null_features"])
    known = [feature.name for feature in FEATURES if feature.name not in null]
    assert known == [
        "open", "high", "low", "close", "volume", "returns", "returns_5", "volatility_20", "volatility_100",
        "vol_of_vol", "parkinson_volatility", "garman_klass_volatility", "hour_sin", "hour_cos",
    ]  # fmt: skip
    kinds = np.frombuffer(b"".join(frame["null_kinds"].to_list()), dtype=np.uint8).reshape(-1, 72)
    assert (kinds[:, [feature.name in null for feature in FEATURES]] == 1).all()
    assert frame["coverage"].to_list() == [0.0] * 300


def test_taker_volumes_where_the_bars_have_them(tmp_path: Path) -> None:
    bars = make_bars(200, taker=True)
    storage = Storage(str(tmp_path))
    write_bars(storage, bars)
    frame = features_of(storage)
    assert frame["taker_buy_volume"].to_list() == pytest.approx((bars["volume"] * 0.25).to_list())
    assert frame["taker_sell_volume"].to_list() == pytest.approx((bars["volume"] * 0.75).to_list())
    assert frame["signed_volume"].to_list() == pytest.approx((bars["volume"] * -0.5).to_list())
    assert frame["number_of_trades"].to_list() == bars["number_of_trades"].to_list()
    assert frame["kyle_lambda"].count() == 200 - 30
    assert frame["amihud_illiquidity"].count() > 100


def test_bars_are_joined_to_longer_buckets(tmp_path: Path) -> None:
    bars = make_bars(120, taker=True)
    storage = Storage(str(tmp_path))
    write_bars(storage, bars)
    frame = features_of(storage, time_bucket_ms=300_000)
    five = bars.group_by_dynamic("ts", every="5m", closed="right", label="right").agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )
    for name in ("ts", "open", "high", "low", "close"):
        assert frame[name].to_list() == five[name].to_list()
    assert frame["volume"].to_list() == pytest.approx(five["volume"].to_list())


def test_a_missing_bar_is_a_gap(tmp_path: Path) -> None:
    lost = timestamps([START_US + 50 * MINUTE_US])[0]
    storage = Storage(str(tmp_path))
    write_bars(storage, make_bars(120).filter(pl.col("ts") != lost))
    frame = features_of(storage)
    assert frame.height == 119
    assert frame["returns"][49] is None
    assert frame["null_kinds"][49][52] == 1
    run_features(storage, time_bucket_ms=300_000)
    five = read_features(storage)
    assert five["close"][9] is None
    assert five["trades_coverage"][9] == 0.8
