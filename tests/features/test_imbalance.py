"""Imbalance, by hand."""

import pytest

from tests.features.by_hand import Row, buckets, ladder, ten_levels, values

SIZES = [float(size) for size in range(1, 11)]
LEAN = Row(ladder(99.0, SIZES, -0.1), ladder(101.0, [2.0] * 10, 0.1))
ROWS = {second: ten_levels() for second in range(1, 10)} | {10: LEAN}


def test_end_and_mean() -> None:
    b = buckets(ROWS)
    for levels, expected in ((1, -1 / 3), (5, 5 / 25), (10, 35 / 75)):
        assert values(b, f"imbalance_{levels}", 1) == [expected]
        assert values(b, f"imbalance_{levels}_mean", 1) == [pytest.approx(expected / 10)]


def test_queues_are_single_levels() -> None:
    b = buckets(ROWS)
    assert [values(b, f"queue_imb_{m}", 1)[0] for m in (2, 3, 4, 5)] == [0.0, 1 / 5, 2 / 6, 3 / 7]


def test_too_few_levels_are_undefined() -> None:
    shallow = Row(ladder(99.0, [1.0] * 4, -0.1), ladder(101.0, [1.0] * 10, 0.1))
    b = buckets({second: shallow for second in range(1, 11)})
    assert values(b, "imbalance_1", 1) == [0.0]
    assert values(b, "queue_imb_4", 1) == [0.0]
    for name in ("imbalance_5", "imbalance_10", "imbalance_5_mean", "imbalance_10_mean", "queue_imb_5"):
        assert values(b, name, 1) == ["undefined"]


def test_gaps() -> None:
    b = buckets(ROWS | {10: Row([], [], live=False)})
    assert values(b, "imbalance_1", 1) == ["gap"]
    assert values(b, "imbalance_1_mean", 1) == [0.0]
