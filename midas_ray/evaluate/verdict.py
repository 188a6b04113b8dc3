"""What the scores say in plain sentences, no stronger than they allow."""

from dataclasses import dataclass
from typing import Literal

from midas_ray.evaluate.judge import BASELINES, EWMA, TRAILING, Scores
from midas_ray.evaluate.outcome import Outcome, Trading
from midas_ray.evaluate.significance import Estimates

BASELINE_NAMES = {TRAILING: "trailing quantiles (a)", EWMA: "EWMA-volatility quantiles (b)"}
LEAST_TRADES = 30


@dataclass(frozen=True, slots=True)
class Verdict:
    """Does the model beat its baselines, and is there an edge after costs."""

    beats: dict[str, bool]
    """By baseline: the interval of the pooled skill lies above zero."""
    has_edge: bool
    skill_sentence: str
    edge_sentence: str

    @property
    def tone(self) -> Literal["good", "bad", "neutral"]:
        if all(self.beats.values()):
            return "good"
        return "neutral" if any(self.beats.values()) else "bad"


def percent(estimate: Estimates, digits: int = 1) -> str:
    """`+1.2 % (95 % interval -0.3 to +2.6 %)`."""
    value, lower, upper = (100 * float(x) for x in (estimate.value, estimate.lower, estimate.upper))
    return f"{value:+.{digits}f} % (95 % interval {lower:+.{digits}f} to {upper:+.{digits}f} %)"


def _skill_sentence(scores: Scores) -> str:
    pooled = {name: scores.skill[name].pooled for name in BASELINES}
    beaten = [name for name in BASELINES if pooled[name].excludes_zero_above()]
    worse = [name for name in BASELINES if pooled[name].excludes_zero_below()]
    figures = "; ".join(f"{percent(pooled[name])} over {BASELINE_NAMES[name]}" for name in BASELINES)
    if len(beaten) == len(BASELINES):
        opening = "The model beats both baselines"
    elif beaten:
        other = next(name for name in BASELINES if name not in beaten)
        opening = f"The model beats {BASELINE_NAMES[beaten[0]]} but does not beat {BASELINE_NAMES[other]}"
    elif len(worse) == len(BASELINES):
        opening = "The model does not beat its baselines: it is worse than both"
    else:
        opening = "The model does not beat its baselines"
    return f"{opening}. Pooled pinball skill, out of sample: {figures}."


def _edge_sentence(result: Trading | None, round_trip_fee_bps: float) -> tuple[bool, str]:
    if result is None:
        return False, "No trading: with a horizon of one bucket the fill at the next bucket is already the exit."
    trades = len(result.trades)
    if result.per_trade is None:
        return False, (
            "No edge after costs: the strategy never traded, because no median forecast beat the cost of a round trip "
            f"({round_trip_fee_bps:g} bps of fees, the spread and the threshold)."
        )
    mean = result.per_trade
    figures = (
        f"{float(mean.value):+.1f} bps net per round trip "
        f"(95 % interval {float(mean.lower):+.1f} to {float(mean.upper):+.1f}), {trades} round trips"
    )
    if trades < LEAST_TRADES:
        return False, f"No edge after costs can be shown: {figures}, fewer than the {LEAST_TRADES} needed to say more."
    if mean.excludes_zero_above():
        return True, f"There is an edge after costs: {figures}."
    if mean.excludes_zero_below():
        return False, f"There is no edge after costs: the strategy loses money, {figures}."
    return False, f"There is no edge after costs that could be told from chance: {figures}."


def reach(outcome: Outcome) -> Verdict:
    """The verdict on a backtest. A model beats a baseline only if the interval of its pooled skill excludes zero."""
    has_edge, edge = _edge_sentence(outcome.trading, 2 * outcome.conditions.fee_bps)
    return Verdict(
        beats={name: outcome.scores.skill[name].pooled.excludes_zero_above() for name in BASELINES},
        has_edge=has_edge,
        skill_sentence=_skill_sentence(outcome.scores),
        edge_sentence=edge,
    )
