from dataclasses import replace

import numpy as np
import pytest

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.windows import window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.forecast.baselines import Task, ewma, fit_baseline
from midas_ray.forecast.baselines.ewma import EwmaQuantiles, ewma_volatility_bps
from midas_ray.forecast.baselines.har import HarQuantiles
from midas_ray.forecast.baselines.trailing import TrailingQuantiles, trailing_quantiles_bps
from midas_ray.forecast.scores import pinball_loss_bps
from tests.dataset.synthetic import take
from tests.evaluate.markets import QUANTILES_Q, Int, price_panel, random_walk

SIMPLE = ("trailing", "ewma", "har")


def task_of(panel: Panel, train: Int, validation: Int | None = None, horizon: int = 5) -> Task:
    return Task(
        panel=panel, train=train, validation=train[:0] if validation is None else validation, columns=(),
        quantiles=tuple(QUANTILES_Q), input_length=20, output_length=horizon, seed=0,
    )  # fmt: skip


def test_trailing_quantiles_by_hand() -> None:
    returns_bps = np.array([0.0] + [float(k % 7) for k in range(60)])
    panel = price_panel(np.exp(np.cumsum(returns_bps) / 1e4))
    row = 50
    found = trailing_quantiles_bps(panel, np.array([row]), 2, QUANTILES_Q, window=40)[0]
    one = returns_bps[row - 39 : row + 1]
    two = (returns_bps + np.roll(returns_bps, 1))[row - 39 : row + 1]
    for horizon, last in ((0, one), (1, two)):
        expected = np.quantile(last, QUANTILES_Q) - np.median(last)
        np.testing.assert_allclose(found[horizon], expected, atol=1e-6)
    assert found[0, 1] == 0


def test_nothing_is_said_before_thirty_realised_returns() -> None:
    panel = price_panel(random_walk(60, 0))
    found = trailing_quantiles_bps(panel, np.array([29, 30, 31]), 2, QUANTILES_Q, window=120)
    assert np.isnan(found).all(axis=2).tolist() == [[True, True], [False, True], [False, False]]
    assert np.isnan(ewma_volatility_bps(panel, np.array([29, 30]), 10)).tolist() == [True, False]


def test_ewma_volatility_by_hand() -> None:
    panel = price_panel(random_walk(45, 1))
    returns_bps = 1e4 * np.diff(np.log(panel.price))[:40]
    weights = 0.5 ** (np.arange(39, -1, -1) / 10)
    expected = np.sqrt((weights * returns_bps**2).sum() / weights.sum())
    assert ewma_volatility_bps(panel, np.array([40]), 10)[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", SIMPLE)
def test_the_future_changes_no_forecast(name: str) -> None:
    panel = price_panel(random_walk(800, 2))
    origins = window_origins(panel, 20, 5, ())
    fitted = fit_baseline(name, task_of(panel, origins[:300]))
    cut = 500
    early = origins[origins < cut]
    truncated = take(panel, np.arange(cut))
    changed = replace(panel, price=np.where(np.arange(len(panel)) < cut, panel.price, panel.price * 3))
    for other in (truncated, changed):
        np.testing.assert_array_equal(fitted.predict(panel, early), fitted.predict(other, early))
    late = origins[origins > cut + 5]
    assert not np.array_equal(fitted.predict(panel, late), fitted.predict(changed, late))


def test_a_gap_neither_invents_a_return_nor_empties_the_window() -> None:
    panel = price_panel(random_walk(200, 3))
    hole = take(panel, np.r_[0:100, 130:200])
    after, before = np.array([110]), np.array([99])
    kept = np.r_[0:100, 130:200]
    returns = 1e4 * np.diff(np.log(panel.price[kept]))
    known = np.delete(returns, 99)[:109]
    found = trailing_quantiles_bps(hole, after, 1, QUANTILES_Q, 60)[0, 0]
    np.testing.assert_allclose(found, np.quantile(known[-60:], QUANTILES_Q) - np.median(known[-60:]))
    np.testing.assert_array_equal(
        trailing_quantiles_bps(hole, before, 3, QUANTILES_Q, 60),
        trailing_quantiles_bps(panel, before, 3, QUANTILES_Q, 60),
    )


@pytest.mark.parametrize("name", SIMPLE)
def test_symbols_are_forecast_apart(name: str) -> None:
    one, two = random_walk(300, 4), random_walk(300, 5, 20.0)
    both = price_panel(np.concatenate([one, two]), symbols=2)
    rows = np.arange(100, 280)
    fitted = fit_baseline(name, task_of(both, np.concatenate([rows, rows + 300])))
    together = fitted.predict(both, np.concatenate([rows, rows + 300]))
    shuffled = fitted.predict(both, np.concatenate([rows + 300, rows]))
    np.testing.assert_array_equal(together, np.concatenate([shuffled[180:], shuffled[:180]]))
    assert together[180:, :, 2].mean() > 2 * together[:180, :, 2].mean()


def test_where_volatility_breathes_both_volatility_baselines_beat_trailing_quantiles() -> None:
    rows = 6000
    sd_bps = 5 * np.exp(0.9 * np.sin(2 * np.pi * np.arange(rows) / 480))
    panel = price_panel(random_walk(rows, 6, sd_bps))
    origins = window_origins(panel, 20, 5, ())
    task, test = task_of(panel, origins[:3000]), origins[3010:]
    actual = task.actual_bps(test)
    loss = {
        name: pinball_loss_bps(actual, fit_baseline(name, task).predict(panel, test), QUANTILES_Q)[:, :, [0, 2]].mean()
        for name in SIMPLE
    }
    assert loss["ewma"] < 0.97 * loss["trailing"]
    assert loss["har"] < 0.97 * loss["trailing"]


def test_on_a_steady_walk_the_longest_memory_is_chosen_and_quantiles_are_normal() -> None:
    panel = price_panel(random_walk(6000, 7))
    task = task_of(panel, window_origins(panel, 20, 3, ()), horizon=3)
    fitted = EwmaQuantiles.fit(task)
    assert fitted.half_life == max(ewma.HALF_LIVES)
    np.testing.assert_allclose(fitted.z_HQ, np.tile([-1.2816, 0, 1.2816], (3, 1)), atol=0.08)
    assert TrailingQuantiles.fit(task).window > 480
    har = HarQuantiles.fit(task)
    width = np.diff(har.predict(panel, task.train[1500:])[:, 0, [0, 2]])
    assert width.mean() == pytest.approx(5 * 2 * 1.2816, rel=0.05)


@pytest.mark.parametrize("name", SIMPLE)
def test_a_price_at_rest_gives_finite_quantiles(name: str) -> None:
    price = random_walk(400, 8)
    price[100:300] = price[100]
    panel = price_panel(price)
    origins = window_origins(panel, 20, 3, ())[50:]
    assert np.isfinite(fit_baseline(name, task_of(panel, origins, horizon=3)).predict(panel, origins)).all()


@pytest.mark.parametrize("name", ["trailing", "ewma"])
def test_too_little_before_any_training_window(name: str) -> None:
    panel = price_panel(random_walk(40, 9))
    with pytest.raises(TooFewRowsError, match="30 realised returns"):
        fit_baseline(name, task_of(panel, np.arange(5, 20), horizon=3))
