"""Soft checks warn, name what falls short, and fail only with --strict."""

import numpy as np
import polars as pl
import pytest

from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import POSITION
from midas_ray.quality import soft
from tests.quality.conftest import Found, Validated
from tests.quality.made_up import MadeUp, made_up


def _found(found: Found, data: MadeUp, check: str) -> list[str]:
    return [each.found for each in found(data).examples[check]]


@pytest.fixture
def few_rows_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Null shares of thirty rows are judged as if they were hundreds."""
    monkeypatch.setattr(soft, "MIN_ROWS", 30)


def test_a_soft_check_warns_and_fails_only_when_strict(validated: Validated) -> None:
    warned = validated(made_up())
    assert warned.code == 0
    assert "coverage" in warned.named("WARN")
    strict = validated(strict=True)
    assert strict.code == 1
    assert "coverage" in strict.named("FAIL")
    assert not strict.report["passed"]


def test_coverage_under_99_percent_warns_for_book_and_trades(found: Found) -> None:
    """20 of 1,800 rows are a gap: 98.88 %; trades lost for 19 of 1,800 s: 98.94 %."""
    assert _found(found, made_up(), "coverage") == ["98.88 % of the rows live", "98.94 % of the time complete"]


def test_full_coverage_does_not_warn(found: Found) -> None:
    data = made_up()
    data.frames["book"] = data.frames["book"].tail(1000)
    data.frames["trades"] = data.frames["trades"].tail(1000)
    data.frames["gaps"] = data.frames["gaps"].head(0)
    assert found(data).counts["coverage"] == 0


@pytest.mark.usefixtures("few_rows_judged")
def test_null_shares_name_the_feature_and_the_kind(found: Found) -> None:
    data = made_up()
    kinds = [bytearray(row) for row in data.frames["features"]["null_kinds"].to_list()]
    values: list[float | None] = data.frames["features"]["roll_spread"].to_list()
    for row in range(16):
        if row != 10:
            kinds[row][POSITION["roll_spread"]], values[row] = NullKind.UNDEFINED, None
    data.frames["features"] = data.frames["features"].with_columns(
        pl.Series("null_kinds", [bytes(row) for row in kinds]), pl.Series("roll_spread", values)
    )
    findings = found(data)
    assert "open 3.33 % gap" in [each.found for each in findings.examples["null_shares"]]
    assert findings.counts["null_shares"] == 70  # one row in thirty is a gap, but for the two calendar features
    assert findings.counts["null_kinds"] == 0


@pytest.mark.usefixtures("few_rows_judged")
def test_features_of_a_stream_nobody_collected_are_named_not_warned_of(validated: Validated) -> None:
    data = made_up()
    del data.frames["mark"]
    positions = [POSITION[name] for name in ("funding_rate", "basis_bps")]
    kinds = [bytearray(row) for row in data.frames["features"]["null_kinds"].to_list()]
    for row in kinds:
        for position in positions:
            row[position] = NullKind.GAP
    data.frames["features"] = data.frames["features"].with_columns(
        pl.Series("null_kinds", [bytes(row) for row in kinds]),
        pl.lit(None, pl.Float64).alias("funding_rate"),
        pl.lit(None, pl.Float64).alias("basis_bps"),
    )
    outcome = validated(data)
    assert outcome.report["symbols"]["btcusdt"]["features"]["not_collected"] == ["funding_rate", "basis_bps"]
    assert outcome.check("null_shares")["looked_at"] == 70
    assert "for want of a stream: funding_rate, basis_bps." in outcome.html


def test_too_few_rows_are_not_judged_by_their_nulls(found: Found) -> None:
    assert found(made_up()).looked_at["null_shares"] == 0


def _with_latency(latency_ms: np.ndarray) -> MadeUp:
    data = made_up()
    us = data.frames["trades"]["ts"].to_physical().to_numpy() + (1000 * latency_ms).astype(np.int64)
    data.frames["trades"] = data.frames["trades"].with_columns(pl.Series("recv_ns", us * 1000))
    return data


def test_a_slow_p99_warns(found: Found) -> None:
    latency_ms = np.full(1790, 20.0)
    latency_ms[:30] = 3000.0
    assert _found(found, _with_latency(latency_ms), "latency") == ["p99 3,000 ms"]


def test_a_clock_behind_the_exchange_is_said_not_hidden(validated: Validated) -> None:
    outcome = validated(_with_latency(np.full(1790, -1268.0)))
    latency = outcome.report["symbols"]["btcusdt"]["latency_ms"]
    assert (latency["min"], latency["p50"], latency["max"]) == (-1268.0, -1268.0, -1268.0)
    assert latency["negative"] == latency["n"] == 1790
    words = "100.00 % of the latencies are negative (median -1,268 ms): the local clock was behind the exchange's"
    assert outcome.check("latency")["examples"][0]["found"] == words
    assert "local clock was behind" in outcome.html


def test_each_kline_difference_is_reported(found: Found) -> None:
    data = made_up()
    data.set("bars", 3, high=9e5, number_of_trades=61)
    data.set("bars", 10, close=5001.0)  # its trades were lost in part: not compared
    findings = found(data)
    assert [each.found for each in findings.examples["kline_differences"]] == [
        f"{column} {kline!r}, from {origin} {ours!r}"
        for origin in ("trades", "features")
        for column, kline, ours in (
            ("high", 9e5, data.frames["features"]["high"][3]),
            ("number_of_trades", 61.0, 60.0),
        )
    ]
    assert findings.looked_at["kline_differences"] == 2 * 29


def test_a_kline_of_a_minute_that_was_not_collected_whole_is_not_compared(found: Found) -> None:
    data = made_up()
    data.frames["book"] = data.frames["book"].filter(pl.int_range(pl.len()) >= 90)
    data.frames["trades"] = data.frames["trades"].filter(pl.int_range(pl.len()) >= 90)
    del data.frames["features"]
    findings = found(data)
    assert findings.looked_at["kline_differences"] == 27  # not the first two minutes, not the one with the gap
    assert findings.counts["kline_differences"] == 0


def test_klines_without_prints_are_volume_zero(found: Found) -> None:
    """A minute in which trades were collected and none came is compared with volume 0."""
    data = made_up()
    us = pl.col("ts").to_physical() - 1_767_571_200_000_000
    quiet = (us >= 5 * 60_000_000) & (us < 6 * 60_000_000)
    data.frames["trades"] = data.frames["trades"].filter(~quiet)
    del data.frames["features"]
    words = _found(found, data, "kline_differences")
    assert len(words) == 3
    assert words[2] == "number_of_trades 60.0, from trades 0.0"


def test_bars_alone_are_not_compared_with_themselves(found: Found) -> None:
    data = made_up()
    data.frames = {"bars": data.frames["bars"], "features": data.frames["features"]}
    data.metadata["features"]["price_source"] = "close"
    assert found(data).looked_at["kline_differences"] == 0
