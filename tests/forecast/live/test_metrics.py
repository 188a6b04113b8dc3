"""What a process that forecasts says of its forecasts: coverage and skill are quotients of counters."""

import math
from pathlib import Path

import pytest

from midas_ray.forecast.live import metrics
from midas_ray.forecast.live.drift import CoverageWatch
from midas_ray.forecast.live.metrics import ALARM_AT, ForecastMetrics
from midas_ray.forecast.live.record import ForecastLine, ScoreLine
from tests.forecast.live.test_session import PANEL, Bench, feed, untrained
from tests.recorded_metrics import RecordedMetrics, recorded


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "Metrics", RecordedMetrics)
    monkeypatch.setattr(metrics, "EXPORT_EVERY_S", 0.0)


def line(revision: int = 1) -> ForecastLine:
    return ForecastLine(
        ts="", ts_us=120_000_000, symbol="btcusdt", model="one", revision=revision, made_ns=120_250_000_000,
        reference_price=100.0, quantiles=[0.1, 0.5, 0.9], value_bps=[[-2.0, 0.0, 3.0]], price=[[99.98, 100.0, 100.03]],
    )  # fmt: skip


def scored(inside: bool, trailing: list[float] | None) -> ScoreLine:
    return ScoreLine(
        ts="", ts_us=120_000_000, symbol="btcusdt", model="one", actual_bps=[1.0, 1.0], inside=[inside, True],
        pinball_bps=[0.25, 0.75], trailing_pinball_bps=trailing,
    )  # fmt: skip


def test_forecasts_and_scores() -> None:
    told = ForecastMetrics()
    told.forecast(line(), closed_ns=120_000_000_000)
    told.forecast(line(revision=2), closed_ns=None)
    told.silence("ethusdt")
    told.score(scored(True, [0.5, 1.5]), is_alarm=False)
    told.score(scored(False, [1.0, 1.0]), is_alarm=True)
    told.score(scored(True, None), is_alarm=False)  # nothing to compare with: in the coverage, not in the skill
    told.look("one", {"btcusdt": CoverageWatch()})
    shown = recorded(told)
    assert (shown["forecasts", "btcusdt"], shown["forecasts_revised", "btcusdt"]) == (1, 1)
    assert shown["forecast_delay_ms", "btcusdt", "0.99"] == 250
    assert (shown["forecast_silent", "btcusdt"], shown["forecast_silent", "ethusdt"]) == (0, 1)
    assert (shown["forecast_inside", "btcusdt"], shown["forecast_outcomes", "btcusdt"]) == (2, 3)
    assert (shown["forecast_pinball_bps", "btcusdt"], shown["trailing_pinball_bps", "btcusdt"]) == (1.0, 2.0)
    assert shown["drift_alarms", "btcusdt"] == 1
    assert (shown["forecast_origin_s", "btcusdt"], shown["forecast_width_bps", "btcusdt"]) == (120, 5)
    assert shown["drift_evidence", "btcusdt"] == 0


def test_a_model_that_took_over_is_the_one_in_use() -> None:
    told = ForecastMetrics()
    told.look("one", {})
    told.look("two", {})
    assert recorded(told) == {("forecast_model", "two"): 1}


def test_evidence_reaches_the_line_where_the_alarm_is_raised() -> None:
    watch = CoverageWatch()
    while not watch.add(False):
        assert math.log10(max(watch.evidence, 1.0)) < ALARM_AT
    told = ForecastMetrics()
    told.look("one", {"btcusdt": watch})
    assert recorded(told)["drift_evidence", "btcusdt"] >= ALARM_AT == 4


def test_a_session_tells_of_each_score_and_silence(tmp_path: Path) -> None:
    session = Bench(tmp_path, untrained(PANEL)).session()
    session.metrics = ForecastMetrics()
    made = feed(session, PANEL)
    shown = recorded(session.metrics)
    by_symbol = {symbol: [each for each in made if each.symbol == symbol] for symbol in PANEL.symbols}
    horizons = len(made[0].value_bps)
    for symbol, lines in by_symbol.items():
        assert shown["forecast_outcomes", symbol] == len(lines) - horizons
        assert 0 < shown["forecast_inside", symbol] <= shown["forecast_outcomes", symbol]
