from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.significance import Estimates
from midas_ray.evaluate.trading import Performance
from midas_ray.evaluate.verdict import Verdict, reach, sharpe_sentence

BEATS, EVEN, WORSE = (0.05, 0.02, 0.08), (0.01, -0.02, 0.04), (-0.05, -0.08, -0.02)
UNDEFINED = (np.nan, np.nan, np.nan)
Numbers = tuple[float, float, float]
PERFORMANCE = Performance(
    days=40, net_pct=1.0, gross_pct=2.0, hold_pct=3.0, max_drawdown_pct=0.5, turnover_a_day=1.0, mean_exposure=0.1,
    hit_rate=0.5, sharpe=1.234, probabilistic_sharpe=0.91, deflated_sharpe=0.42, no_sharpe_because=None,
)  # fmt: skip


def _estimates(numbers: Numbers) -> Estimates:
    return Estimates(*(np.array(number) for number in numbers))


def _verdict(
    skills: dict[str, Numbers],
    per_trade: Numbers | None = None,
    trades: int = 50,
    p_value: float = 0.001,
    days: float = 30.0,
    better_share: float = 0.0,
    judged: str = "tft",
    opened: bool = False,
    **changes: object,
) -> Verdict:
    """The strongest baseline is the last one."""
    losses = {name: 10.0 - k for k, name in enumerate(skills)}
    outcome: Any = SimpleNamespace(
        panel=SimpleNamespace(bucket_us=60_000_000),
        forecasts=SimpleNamespace(judged=judged),
        final=SimpleNamespace(opened_now=opened),
        scores=SimpleNamespace(
            skill={name: SimpleNamespace(pooled=_estimates(skill)) for name, skill in skills.items()},
            n_moments=round(days * 1440),
            delivered=lambda name: SimpleNamespace(mean_pinball=SimpleNamespace(value=losses[name])),
            diebold_mariano={name: SimpleNamespace(p_value=p_value) for name in skills},
        ),
        trading=SimpleNamespace(
            trades=range(trades if per_trade else 0),
            per_trade=_estimates(per_trade) if per_trade else None,
            fees=SimpleNamespace(taker_bps=5.0),
            random_entries=SimpleNamespace(better_share=better_share),
        ),
    )
    outcome.__dict__.update(changes)
    return reach(cast(Outcome, outcome))


def _plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


@pytest.mark.parametrize(
    ("trailing", "ewma", "opening", "tone"),
    [
        (BEATS, BEATS, "the TFT beats both baselines (", "good"),
        (BEATS, EVEN, "the TFT beats trailing quantiles but not EWMA volatility (", "neutral"),
        (EVEN, BEATS, "the TFT beats EWMA volatility but not trailing quantiles (", "neutral"),
        (EVEN, EVEN, "the TFT does not beat any of its 2 baselines (", "bad"),
        (EVEN, WORSE, "the TFT does not beat any of its 2 baselines (", "bad"),
        (WORSE, WORSE, "the TFT is worse than both baselines (", "bad"),
        (UNDEFINED, UNDEFINED, "the TFT does not beat any of its 2 baselines (", "bad"),
    ],
)
def test_a_baseline_is_beaten_only_if_the_interval_excludes_zero(
    trailing: Numbers, ewma: Numbers, opening: str, tone: str
) -> None:
    verdict = _verdict({"trailing": trailing, "ewma": ewma})
    assert verdict.skill_clause.startswith(opening)
    assert verdict.tone == tone
    assert verdict.beats == {"trailing": trailing is BEATS, "ewma": ewma is BEATS}


@pytest.mark.parametrize("p_value", [0.05, float("nan")])
def test_a_baseline_is_not_beaten_where_diebold_mariano_disagrees(p_value: float) -> None:
    verdict = _verdict({"trailing": BEATS, "ewma": BEATS}, p_value=p_value)
    assert verdict.beats == {"trailing": False, "ewma": False}
    assert "does not beat any" in verdict.sentence


def test_several_baselines_are_enumerated() -> None:
    skills = {"trailing": BEATS, "ewma": BEATS, "har": BEATS, "linear": EVEN, "lightgbm": WORSE}
    clause = _plain(_verdict(skills).skill_clause)
    assert clause == (
        "the TFT beats trailing quantiles, EWMA volatility and HAR volatility but not linear quantiles or LightGBM "
        "quantiles (pinball skill over the strongest, LightGBM quantiles: -5.00 %, 95 % interval -8.00 to -2.00 %)"
    )
    assert _verdict(dict.fromkeys(skills, BEATS)).skill_clause.startswith("the TFT beats all five baselines (")
    assert _verdict({"trailing": EVEN}).skill_clause.startswith("the TFT does not beat its only baseline (")
    assert "its interval is undefined" in _verdict({"trailing": UNDEFINED}).skill_clause


def test_another_forecaster_may_be_judged_or_one_alone() -> None:
    found = _verdict({"trailing": BEATS}, judged="har")
    assert found.skill_clause.startswith("the forecast by HAR volatility beats its only baseline (")
    alone = _verdict({}, judged="har")
    assert alone.skill_clause == "the forecast by HAR volatility was judged without a baseline"
    assert alone.tone == "neutral"


@pytest.mark.parametrize(
    ("per_trade", "trades", "better_share", "opening", "has_edge"),
    [
        ((3.0, 1.0, 5.0), 50, 0.0, "There is an edge after costs: +3.0 bps", True),
        ((3.0, 1.0, 5.0), 29, 0.0, "No edge after costs can be shown", False),
        ((3.0, -1.0, 7.0), 50, 0.0, "No edge after costs that could be told from chance", False),
        ((-3.0, -5.0, -1.0), 50, 0.9, "No edge after costs: the strategy loses money", False),
        ((3.0, 1.0, 5.0), 50, 0.05, "No edge after costs: +3.0 bps", False),
        (None, 0, 0.0, "No edge after costs: the strategy never traded", False),
    ],
)
def test_an_edge_needs_thirty_trades_an_interval_above_zero_and_more_than_chance(
    per_trade: Numbers | None, trades: int, better_share: float, opening: str, has_edge: bool
) -> None:
    verdict = _verdict({"trailing": BEATS}, per_trade, trades, better_share=better_share)
    assert _plain(verdict.edge_sentence).startswith(opening)
    assert verdict.has_edge is has_edge


def test_all_is_said_in_one_sentence_with_its_interval() -> None:
    sentence = _verdict({"trailing": BEATS, "ewma": EVEN}, (3.0, -1.0, 7.0)).sentence
    assert _plain(sentence) == (
        "Over 30 days of test data, the TFT beats trailing quantiles but not EWMA volatility (pinball skill over the "
        "strongest, EWMA volatility: +1.00 %, 95 % interval -2.00 to +4.00 %); no edge after costs that could be told "
        "from chance: +3.0 bps (95 % interval -1.0 to +7.0 bps) net a round trip, 50 round trips."
    )


def test_few_days_the_final_period_and_no_trading_are_said() -> None:
    assert _verdict({"trailing": BEATS}, days=1.26).sentence.startswith("On only 1.3 days of test data, the TFT beats")
    assert _verdict({"trailing": BEATS}, opened=True).sentence.startswith("Over 30 days of final test data, ")
    assert "trading was not tried" in _verdict({"trailing": BEATS}, trading=None).sentence


def test_a_sharpe_ratio_stands_with_its_probabilities_or_not_at_all() -> None:
    result: Any = SimpleNamespace(performance=PERFORMANCE)
    assert sharpe_sentence(result, 12) == (
        "Sharpe ratio +1.23 a year from 40 daily returns; the probability that the true one is above zero is 91 %, and "
        "42 % after allowing for the 12 configurations that were tried."
    )
    few = replace(
        PERFORMANCE, sharpe=None, probabilistic_sharpe=None, deflated_sharpe=None,
        no_sharpe_because="12 test days, 30 needed",
    )  # fmt: skip
    result = SimpleNamespace(performance=few)
    assert sharpe_sentence(result, 1) == "No Sharpe ratio: 12 test days, 30 needed."
