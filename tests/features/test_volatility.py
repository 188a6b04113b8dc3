"""Returns and volatility, by hand."""

import math

import numpy as np
import pytest

from midas_ray.features.hour_rows import TopRow
from tests.features.by_hand import Row, buckets, prints, seconds, ten_levels, values

RNG = np.random.default_rng(3)
CLOSES = (100 + np.cumsum(RNG.normal(0, 0.5, 150))).round(1).tolist()
LOST = Row([], [], [None] * 10, live=False)


def closing(prices: list[float]) -> object:
    return prints(*[(10 * at + 5, px, 1.0, "buy") for at, px in enumerate(prices)])


def log_returns(prices: list[float]) -> list[float]:
    return np.diff(np.log(prices)).tolist()


def test_returns_need_both_ends() -> None:
    b = buckets(trades=closing(CLOSES))
    assert values(b, "returns", 3) == ["warm-up", *[pytest.approx(r) for r in log_returns(CLOSES[:3])]]
    assert values(b, "returns_5", 6) == ["warm-up"] * 5 + [pytest.approx(math.log(CLOSES[5] / CLOSES[0]))]


def test_a_lost_price_is_a_gap_in_every_difference_that_spans_it() -> None:
    b = buckets(trades=closing(CLOSES), uncovered=seconds((102, 103)))
    found = values(b, "returns", 13)
    assert found[9:12] == [pytest.approx(math.log(CLOSES[9] / CLOSES[8])), "gap", "gap"]
    assert found[12] == pytest.approx(math.log(CLOSES[12] / CLOSES[11]))
    five = values(b, "returns_5", 17)
    assert five[10:16] == ["gap"] * 6
    assert five[16] == pytest.approx(math.log(CLOSES[16] / CLOSES[11]))


@pytest.mark.parametrize(("name", "window", "min_obs"), [("volatility_20", 20, 10), ("volatility_100", 100, 30)])
def test_volatility_is_the_sample_deviation(name: str, window: int, min_obs: int) -> None:
    found = values(buckets(trades=closing(CLOSES)), name, 150)
    assert found[:min_obs] == ["warm-up"] * min_obs
    moves = log_returns(CLOSES)
    for at in (min_obs, window - 1, window + 7, 149):
        assert found[at] == pytest.approx(np.std(moves[max(0, at - window) : at], ddof=1), rel=1e-12)


def test_an_estimator_uses_what_is_left_after_a_gap_but_is_a_gap_inside_it() -> None:
    b = buckets(trades=closing(CLOSES), uncovered=seconds((302, 303)))
    found = values(b, "volatility_20", 41)
    assert found[30] == "gap"
    moves = [None, *log_returns(CLOSES)]
    moves[30] = moves[31] = None
    expected = np.std([move for move in moves[16:36] if move is not None], ddof=1)
    assert found[35] == pytest.approx(expected, rel=1e-12)


def test_vol_of_vol_is_the_deviation_of_volatility_20() -> None:
    b = buckets(trades=closing(CLOSES))
    vols, found = values(b, "volatility_20", 150), values(b, "vol_of_vol", 150)
    assert found[:29] == ["warm-up"] * 29
    assert found[29] == pytest.approx(np.std(vols[10:30], ddof=1), rel=1e-12)
    assert found[149] == pytest.approx(np.std(vols[100:150], ddof=1), rel=1e-12)


def mids(levels: list[float], first: int = 1) -> dict[int, Row]:
    """Rows whose mid is the level; ticks of 0.1, spread of 0.2."""
    return {first + at: ten_levels(round(mid - 0.1, 1), round(mid + 0.1, 1)) for at, mid in enumerate(levels)}


SECOND_MIDS = [100.0, 100.2, 100.1, 100.1, 100.4, 100.0, 99.8, 100.0, 100.1, 100.3, 100.2]
BEFORE = TopRow(True, 99.9, 100.1, 10.0)


def test_realized_volatility_and_bipower_variation() -> None:
    b = buckets(mids(SECOND_MIDS[1:]), before=BEFORE)
    moves = np.diff(np.log(SECOND_MIDS))
    assert values(b, "realized_volatility", 1) == [pytest.approx(math.sqrt((moves**2).sum()), rel=1e-12)]
    bipower = math.pi / 2 * (np.abs(moves[1:]) * np.abs(moves[:-1])).sum()
    assert values(b, "bipower_variation", 1) == [pytest.approx(bipower, rel=1e-12)]


def test_realized_volatility_needs_every_second_and_the_one_before() -> None:
    rows = mids(SECOND_MIDS[1:])
    names = ("realized_volatility", "bipower_variation")
    assert [values(buckets(rows), name, 1) for name in names] == [["warm-up"]] * 2
    lost = buckets(rows | {4: LOST}, before=BEFORE)
    assert [values(lost, name, 1) for name in names] == [["gap"]] * 2
    one_sided = buckets(rows | {4: Row([(99.9, 1.0)], [])}, before=BEFORE)
    assert [values(one_sided, name, 1) for name in names] == [["undefined"]] * 2


def test_the_second_bucket_starts_from_the_last_mid_of_the_first() -> None:
    rows = mids(SECOND_MIDS[1:]) | mids([101.0] * 10, first=11)
    expected = abs(math.log(101.0 / 100.2))
    assert values(buckets(rows), "realized_volatility", 2)[1] == pytest.approx(expected, rel=1e-12)


def test_range_volatilities() -> None:
    trades = prints((1, 100.0, 1.0, "buy"), (2, 104.0, 1.0, "buy"), (3, 98.0, 1.0, "buy"), (4, 101.0, 1.0, "buy"))
    b = buckets(trades=trades)
    span, move = math.log(104 / 98), math.log(101 / 100)
    assert values(b, "parkinson_volatility", 2) == [pytest.approx(math.sqrt(span**2 / (4 * math.log(2)))), 0.0]
    expected = math.sqrt(span**2 / 2 - (2 * math.log(2) - 1) * move**2)
    assert values(b, "garman_klass_volatility", 2) == [pytest.approx(expected), 0.0]


def test_range_volatilities_follow_the_bar() -> None:
    b = buckets(trades=prints((15, 100.0, 1.0, "buy")), uncovered=seconds((25, 26)))
    for name in ("parkinson_volatility", "garman_klass_volatility"):
        assert values(b, name, 3) == ["undefined", 0.0, "gap"]
