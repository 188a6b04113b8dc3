"""Controls: what is known to have no skill gets none, what is known to have skill gets it."""

import pytest

from midas_ray.dataset.panel import Panel
from midas_ray.evaluate.folds import assemble, fit_and_forecast, plan_folds
from midas_ray.evaluate.judge import Forecasts
from midas_ray.evaluate.outcome import Conditions, FinalState, Outcome, conclude, data_used
from midas_ray.evaluate.verdict import reach
from midas_ray.settings import NetworkSettings, TradingSettings
from tests.evaluate.markets import fit_linear, signal_panel

NAMES = ("tft", "trailing", "ewma")


def walk_forward(panel: Panel, fee_bps: float) -> Outcome:
    network = NetworkSettings(input_length=10, output_length=10, quantiles=(0.1, 0.5, 0.9))
    results = []
    for plan in plan_folds(panel, 10, 10, 3):
        fitted = [fit_and_forecast(panel, plan, name, 0, network, fit_linear, "cpu") for name in NAMES]
        results.append(assemble(panel, plan, fitted, network.quantiles))
    conditions = Conditions(
        model=None, training_end_us=None, refused=0, without_baseline=0, input_length=10, output_length=10,
        network={"hidden_dim": 16}, forecasters=NAMES, seeds=1, cross_validation="walk-forward",
        trading=TradingSettings(fee_bps=fee_bps), trials=1, command="midas backtest",
    )  # fmt: skip
    final = FinalState(period=None, opened_now=False, earlier=None)
    forecasts = Forecasts.join([result.forecasts for result in results])
    return conclude(panel, conditions, data_used(panel, "test"), final, [r.record for r in results], forecasts, [])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_random_walk_gives_no_skill_and_no_edge(seed: int) -> None:
    outcome = walk_forward(signal_panel(2500, strength_bps=0.0, seed=seed), fee_bps=0.0)
    verdict = reach(outcome)
    assert not all(verdict.beats.values())
    assert not verdict.has_edge
    pooled = outcome.scores.skill["trailing"].pooled
    assert pooled.lower < 0.01
    assert pooled.upper > -0.05


def test_a_planted_signal_is_found_and_pays_more_than_its_costs() -> None:
    outcome = walk_forward(signal_panel(2500, strength_bps=4.0), fee_bps=1.0)
    verdict = reach(outcome)
    assert all(verdict.beats.values())
    assert verdict.has_edge
    assert outcome.trading is not None
    assert outcome.trading.curve.net_pct[-1] > 0
    assert outcome.trading.random_entries is not None
    assert outcome.trading.random_entries.better_share == 0
    assert outcome.trading.break_even.break_even_bps is not None
    assert outcome.trading.break_even.break_even_bps > 5


def test_the_same_signal_pays_nothing_under_high_fees() -> None:
    outcome = walk_forward(signal_panel(2500, strength_bps=0.5), fee_bps=5.0)
    assert not reach(outcome).has_edge
