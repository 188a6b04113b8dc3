"""Sentences and figures of single sections, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from midas_ray.dataset.final_period import FinalPeriod
from midas_ray.evaluate.final_period import Opening
from midas_ray.evaluate.outcome import FinalState
from midas_ray.evaluate.report import interpretation, procedure, style
from midas_ray.evaluate.report.data import gaps_of
from midas_ray.evaluate.report.interpretation import attention_title, importance_title, ranked, together
from midas_ray.evaluate.report.procedure import final_sentence
from midas_ray.evaluate.significance import Estimates
from midas_ray.features.nulls import NullKind
from midas_ray.forecast.baselines import FORECASTERS
from tests.dataset.synthetic import synthetic_panel, take, with_nulls
from tests.evaluate.outcomes import outcome_of

PERIOD = FinalPeriod(1_767_571_200_000_000, 1_767_657_600_000_000)
OPENING = Opening(
    venue="binance-futures", symbols=("a",), first_us=0, last_us=1, opened_at="2026-01-07 10:00:00 UTC",
    command="midas backtest --open-final", data_digest="d", code_version="c", pooled_skill={}, again=False,
)  # fmt: skip


def _plain(text: str) -> str:
    return text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("period", "opened_now", "earlier", "said"),
    [
        (None, False, None, "No final period was kept back"),
        (PERIOD, False, None, "2026-01-05 00:00 to 2026-01-06 00:00 UTC, is sealed"),
        (PERIOD, True, None, "opened by this run for the first time"),
        (
            PERIOD,
            True,
            OPENING,
            "again: it had been opened on 2026-01-07 10:00:00 UTC by `midas backtest",
        ),
        (PERIOD, False, OPENING, "was left out here, but it had been opened on 2026-01-07 10:00:00 UTC by `midas"),
    ],
)
def test_the_state_of_the_final_period(
    period: FinalPeriod | None, opened_now: bool, earlier: Opening | None, said: str
) -> None:
    assert said in final_sentence(FinalState(period=period, opened_now=opened_now, earlier=earlier))


def test_gaps_are_counted_but_not_columns_that_the_data_never_have() -> None:
    panel = with_nulls(synthetic_panel(100), "vpin", slice(0, 100), NullKind.GAP)
    assert gaps_of(panel, 0).coverage == 1.0
    panel = with_nulls(panel, "ofi", np.arange(10, 15), NullKind.GAP)
    panel = take(panel, np.setdiff1d(np.arange(100), [15, 16, 40]))
    found = gaps_of(panel, 0)
    assert (found.missing, found.touched, found.longest) == (3, 5, 7)
    assert found.coverage == pytest.approx(0.92)


def test_importance_is_ranked_and_the_rest_is_summed() -> None:
    weights = {f"x{k}": 1 / 20 for k in range(20)}
    shown = ranked(weights)
    assert len(shown) == interpretation.MOST_BARS
    assert shown[-1][0] == "6 others together"
    assert sum(share for _, share in shown) == pytest.approx(1)
    title = importance_title({"a": 0.5, "b": 0.2, "c": 0.2, "d": 0.1}, "inputs of the past")
    assert title == (
        "a weighs most of 4 inputs of the past: 50 %, where even weights would be 25 %; the first three hold 90 %"
    )


def test_attention_by_lag_in_words() -> None:
    attention = np.array([1.0, 1, 1, 1, 1, 5])
    assert _plain(attention_title(attention, 30_000)) == (
        "The newest 30 s of 3 min hold 50 % of the attention (spread evenly they would hold 17 %)"
    )


def test_the_folds_interpretations_are_averaged() -> None:
    first, second = outcome_of(names=("tft", "har")).folds
    assert first.interpretation is not None
    other = replace(first.interpretation, encoder={"ofi": 0.1, "new": 0.9}, windows=5)
    found = together([first, replace(second, interpretation=other)])
    assert found is not None
    assert found.encoder == pytest.approx({"new": 0.45, "ofi": 0.4, "volume": 0.15})
    assert list(found.encoder) == ["new", "ofi", "volume"]
    assert found.windows == first.interpretation.windows + 5
    assert together([replace(first, interpretation=None)]) is None


def test_every_forecaster_has_a_name_a_colour_and_a_mark_of_its_own() -> None:
    for table in (style.NAMES, style.COLOURS, style.MARKS):
        assert set(table) == set(FORECASTERS)
        assert len(set(table.values())) == len(FORECASTERS)


def test_numbers_in_words() -> None:
    assert style.number(-0.004, 2) == "0.00"
    assert _plain(style.number(-1234.5, 1, unit=" %")) == "-1,234.5 %"
    assert style.number(float("nan")) == "undefined"
    assert style.probability(0.0004) == "< 0.001"
    assert style.with_p(0.0314) == "p = 0.031"
    assert style.enumerated(["a", "b", "c"], "or") == "a, b or c"
    durations = [style.duration_name(10_000, buckets) for buckets in (1, 6, 10, 30, 2700)]
    assert durations == ["10 s", "1 min", "100 s", "5 min", "7.5 h"]
    assert style.time_unit(10_000) == ("seconds", 10.0)
    assert style.time_unit(120_000) == ("minutes", 2.0)
    assert _plain(style.typeset("up -3 %, 10-20 midas --x -0.5 bps")) == "up -3 %, 10-20 midas --x -0.5 bps"
    no_interval = style.interval_cell(Estimates(np.array(0.5), np.array(np.nan), np.array(0.6)))
    assert (no_interval.value, no_interval.bounds) == ("+50.00", "no interval")


def test_a_thinned_line_keeps_its_ends() -> None:
    kept = style.thinned(100_001, 50)
    assert (kept[0], kept[-1], len(kept)) == (0, 100_000, 50)
    assert len(style.thinned(3, 50)) == 3


def test_the_timeline_draws_a_limited_number_of_folds() -> None:
    fold = outcome_of(names=("tft", "har")).folds[0]
    many = [replace(fold, number=k) for k in range(60)]
    figure = procedure.timeline(many, FinalState(period=PERIOD, opened_now=False, earlier=None))
    drawn = {y for trace in figure.data for y in trace.y if y is not None}
    assert len(drawn) == procedure.MOST_FOLDS + 1


def test_what_lies_far_off_is_named_instead_of_squeezing_the_rest() -> None:
    assert style.frame({"a": (-1.0, 2.0), "b": (0.5, 3.0)}) == (None, [])
    found, outside = style.frame({"a": (-1.0, 2.0), "far": (30.0, 60.0), "b": (0.5, 3.0), "undefined": (np.nan, 1.0)})
    assert found == pytest.approx([-1.32, 3.32])
    assert outside == ["far"]
    assert style.frame({"a": (0.0, 0.1), "b": (1.0, 2.0), "c": (1.0, 2.0), "d": (1.0, 2.0)}) == (None, [])
    assert style.frame({"a": (0.0, 0.1), "b": (1.0, 2.0)}) == (None, [])
