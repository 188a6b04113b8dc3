from dataclasses import replace

import numpy as np
import pytest

from midas_ray.dataset.windows import targets_bps, window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.forecast import baselines
from midas_ray.forecast.baselines import Baselines, ewma_volatility_bps, trailing_quantiles_bps
from midas_ray.forecast.scores import pinball_loss_bps
from tests.dataset.synthetic import take
from tests.evaluate.markets import QUANTILES_Q, price_panel, random_walk


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


def test_the_future_changes_no_baseline() -> None:
    panel = price_panel(random_walk(800, 2))
    origins = window_origins(panel, 20, 5, ())
    fitted = Baselines.fit(panel, origins[:300], targets_bps(panel, origins[:300], 5), QUANTILES_Q)
    cut = 500
    early = origins[origins < cut]
    truncated = take(panel, np.arange(cut))
    changed = replace(panel, price=np.where(np.arange(len(panel)) < cut, panel.price, panel.price * 3))
    for other in (truncated, changed):
        np.testing.assert_array_equal(fitted.trailing_bps(panel, early), fitted.trailing_bps(other, early))
        np.testing.assert_array_equal(fitted.ewma_bps(panel, early), fitted.ewma_bps(other, early))
    late = origins[origins > cut + 5]
    assert not np.array_equal(fitted.trailing_bps(panel, late), fitted.trailing_bps(changed, late))


def test_a_gap_neither_invents_a_return_nor_empties_the_window() -> None:
    panel = price_panel(random_walk(200, 3))
    gap = np.arange(len(panel))
    hole = take(panel, (gap < 100) | (gap >= 150))
    after = np.array([100])  # the first row after the hole
    before = np.array([99])
    np.testing.assert_array_equal(
        trailing_quantiles_bps(hole, after, 3, QUANTILES_Q, 60),
        trailing_quantiles_bps(hole, before, 3, QUANTILES_Q, 60),
    )
    missing = replace(panel, price=np.where((gap >= 100) & (gap < 150), np.nan, panel.price))
    np.testing.assert_array_equal(
        trailing_quantiles_bps(missing, np.array([150]), 3, QUANTILES_Q, 60),
        trailing_quantiles_bps(panel, before, 3, QUANTILES_Q, 60),
    )


def test_symbols_do_not_mix() -> None:
    calm, wild = random_walk(300, 4, 1.0), random_walk(300, 5, 20.0)
    both = price_panel(np.concatenate([calm, wild]), symbols=2)
    rows = np.arange(100, 290)
    pooled = trailing_quantiles_bps(both, np.concatenate([rows, rows + 300]), 4, QUANTILES_Q, 120)
    for part, price in ((pooled[: len(rows)], calm), (pooled[len(rows) :], wild)):
        np.testing.assert_allclose(part, trailing_quantiles_bps(price_panel(price), rows, 4, QUANTILES_Q, 120))


def test_a_volatility_cycle_makes_ewma_beat_trailing_quantiles() -> None:
    rows = 6000
    sd_bps = 5 * np.exp(0.9 * np.sin(2 * np.pi * np.arange(rows) / 480))
    panel = price_panel(random_walk(rows, 6, sd_bps))
    origins = window_origins(panel, 20, 5, ())
    train, test = origins[:3000], origins[3010:]
    fitted = Baselines.fit(panel, train, targets_bps(panel, train, 5), QUANTILES_Q)
    actual = targets_bps(panel, test, 5)
    trailing = pinball_loss_bps(actual, fitted.trailing_bps(panel, test), QUANTILES_Q)
    ewma = pinball_loss_bps(actual, fitted.ewma_bps(panel, test), QUANTILES_Q)
    assert ewma[:, :, [0, 2]].mean() < 0.97 * trailing[:, :, [0, 2]].mean()
    assert fitted.half_life < max(baselines.HALF_LIVES)


def test_on_a_steady_walk_the_longest_memory_is_chosen_and_quantiles_are_normal() -> None:
    panel = price_panel(random_walk(6000, 7))
    origins = window_origins(panel, 20, 3, ())
    fitted = Baselines.fit(panel, origins, targets_bps(panel, origins, 3), QUANTILES_Q)
    assert fitted.half_life == max(baselines.HALF_LIVES)
    np.testing.assert_allclose(fitted.z_HQ, np.tile([-1.2816, 0, 1.2816], (3, 1)), atol=0.08)


def test_a_price_at_rest_gives_finite_quantiles() -> None:
    price = random_walk(400, 8)
    price[100:300] = price[100]
    panel = price_panel(price)
    origins = window_origins(panel, 20, 3, ())
    fitted = Baselines.fit(panel, origins[50:], targets_bps(panel, origins[50:], 3), QUANTILES_Q)
    assert np.isfinite(fitted.ewma_bps(panel, origins[50:])).all()


def test_too_little_before_any_training_window() -> None:
    panel = price_panel(random_walk(40, 9))
    origins = np.arange(5, 20)
    with pytest.raises(TooFewRowsError, match="30 realised returns"):
        Baselines.fit(panel, origins, targets_bps(panel, origins, 3), QUANTILES_Q)
