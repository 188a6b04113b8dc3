import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.forecast.scores import at_or_below, inside, pinball_loss_bps, skill

TAUS = np.array([0.1, 0.5, 0.9])


def test_pinball_by_hand() -> None:
    actual = np.array([[3.0], [-2.0]])
    forecast = np.array([[[1.0, 3.0, 7.0]], [[1.0, -3.0, -2.0]]])
    # y = 3: 0.1 x 2, 0, 0.1 x 4; y = -2: 0.9 x 3, 0.5 x 1, 0
    expected = [[[0.2, 0.0, 0.4]], [[2.7, 0.5, 0.0]]]
    np.testing.assert_allclose(pinball_loss_bps(actual, forecast, TAUS), expected, atol=1e-12)


@given(st.lists(st.floats(-50, 50), min_size=5, max_size=40), st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_the_empirical_quantile_has_the_least_pinball_loss(outcomes: list[float], tau: float) -> None:
    actual = np.array(outcomes)[:, None]

    def mean_loss(q: float) -> float:
        return float(pinball_loss_bps(actual, np.full((len(actual), 1, 1), q), np.array([tau])).mean())

    best = mean_loss(float(np.quantile(actual, tau, method="inverted_cdf")))
    assert all(best <= mean_loss(q) + 1e-9 for q in outcomes)


def test_coverage_by_hand() -> None:
    forecast = np.tile(np.array([-1.0, 0.0, 1.0]), (4, 1, 1))
    actual = np.array([[-1.0], [0.5], [1.5], [-3.0]])
    np.testing.assert_array_equal(inside(actual, forecast)[:, 0], [True, True, False, False])
    np.testing.assert_array_equal(at_or_below(actual, forecast).sum(axis=0)[0], [2, 2, 3])


def test_skill_is_relative_and_undefined_over_a_perfect_baseline() -> None:
    np.testing.assert_allclose(skill(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 0.0])), [0.5, 0.0, np.nan])
