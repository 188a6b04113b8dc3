"""Liquidity, by hand."""

import pytest

from tests.features.by_hand import Row, buckets, ladder, ten_levels, values

SIZES = [float(size) for size in range(1, 11)]
DEEP = Row(ladder(99.0, SIZES, -0.1), ladder(101.0, [2.0] * 10, 0.1))


def test_sums_over_levels_are_averaged_over_rows() -> None:
    rows = {second: DEEP if second <= 5 else ten_levels() for second in range(1, 11)}
    b = buckets(rows)
    for levels, bid, ask in ((1, 1.0, 2.0), (5, 15.0, 10.0), (10, 55.0, 20.0)):
        bid_mean, ask_mean = (bid + levels) / 2, (ask + levels) / 2
        assert values(b, f"liquidity_bid_{levels}", 1) == [bid_mean]
        assert values(b, f"liquidity_ask_{levels}", 1) == [ask_mean]
        assert values(b, f"liquidity_{levels}", 1) == [bid_mean + ask_mean]


def test_too_few_levels_are_undefined_on_their_side_only() -> None:
    shallow = Row(ladder(99.0, [1.0] * 4, -0.1), ladder(101.0, [1.0] * 10, 0.1))
    b = buckets({second: shallow for second in range(1, 11)})
    assert values(b, "liquidity_bid_1", 1) == [1.0]
    assert values(b, "liquidity_bid_5", 1) == ["undefined"]
    assert values(b, "liquidity_ask_5", 1) == [5.0]
    assert values(b, "liquidity_5", 1) == ["undefined"]


@pytest.mark.parametrize("side", ["bid_", "ask_", ""])
def test_no_live_row_is_a_gap(side: str) -> None:
    b = buckets({second: Row([], [], live=False) for second in range(1, 11)})
    assert values(b, f"liquidity_{side}10", 1) == ["gap"]
