import numpy as np

from midas_ray.forecast.live.drift import OUTCOMES_A_FALSE_ALARM, CoverageWatch


def outcomes_until_alarm(share: float, seed: int, most: int) -> int | None:
    watch, rng = CoverageWatch(), np.random.default_rng(seed)
    for count in range(1, most + 1):
        if watch.add(bool(rng.random() < share)):
            return count
    return None


def test_false_alarms_are_as_rare_as_promised() -> None:
    most = 3000
    alarms = sum(outcomes_until_alarm(0.8, seed, most) is not None for seed in range(60))
    assert alarms <= 60 * most / OUTCOMES_A_FALSE_ALARM  # 18 expected at most; found 1 to 6


def test_real_drift_is_seen_soon() -> None:
    assert all((outcomes_until_alarm(0.6, seed, 2000) or 9999) < 400 for seed in range(10))
    assert all((outcomes_until_alarm(0.97, seed, 2000) or 9999) < 600 for seed in range(10))


def test_the_share_is_counted() -> None:
    watch = CoverageWatch()
    for is_inside in (True, True, False, True):
        watch.add(is_inside)
    assert (watch.outcomes, watch.coverage) == (4, 0.75)
