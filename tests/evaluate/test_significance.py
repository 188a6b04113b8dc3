import numpy as np
import pytest

from midas_ray.evaluate.significance import (
    Estimates,
    block_length,
    interval,
    least_moments,
    resampled_sums,
    sum_by_moment,
    widening,
)


def test_scores_of_one_moment_are_one_observation() -> None:
    columns = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0], [4.0, 40.0]])
    sums = sum_by_moment(np.array([5, 5, 7, 9]), columns)
    np.testing.assert_array_equal(sums, [[3.0, 30.0], [3.0, 30.0], [4.0, 40.0]])


@pytest.mark.parametrize(("moments", "length"), [(50, 7), (50, 50), (49, 7), (10, 3)])
def test_every_resample_has_as_many_moments_as_the_data(moments: int, length: int) -> None:
    columns = np.stack([np.ones(moments), np.arange(moments)], axis=1)
    totals = resampled_sums(columns, length, resamples=200)
    np.testing.assert_allclose(totals[:, 0], moments)
    spread = totals[:, 1].std() / moments
    assert abs(totals[:, 1].mean() / moments - columns[:, 1].mean()) < 4 * spread / np.sqrt(200) + 1e-9


def test_blocks_keep_neighbours_together() -> None:
    alternating = np.tile([1.0, -1.0], 50)[:, None]
    assert np.abs(resampled_sums(alternating, 10, resamples=100)).max() < 1e-9
    assert np.abs(resampled_sums(alternating, 1, resamples=100)).max() > 5


def test_the_same_seed_gives_the_same_interval() -> None:
    columns = np.random.default_rng(0).standard_normal((80, 3))
    np.testing.assert_array_equal(resampled_sums(columns, 8, 50), resampled_sums(columns, 8, 50))


def test_widening_against_tables_of_student() -> None:
    # t(0.975; 9) = 2.262, t(0.975; 4) = 2.776, z = 1.960
    assert widening(10) == pytest.approx(2.262 / 1.96 * np.sqrt(10 / 9), rel=1e-3)
    assert widening(5) == pytest.approx(2.776 / 1.96 * np.sqrt(5 / 4), rel=5e-3)
    assert widening(1e6) == pytest.approx(1, abs=1e-5)


def test_least_moments_always_fill_five_blocks() -> None:
    for horizon in (1, 3, 10):
        least = least_moments(horizon)
        assert all(moments / block_length(moments, horizon) >= 5 for moments in range(least, least + 300))


def test_intervals_hold_about_as_often_as_they_say_on_overlapping_returns() -> None:
    horizon, moments, held, runs = 10, 200, 0, 150
    length = block_length(moments, horizon)
    for seed in range(runs):
        steps = np.random.default_rng(seed).standard_normal(moments + horizon)
        overlapping = np.convolve(steps, np.ones(horizon), "valid")[:moments, None]
        mean = overlapping.mean(axis=0)
        lower, upper = interval(mean, resampled_sums(overlapping, length, 300, seed) / moments, moments / length)
        held += bool(lower[0] <= 0 <= upper[0])
    assert 0.88 <= held / runs <= 0.99  # found 0.93; without the widening 0.86, drawing single moments 0.43


def test_what_excludes_zero() -> None:
    above = Estimates(np.array(2.0), np.array(1.0), np.array(3.0))
    across = Estimates(np.array(2.0), np.array(-1.0), np.array(5.0))
    undefined = Estimates(np.array(np.nan), np.array(np.nan), np.array(np.nan))
    assert above.excludes_zero_above()
    assert not above.excludes_zero_below()
    assert not across.excludes_zero_above()
    assert not undefined.excludes_zero_above()
    assert not undefined.excludes_zero_below()
