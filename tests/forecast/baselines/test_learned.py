"""Linear and boosted quantiles: they find what is planted, nothing in noise, and never look ahead."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from midas_ray.dataset.splits import time_split
from midas_ray.dataset.windows import window_origins
from midas_ray.forecast.baselines import Task, fit_baseline
from midas_ray.forecast.baselines.boosted import trained_horizons
from midas_ray.forecast.scores import pinball_loss_bps
from tests.dataset.synthetic import rebuilt
from tests.evaluate.markets import Float, Int, signal_panel

LEARNED = ("linear", "lightgbm")
COLUMNS = ("volume", "ofi", "microprice", "hour_sin", "hour_cos")
QUANTILES = (0.1, 0.5, 0.9)


@cache
def task_of(strength_bps: float, seed: int = 0) -> tuple[Task, Int]:
    panel = signal_panel(2500, strength_bps, seed)
    split = time_split(panel, window_origins(panel, 10, 5, COLUMNS), 0.15, 0.3, purge=5)
    task = Task(
        panel=panel, train=split.train, validation=split.validation, columns=COLUMNS, quantiles=QUANTILES,
        input_length=10, output_length=5, seed=seed,
    )  # fmt: skip
    return task, split.test


def loss(task: Task, test: Int, name: str) -> float:
    forecast = fit_baseline(name, task).predict(task.panel, test)
    return float(pinball_loss_bps(task.actual_bps(test), forecast, np.array(QUANTILES)).mean())


@pytest.mark.parametrize("name", LEARNED)
def test_a_planted_signal_is_found(name: str) -> None:
    task, test = task_of(4.0)
    assert loss(task, test, name) < 0.85 * loss(task, test, "har")


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("seed", [0, 1])
def test_shuffled_labels_give_no_skill(name: str, seed: int) -> None:
    """The signal without its order is noise."""
    task, test = task_of(4.0, seed)
    panel = task.panel
    values = panel.values.copy()
    position = panel.feature_names.index("ofi")
    values[:, position] = np.random.default_rng(seed).permutation(values[:, position])
    shuffled = replace(task, panel=rebuilt(panel, values))
    assert loss(shuffled, test, name) > 0.99 * loss(shuffled, test, "har")


@pytest.mark.parametrize("name", LEARNED)
def test_the_future_changes_no_forecast_and_quantiles_never_cross(name: str) -> None:
    task, test = task_of(2.0)
    fitted = fit_baseline(name, task)
    cut = int(test[100])
    values = task.panel.values.copy()
    values[cut + 1 :] *= 2.0
    forecast = fitted.predict(task.panel, test)
    other = fitted.predict(rebuilt(task.panel, values), test)
    np.testing.assert_array_equal(forecast[:101], other[:101])
    assert not np.array_equal(forecast[101:], other[101:])
    assert (np.diff(forecast, axis=2) >= 0).all()


@pytest.mark.parametrize("name", LEARNED)
def test_the_same_task_gives_the_same_forecasts(name: str) -> None:
    task, test = task_of(2.0)
    first, second = (fit_baseline(name, task).predict(task.panel, test) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_boosted_horizons_are_interpolated() -> None:
    task, test = task_of(4.0)
    assert trained_horizons(10) == (1, 5, 10)
    assert trained_horizons(1) == (1,)
    assert trained_horizons(5) == (1, 2, 5)
    scaled: Float = fit_baseline("lightgbm", task).predict(task.panel, test[:50])
    scale = _scale(task, test[:50])
    middle = (scaled / scale[:, :, None])[:, :, 1]
    np.testing.assert_allclose(middle[:, 2], (2 * middle[:, 1] + middle[:, 4]) / 3, atol=1e-9)


def _scale(task: Task, origins: Int) -> Float:
    from midas_ray.forecast.baselines.inputs import OriginInputs

    return OriginInputs.fit(task).scale_bps(task.panel, origins)


def test_with_few_windows_the_linear_baseline_keeps_to_volatilities_and_says_so() -> None:
    task, test = task_of(4.0)
    few = replace(task, train=task.train[:40])
    fitted = fit_baseline("linear", few)
    assert fitted.note == "volatilities and 0 principal components"
    assert np.isfinite(fitted.predict(task.panel, test)).all()
