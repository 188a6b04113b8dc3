"""What the scores say in plain sentences, no stronger than they allow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from midas_ray.evaluate.judge import Scores
from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.report.style import NAMES, UNDEFINED, enumerated, interval_text, subject
from midas_ray.evaluate.significance import Estimates
from midas_ray.evaluate.trading import TradingResult

LEAST_TRADES = 30
LITTLE_DAYS = 7.0
"""Test days under which the verdict says how few they are."""
SIGNIFICANT = 0.05
"""Largest p-value, exclusive, at which a test counts."""
_DAY_US = 86_400_000_000
_COUNTED = (
    "",
    "its only baseline",
    "both baselines",
    "all three baselines",
    "all four baselines",
    "all five baselines",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Does the judged forecaster beat its baselines, and is there an edge after costs."""

    beats: dict[str, bool]
    """By baseline: the interval of the pooled skill lies above zero, and Diebold-Mariano agrees."""
    has_edge: bool
    span_clause: str
    skill_clause: str
    edge_clause: str

    @property
    def sentence(self) -> str:
        """All of it in one sentence."""
        return f"{self.span_clause}, {self.skill_clause}; {self.edge_clause}."

    @property
    def skill_sentence(self) -> str:
        return f"{self.span_clause}, {self.skill_clause}."

    @property
    def edge_sentence(self) -> str:
        return f"{capital(self.edge_clause)}."

    @property
    def tone(self) -> Literal["good", "bad", "neutral"]:
        if self.beats and all(self.beats.values()):
            return "good"
        return "neutral" if any(self.beats.values()) or not self.beats else "bad"


def capital(text: str) -> str:
    """With a capital first letter."""
    return f"{text[:1].upper()}{text[1:]}"


def days_tested(outcome: Outcome) -> float:
    """Judged moments times the bucket's length: gaps are not counted."""
    return outcome.scores.n_moments * outcome.panel.bucket_us / _DAY_US


def strongest(outcome: Outcome) -> str:
    """The baseline with the lowest mean loss: the one that matters. There must be one."""
    scores = outcome.scores
    return min(scores.skill, key=lambda name: float(scores.delivered(name).mean_pinball.value))


def beaten(scores: Scores) -> dict[str, bool]:
    """By baseline: beaten only where the interval and the Diebold-Mariano test both say so."""
    return {
        name: over.pooled.excludes_zero_above() and scores.diebold_mariano[name].p_value < SIGNIFICANT
        for name, over in scores.skill.items()
    }


def skill_clause(judged: str, pooled: Mapping[str, Estimates], beats: Mapping[str, bool], toughest: str) -> str:
    """`the TFT beats A and B but not C (pinball skill over the strongest, C: ...)`."""
    won = [NAMES[name] for name in pooled if beats[name]]
    lost = [NAMES[name] for name in pooled if not beats[name]]
    everything = _COUNTED[len(pooled)]
    who = subject(judged)
    if not lost:
        opening = f"{who} beats {everything}"
    elif won:
        opening = f"{who} beats {enumerated(won)} but not {enumerated(lost, 'or')}"
    elif all(estimate.excludes_zero_below() for estimate in pooled.values()):
        opening = f"{who} is worse than {everything}"
    elif len(pooled) == 1:
        opening = f"{who} does not beat its only baseline"
    else:
        opening = f"{who} does not beat any of its {len(pooled)} baselines"
    found = interval_text(pooled[toughest])
    figure = "its interval is undefined" if found == UNDEFINED else found.replace(" (", ", ").removesuffix(")")
    return f"{opening} (pinball skill over the strongest, {NAMES[toughest]}: {figure})"


def _skill_clause(outcome: Outcome, beats: dict[str, bool]) -> str:
    judged = outcome.forecasts.judged
    if not outcome.scores.skill:
        return f"{subject(judged)} was judged without a baseline"
    pooled = {name: over.pooled for name, over in outcome.scores.skill.items()}
    return skill_clause(judged, pooled, beats, strongest(outcome))


def _span_clause(outcome: Outcome) -> str:
    days = days_tested(outcome)
    where = "final test data" if outcome.final.opened_now else "test data"
    return f"On only {days:.1f} days of {where}" if days < LITTLE_DAYS else f"Over {days:.0f} days of {where}"


def _edge_clause(result: TradingResult | None) -> tuple[bool, str]:
    if result is None:
        return False, "trading was not tried: with a horizon of one bucket the entry would already be the exit"
    if result.per_trade is None:
        return False, (
            "no edge after costs: the strategy never traded, because no forecast was large enough to pay for a round "
            "trip "
            f"({2 * result.fees.taker_bps:g} bps of fees and the spread)"
        )
    mean, trades = result.per_trade, len(result.trades)
    figures = f"{interval_text(mean, scale=1, digits=1, unit=' bps')} net a round trip, {trades:,} round trips"
    if trades < LEAST_TRADES:
        return False, f"no edge after costs can be shown: {figures}, {LEAST_TRADES} are needed to say more"
    if mean.excludes_zero_below():
        return False, f"no edge after costs: the strategy loses money, {figures}"
    if not mean.excludes_zero_above():
        return False, f"no edge after costs that could be told from chance: {figures}"
    control = result.random_entries
    if control is not None and control.better_share >= SIGNIFICANT:
        share = f"{100 * control.better_share:.0f} %"
        return False, f"no edge after costs: {figures}, but {share} of random entries earned as much"
    return True, f"there is an edge after costs: {figures}"


def reach(outcome: Outcome) -> Verdict:
    """The verdict on a backtest."""
    beats = beaten(outcome.scores)
    has_edge, edge = _edge_clause(outcome.trading)
    return Verdict(beats, has_edge, _span_clause(outcome), _skill_clause(outcome, beats), edge)


def sharpe_sentence(result: TradingResult, trials: int) -> str:
    """The Sharpe ratio with what is to be believed of it, or why there is none."""
    found = result.performance
    if found.sharpe is None or found.probabilistic_sharpe is None or found.deflated_sharpe is None:
        return f"No Sharpe ratio: {found.no_sharpe_because}."
    tried = "one configuration that was tried" if trials == 1 else f"{trials:,} configurations that were tried"
    return (
        f"Sharpe ratio {found.sharpe:+.2f} a year from {found.days} daily returns; the probability that the true one "
        "is "
        f"above zero is {100 * found.probabilistic_sharpe:.0f} %, and {100 * found.deflated_sharpe:.0f} % after "
        "allowing "
        f"for the {tried}."
    )
