import numpy as np
import pytest
from numpy.typing import NDArray

from midas_ray.errors import TooFewRowsError
from midas_ray.forecast.conformal import Conformal, adapt, independent_windows, width_bps

TAUS = (0.1, 0.5, 0.9)
TAUS_Q = np.array(TAUS)
Float = NDArray[np.float64]


def normal_forecast(sigma_n: Float, horizons: int = 2, factor: float = 1.0) -> Float:
    """(n, H, Q) quantiles of a normal distribution, `factor` times too wide."""
    z = np.array([-1.2815515655, 0.0, 1.2815515655])
    return np.broadcast_to(factor * sigma_n[:, None, None] * z, (len(sigma_n), horizons, 3)).copy()


def market(n: int, seed: int = 0, horizons: int = 2) -> tuple[Float, Float]:
    """True volatility (n,), from 1 to 20, and outcomes (n, H)."""
    rng = np.random.default_rng(seed)
    sigma = np.exp(rng.uniform(0, 3, n))
    return sigma, sigma[:, None] * rng.standard_normal((n, horizons))


def test_offsets_by_hand() -> None:
    """Widths are 1 and quantiles 0: scores are the outcomes 1 ... 99."""
    raw = np.tile([-0.5, 0.0, 0.5], (99, 1, 1))
    actual = np.random.default_rng(0).permutation(np.arange(1.0, 100.0))[:, None]
    found = Conformal.fit(actual, raw, TAUS).offsets[0]
    np.testing.assert_allclose(found, [10 + 0.5, 50.0, 90 - 0.5])


def test_finite_samples_err_on_the_outer_side() -> None:
    raw = np.tile([-0.5, 0.0, 0.5], (20, 1, 1))
    found = Conformal.fit(np.arange(1.0, 21.0)[:, None], raw, TAUS).offsets[0]
    np.testing.assert_allclose(found[[0, 2]], [2 + 0.5, 19 - 0.5])


def test_offsets_equal_those_of_mapie() -> None:
    """Widths are made 1, so that our scores are the plain ones of the paper."""
    from mapie.regression import ConformalizedQuantileRegressor
    from sklearn.base import BaseEstimator, RegressorMixin

    class Constant(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def __init__(self, value: float) -> None:
            self.value = value
            self.fitted_ = True

        def fit(self, X: Float, y: Float) -> "Constant":  # noqa: ARG002
            return self

        def predict(self, X: Float) -> Float:
            return np.full(len(X), self.value)

    n = 157
    actual = np.random.default_rng(3).standard_normal(n) * 2 + 0.3
    raw = np.tile([-0.5, 0.0, 0.5], (n, 1, 1))
    oracle = ConformalizedQuantileRegressor(
        [Constant(-0.5), Constant(0.5), Constant(0.0)], confidence_level=0.8, prefit=True
    )
    x = np.zeros((n, 1))
    oracle.conformalize(x, actual)
    _, interval = oracle.predict_interval(x[:1], symmetric_correction=False)
    found = Conformal.fit(actual[:, None], raw, TAUS).apply(raw[:1])[0, 0]
    np.testing.assert_allclose(found[[0, 2]], interval[0, :, 0])


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.5])
def test_a_wrong_width_is_mended_in_calm_and_wild_markets_alike(factor: float) -> None:
    sigma, actual = market(4000)
    conformal = Conformal.fit(actual, normal_forecast(sigma, factor=factor), TAUS)
    sigma, actual = market(4000, seed=1)
    moved = conformal.apply(normal_forecast(sigma, factor=factor))
    for calm in (sigma < 4, sigma >= 4):
        below = (actual[calm][:, :, None] <= moved[calm]).mean(axis=0)
        np.testing.assert_allclose(below, np.broadcast_to(TAUS_Q, (2, 3)), atol=0.03)


def overlapping_market(buckets: int, seed: int, horizons: int = 10) -> tuple[Float, Float]:
    """Persistent true volatility (n,) and the (n, H) returns of windows that start at every bucket: neighbours share
    all but one of the H returns, so that scores are not exchangeable.
    """
    rng = np.random.default_rng(seed)
    shocks = 0.1 * rng.standard_normal(buckets)
    log_sigma = np.zeros(buckets)
    for t in range(1, buckets):
        log_sigma[t] = 0.98 * log_sigma[t - 1] + shocks[t]
    price = np.concatenate([[0.0], np.cumsum(np.exp(log_sigma) * rng.standard_normal(buckets))])
    origins = np.arange(buckets - horizons)
    ahead = origins[:, None] + np.arange(1, horizons + 1)
    return np.exp(log_sigma[origins]), price[ahead] - price[origins][:, None]


@pytest.mark.parametrize("factor", [0.6, 1.6])
def test_overlapping_windows_are_covered_on_average_within_a_twentieth_each(factor: float) -> None:
    """The promise of exchangeable data, on data that are not: kept on average, with the scatter of n / H windows."""
    horizons, n = 10, 4000
    root = np.sqrt(np.arange(1, horizons + 1))[None, :, None]
    below = []
    for seed in range(12):
        sigma, actual = overlapping_market(2 * n + 2 * horizons, seed, horizons)
        raw = normal_forecast(sigma, horizons, factor) * root
        later = slice(n + horizons, 2 * n + horizons)  # purged: no outcome is shared by the two parts
        moved = Conformal.fit(actual[:n], raw[:n], TAUS).apply(raw[later])
        below.append((actual[later][:, :, None] <= moved).mean(axis=0))
    found = np.array(below)
    np.testing.assert_allclose(found.mean(axis=0), np.broadcast_to(TAUS_Q, (horizons, 3)), atol=0.025)
    np.testing.assert_allclose(found[:, 0], np.broadcast_to(TAUS_Q, (12, 3)), atol=0.05)
    assert found[:, -1, 1].std() > 2 * found[:, 0, 1].std()  # overlap: at H far fewer windows are independent


def test_moved_quantiles_never_cross() -> None:
    rng = np.random.default_rng(0)
    raw = np.sort(rng.standard_normal((500, 2, 3)), axis=2)
    moved = Conformal.fit(rng.standard_normal((500, 2)), raw, TAUS).apply(raw)
    assert (np.diff(moved, axis=2) >= 0).all()


def test_a_forecast_without_width_is_moved_too() -> None:
    raw = np.zeros((200, 1, 3))
    assert (width_bps(raw, TAUS_Q) > 0).all()
    actual = np.random.default_rng(0).standard_normal((200, 1))
    moved = Conformal.fit(actual, raw, TAUS).apply(raw[:1])[0, 0]
    np.testing.assert_allclose(moved, np.quantile(actual, TAUS), atol=0.1)


def test_a_forecast_that_loses_its_width_at_times_is_not_thrown_far() -> None:
    """As trailing quantiles of a price that stands still: scores of the narrow ones must not rule the others."""
    rng = np.random.default_rng(0)
    raw = normal_forecast(np.full(2000, 5.0))
    raw[::4] = 0.0
    moved = Conformal.fit(5 * rng.standard_normal((2000, 2)), raw, TAUS).apply(raw)
    assert np.abs(moved).max() < 40


def test_too_few_windows() -> None:
    with pytest.raises(TooFewRowsError, match="expected 3 windows in the calibration part, found 2"):
        Conformal.fit(np.zeros((2, 1)), np.zeros((2, 1, 3)), TAUS)


def test_what_is_stored_is_read_back() -> None:
    sigma, actual = market(100)
    conformal = Conformal.fit(actual, normal_forecast(sigma), TAUS)
    again = Conformal.from_dict(conformal.to_dict())
    np.testing.assert_array_equal(again.apply(normal_forecast(sigma)), conformal.apply(normal_forecast(sigma)))
    np.testing.assert_array_equal(again.scores, conformal.scores)


def adapted(conformal: Conformal, actual: Float, raw: Float, symbols: int = 1, step: float = 0.02) -> Float:
    ts_us = np.repeat(np.arange(len(actual) // symbols), symbols) * 60
    symbol = np.tile(np.arange(symbols), len(actual) // symbols)
    return adapt(conformal, ts_us, 60, symbol, actual, raw, step=step)


def test_adaptive_levels_follow_a_market_that_changes() -> None:
    sigma, actual = market(4000)
    conformal = Conformal.fit(actual, normal_forecast(sigma), TAUS)
    sigma, actual = market(6000, seed=1)
    raw = normal_forecast(sigma)
    actual *= 2.0  # the market has become twice as wild as the forecaster believes
    fixed = (np.abs(actual[3000:, :, None]) <= np.abs(conformal.apply(raw)[3000:, :, 2:])).mean()
    moved = adapted(conformal, actual, raw)
    below = (actual[3000:, :, None] <= moved[3000:]).mean(axis=(0, 1))
    assert fixed < 0.6
    np.testing.assert_allclose(below, TAUS_Q, atol=0.03)


def test_an_outcome_is_used_only_once_it_is_known() -> None:
    sigma, actual = market(400)
    conformal = Conformal.fit(actual, normal_forecast(sigma), TAUS)
    raw = normal_forecast(sigma)
    whole = adapted(conformal, actual, raw)
    for h in (0, 1):
        other = actual.copy()
        other[200:, h] = 1e6
        found = adapted(conformal, other, raw)
        last_equal = 200 + h  # the outcome of origin 200 ends at 201 + h
        np.testing.assert_array_equal(found[: last_equal + 1], whole[: last_equal + 1])
        assert (found[last_equal + 1 :, h] != whole[last_equal + 1 :, h]).any()


def test_symbols_adapt_apart_and_order_does_not_matter() -> None:
    sigma, actual = market(400)
    raw = normal_forecast(sigma)
    conformal = Conformal.fit(actual, raw, TAUS)
    together = adapted(conformal, actual, raw, symbols=2)
    alone = adapted(conformal, actual[::2], raw[::2])
    np.testing.assert_array_equal(together[::2], alone)
    order = np.random.default_rng(0).permutation(400)
    ts_us, symbol = np.repeat(np.arange(200), 2) * 60, np.tile([0, 1], 200)
    shuffled = adapt(conformal, ts_us[order], 60, symbol[order], actual[order], raw[order], step=0.02)
    np.testing.assert_array_equal(shuffled, together[order])


def test_unknown_forecasts_pass_through() -> None:
    sigma, actual = market(100)
    raw = normal_forecast(sigma)
    conformal = Conformal.fit(actual, raw, TAUS)
    raw[10:20] = np.nan
    assert np.isnan(conformal.apply(raw)[10:20]).all()
    found = adapted(conformal, actual, raw)
    assert np.isnan(found[10:20]).all()
    assert np.isfinite(found[20:]).all()


def test_few_independent_windows_move_little() -> None:
    sigma, actual = market(2000)
    raw = normal_forecast(sigma, factor=0.5)
    plain = Conformal.fit(actual, raw, TAUS)
    few = Conformal.fit(actual, raw, TAUS, independent=25.0)
    np.testing.assert_allclose(few.offsets, plain.offsets / 5)
    # the adaptive form starts from the same offsets
    np.testing.assert_allclose(adapted(few, actual[:1], raw[:1]), few.apply(raw[:1]))
    assert independent_windows(np.repeat(np.arange(100), 3) * 60, 60, 10) == 10
