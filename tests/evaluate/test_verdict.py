from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from midas_ray.evaluate.judge import EWMA, TRAILING
from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.significance import Estimates
from midas_ray.evaluate.verdict import Verdict, reach

BEATS, EVEN, WORSE = (0.05, 0.02, 0.08), (0.01, -0.02, 0.04), (-0.05, -0.08, -0.02)
UNDEFINED = (np.nan, np.nan, np.nan)


def _estimates(numbers: tuple[float, float, float]) -> Estimates:
    return Estimates(*(np.array(number) for number in numbers))


def _verdict(
    trailing: tuple[float, float, float],
    ewma: tuple[float, float, float],
    per_trade: tuple[float, float, float] | None = None,
    trades: int = 50,
) -> Verdict:
    skill = {name: SimpleNamespace(pooled=_estimates(x)) for name, x in ((TRAILING, trailing), (EWMA, ewma))}
    trading: Any = SimpleNamespace(
        trades=range(trades if per_trade else 0), per_trade=_estimates(per_trade) if per_trade else None
    )
    outcome: Any = SimpleNamespace(
        scores=SimpleNamespace(skill=skill), trading=trading, conditions=SimpleNamespace(fee_bps=5.0)
    )
    return reach(cast(Outcome, outcome))


@pytest.mark.parametrize(
    ("trailing", "ewma", "opening", "tone"),
    [
        (BEATS, BEATS, "The model beats both baselines.", "good"),
        (BEATS, EVEN, "The model beats trailing quantiles (a) but does not beat EWMA-volatility", "neutral"),
        (EVEN, BEATS, "The model beats EWMA-volatility quantiles (b) but does not beat trailing", "neutral"),
        (EVEN, EVEN, "The model does not beat its baselines.", "bad"),
        (EVEN, WORSE, "The model does not beat its baselines.", "bad"),
        (WORSE, WORSE, "The model does not beat its baselines: it is worse than both.", "bad"),
        (UNDEFINED, UNDEFINED, "The model does not beat its baselines.", "bad"),
    ],
)
def test_a_baseline_is_beaten_only_if_the_interval_excludes_zero(
    trailing: tuple[float, float, float], ewma: tuple[float, float, float], opening: str, tone: str
) -> None:
    verdict = _verdict(trailing, ewma)
    assert verdict.skill_sentence.startswith(opening)
    assert verdict.tone == tone
    assert verdict.beats == {TRAILING: trailing is BEATS, EWMA: ewma is BEATS}


@pytest.mark.parametrize(
    ("per_trade", "trades", "opening", "has_edge"),
    [
        ((3.0, 1.0, 5.0), 50, "There is an edge after costs: +3.0 bps net", True),
        ((3.0, 1.0, 5.0), 29, "No edge after costs can be shown", False),
        ((3.0, -1.0, 7.0), 50, "There is no edge after costs that could be told from chance", False),
        ((-3.0, -5.0, -1.0), 50, "There is no edge after costs: the strategy loses money", False),
        (None, 0, "No edge after costs: the strategy never traded", False),
    ],
)
def test_an_edge_needs_thirty_trades_and_an_interval_above_zero(
    per_trade: tuple[float, float, float] | None, trades: int, opening: str, has_edge: bool
) -> None:
    verdict = _verdict(BEATS, BEATS, per_trade, trades)
    assert verdict.edge_sentence.startswith(opening)
    assert verdict.has_edge is has_edge


def test_intervals_stand_in_the_sentence() -> None:
    sentence = _verdict(BEATS, EVEN).skill_sentence
    assert "+5.0 % (95 % interval +2.0 to +8.0 %) over trailing quantiles (a)" in sentence
    assert "+1.0 % (95 % interval -2.0 to +4.0 %) over EWMA-volatility quantiles (b)" in sentence
