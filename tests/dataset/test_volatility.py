from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.volatility import HAR_WINDOWS, HarVolatility
from tests.dataset.synthetic import synthetic_panel, take

HORIZON = 5


def priced(panel: Panel, log_returns: NDArray[np.float64]) -> Panel:
    """The panel with these one-bucket log returns of P (the first is not used)."""
    return replace(panel, price=100 * np.exp(np.cumsum(log_returns)))


def breathing_panel(rows: int = 12_000, seed: int = 0) -> tuple[Panel, NDArray[np.float64]]:
    """A panel whose true volatility (n,), in bps, moves slowly between about 1 and 10."""
    rng = np.random.default_rng(seed)
    log_sigma, shocks = np.zeros(rows), rng.standard_normal(rows)
    for t in range(1, rows):
        log_sigma[t] = 0.995 * log_sigma[t - 1] + 0.06 * shocks[t]
    sigma = 3 * np.exp(log_sigma)
    return priced(synthetic_panel(rows), 1e-4 * sigma * rng.standard_normal(rows)), sigma


def terms(panel: Panel, rows: NDArray[np.int64], typical: float = 2.0) -> NDArray[np.float64]:
    fitted = HarVolatility((typical,) * len(panel.symbols), 0.0, (0.25,) * 4)
    return fitted.log_terms(panel, rows, panel.symbol_index)


def test_terms_are_root_mean_squares_of_the_last_returns() -> None:
    panel = synthetic_panel(1600)
    returns = 1e4 * np.diff(np.log(panel.price))
    for row in (1500, 700, 45):
        found = np.exp(terms(panel, np.array([row]))[0])
        expected = [np.sqrt(np.mean(returns[max(row - window, 0) : row] ** 2)) for window in HAR_WINDOWS]
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_typical_volatility_stands_in_for_missing_returns() -> None:
    panel = synthetic_panel(50)
    returns = 1e4 * np.diff(np.log(panel.price))
    np.testing.assert_allclose(np.exp(terms(panel, np.array([0]), 7.0)), 7.0)
    expected = np.sqrt((returns[0] ** 2 + returns[1] ** 2 + 8 * 7.0**2) / 10)
    np.testing.assert_allclose(np.exp(terms(panel, np.array([2]), 7.0)), expected)


def test_a_price_that_stands_still_has_a_floor() -> None:
    panel = replace(synthetic_panel(100), price=np.full(100, 5.0))
    np.testing.assert_allclose(np.exp(terms(panel, np.array([99]), 2.0)), 0.1)


def test_returns_are_counted_not_time_and_symbols_are_apart() -> None:
    panel = synthetic_panel(400, ("btcusdt", "ethusdt"))
    alone = terms(synthetic_panel(400), np.array([350]))
    np.testing.assert_allclose(terms(panel, np.array([350])), alone)
    kept = np.r_[0:100, 130:400]
    holed = take(synthetic_panel(400), kept)
    returns = 1e4 * np.diff(np.log(holed.price))
    returns = np.delete(returns, 99)  # over the hole: not a one-bucket return
    found = np.exp(terms(holed, np.array([150]))[0, 1])
    np.testing.assert_allclose(found, np.sqrt(np.mean(returns[149 - 60 : 149] ** 2)))


def test_nothing_later_is_read() -> None:
    panel = synthetic_panel(500)
    rows = np.arange(200, 300)
    other = replace(panel, price=np.where(np.arange(500) > 299, 7.0 + np.arange(500) % 3, panel.price))
    np.testing.assert_array_equal(terms(panel, rows), terms(other, rows))
    origins = np.arange(100, 290)
    seen = replace(panel, price=np.where(np.arange(500) > 289 + HORIZON, 7.0, panel.price))
    assert HarVolatility.fit(panel, origins, HORIZON) == HarVolatility.fit(seen, origins, HORIZON)


def test_forecast_follows_a_volatility_that_moves() -> None:
    panel, sigma = breathing_panel()
    train, test = np.arange(1500, 8000), np.arange(8010, 11_990)
    fitted = HarVolatility.fit(panel, train, HORIZON)
    forecast = fitted.sigma_bps(fitted.log_terms(panel, test, panel.symbol_index))
    assert np.corrcoef(np.log(forecast), np.log(sigma[test]))[0, 1] > 0.8
    assert 0.5 < sum(fitted.coefficients) < 1.2


def test_forecast_stays_near_its_terms() -> None:
    wild = HarVolatility((1.0,), 9.0, (3.0, 0.0, 0.0, -5.0))
    forecast = wild.sigma_bps(np.log(np.array([[2.0, 2.0, 3.0, 4.0], [400.0, 2.0, 3.0, 0.001]])))
    assert forecast == pytest.approx([3 * 4.0, 3 * 400.0])
