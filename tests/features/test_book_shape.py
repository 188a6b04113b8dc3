"""Book shape, by hand."""

import math

import pytest

from tests.features.by_hand import Row, buckets, ladder, ten_levels, values

SIZES = [float(size) for size in range(1, 11)]
LEAN = Row(ladder(99.0, SIZES, -0.1), ladder(101.0, SIZES[::-1], 0.1))
ALWAYS = {second: LEAN for second in range(1, 11)}


def slope(prices: list[float], sizes: list[float], mid: float) -> float:
    """Naes and Skjeltorp's slope as it is printed, with sizes in lots of 0.01."""
    v = [math.log(1 + 100 * sum(sizes[: k + 1])) for k in range(10)]
    total = v[0] / abs(prices[0] / mid - 1)
    total += sum((v[k + 1] / v[k] - 1) / abs(prices[k + 1] / prices[k] - 1) for k in range(9))
    return total / 10


def test_ladder_slopes() -> None:
    b = buckets(ALWAYS)
    bid = slope([99.0 - 0.1 * k for k in range(10)], SIZES, 100.0)
    ask = slope([101.0 + 0.1 * k for k in range(10)], SIZES[::-1], 100.0)
    assert values(b, "bid_ladder_slope", 1) == [pytest.approx(bid, rel=1e-12)]
    assert values(b, "ask_ladder_slope", 1) == [pytest.approx(ask, rel=1e-12)]


def test_ladder_slope_needs_ten_levels_of_its_side_and_a_mid() -> None:
    nine = Row(ladder(99.0, SIZES[:9], -0.1), ladder(101.0, SIZES, 0.1))
    b = buckets({second: nine for second in range(1, 11)})
    assert values(b, "bid_ladder_slope", 1) == ["undefined"]
    assert isinstance(values(b, "ask_ladder_slope", 1)[0], float)
    no_bid = Row([], ladder(101.0, SIZES, 0.1))
    assert values(buckets({10: no_bid}), "ask_ladder_slope", 1) == ["undefined"]
    locked = Row(ladder(100.0, SIZES, -0.1), ladder(100.0, SIZES, 0.1))
    assert values(buckets({10: locked}), "ask_ladder_slope", 1) == ["undefined"]


def test_slope_ratios() -> None:
    b = buckets(ALWAYS)
    assert values(b, "bid_slope_ratio", 1) == [pytest.approx(math.log(1 / 3.5))]
    assert values(b, "ask_slope_ratio", 1) == [pytest.approx(math.log(10 / 7.5))]
    four = Row(ladder(99.0, SIZES[:4], -0.1), ladder(101.0, SIZES, 0.1))
    assert values(buckets({10: four}), "bid_slope_ratio", 1) == ["undefined"]


def test_costs_walk_the_levels() -> None:
    # Buying for 303: all of 1.0 at 101, the other 202 quote units of 2.0 at 101.1; selling: within 5.0 at 99.
    row = Row(ladder(99.0, [5.0] * 10, -0.1), ladder(101.0, SIZES, 0.1))
    b = buckets({second: row for second in range(1, 11)}, notional=303.0)
    bought = 1.0 + (303.0 - 101.0) / 101.1
    assert values(b, "cost_to_buy_bps", 1) == [pytest.approx(1e4 * (303.0 / bought / 100.0 - 1.0))]
    assert values(b, "cost_to_sell_bps", 1) == [pytest.approx(100.0)]


def test_costs_are_undefined_when_over_5_percent_of_rows_fall_short() -> None:
    thin = Row(ladder(99.0, [0.01] * 10, -0.1), ladder(101.0, SIZES, 0.1))
    b = buckets(ALWAYS | {5: thin}, notional=1000.0)
    assert values(b, "cost_to_sell_bps", 1) == ["undefined"]
    assert isinstance(values(b, "cost_to_buy_bps", 1)[0], float)


def test_costs_wait_for_their_notional_and_are_a_gap_without_a_book() -> None:
    lost = {second: Row([], [], live=False) for second in range(11, 21)}
    b = buckets({second: ten_levels() for second in range(1, 11)} | lost)
    assert values(b, "cost_to_buy_bps", 2) == ["warm-up", "gap"]
