"""Controls of all that learns, the real network too: a judged fold with a planted signal, and with shuffled labels."""

from functools import cache

import numpy as np
import pytest
import torch

from midas_ray.dataset.columns import ColumnChoice
from midas_ray.dataset.panel import Panel
from midas_ray.evaluate.folds import FittedForecasts, FoldPlan, assemble, fit_and_forecast, plan_folds
from midas_ray.evaluate.judge import Scores, score
from midas_ray.features.registry import POSITION
from midas_ray.forecast.baselines import LEARNED
from midas_ray.forecast.fitting import fit
from midas_ray.settings import NetworkSettings
from tests.dataset.synthetic import rebuilt
from tests.evaluate.markets import signal_panel

COLUMNS = ("volume", "ofi", "microprice", "hour_sin", "hour_cos")
ROWS = 2000
NETWORK = NetworkSettings(
    input_length=6, output_length=3, hidden_dim=8, n_heads=1, dropout=0.0, epochs=6, batch_size=64, learning_rate=0.01,
    quantiles=(0.1, 0.5, 0.9), stride=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def with_shuffled_labels(panel: Panel, seed: int) -> Panel:
    """The same inputs; the returns, and so all labels, in another order."""
    returns = np.random.default_rng(seed).permutation(np.diff(np.log(panel.price)))
    values = panel.values.copy()
    values[1:, POSITION["midprice"]] = panel.price[0] * np.exp(np.cumsum(returns))
    values[:, POSITION["microprice"]] *= values[:, POSITION["midprice"]] / panel.price
    return rebuilt(panel, values)


def plan_of(panel: Panel) -> FoldPlan:
    plan = plan_folds(panel, NETWORK.input_length, NETWORK.output_length, 3)[-1]
    return FoldPlan(plan.number, plan.split, ColumnChoice(COLUMNS, {}))


def forecast(panel: Panel, name: str, network: NetworkSettings = NETWORK) -> FittedForecasts:
    return fit_and_forecast(panel, plan_of(panel), name, network.seed, network, fit, "cpu")


@cache
def judged(shuffled: bool) -> dict[str, Scores]:
    """Scores of each learner, beside trailing quantiles."""
    panel = signal_panel(ROWS, strength_bps=4.0)
    if shuffled:
        panel = with_shuffled_labels(panel, seed=1)
    trailing = forecast(panel, "trailing")
    return {
        name: score(
            assemble(panel, plan_of(panel), [forecast(panel, name), trailing], NETWORK.quantiles).forecasts,
            every_form=False,
        )
        for name in LEARNED
    }


@pytest.mark.parametrize("name", LEARNED)
def test_a_planted_signal_is_found(name: str) -> None:
    skill = judged(shuffled=False)[name].skill["trailing"].pooled
    assert skill.excludes_zero_above()
    assert float(skill.value) > 0.1


@pytest.mark.parametrize("name", LEARNED)
def test_shuffled_labels_give_no_skill(name: str) -> None:
    skill = judged(shuffled=True)[name].skill["trailing"].pooled
    assert not skill.excludes_zero_above()
    assert float(skill.value) < 0.02


@pytest.mark.parametrize("name", LEARNED)
def test_the_same_seed_gives_the_same_forecasts_bit_for_bit(name: str) -> None:
    panel = signal_panel(900, strength_bps=4.0)
    network = NETWORK.model_copy(update={"epochs": 1})
    first, second = (forecast(panel, name, network) for _ in range(2))
    for part in ("calibration_nHQ", "test_nHQ"):
        np.testing.assert_array_equal(getattr(first, part), getattr(second, part))


def test_another_seed_gives_another_network() -> None:
    panel = signal_panel(900, strength_bps=4.0)
    first, second = (forecast(panel, "tft", NETWORK.model_copy(update={"epochs": 1, "seed": seed})) for seed in (0, 1))
    assert (first.test_nHQ != second.test_nHQ).any()
