"""Top of book, by hand."""

import pytest

from tests.features.by_hand import Row, buckets, values

NARROW = Row([(99.0, 3.0)], [(101.0, 1.0)])
WIDE = Row([(98.0, 3.0)], [(102.0, 1.0)])
ONE_SIDED = Row([(99.0, 3.0)], [])
LOST = Row([], [], [None] * 10, live=False)
FIRST = {second: NARROW for second in range(1, 10)} | {10: WIDE}


def test_end_values_are_those_of_the_row_at_t() -> None:
    b = buckets(FIRST)
    assert values(b, "midprice", 1) == [100.0]
    assert values(b, "spread", 1) == [4.0]
    assert values(b, "spread_bps", 1) == [400.0]
    # (q^b P^a + q^a P^b)/(q^b + q^a) = (3 x 102 + 98)/4 = 101
    assert values(b, "microprice", 1) == [101.0]
    assert values(b, "microprice_offset_bps", 1) == [pytest.approx(100.0, abs=1e-12)]


def test_the_mean_is_over_live_rows() -> None:
    assert values(buckets(FIRST), "spread_bps_mean", 1) == [pytest.approx((9 * 200 + 400) / 10)]
    half = {second: NARROW if second < 6 else LOST for second in range(1, 11)}
    b = buckets(half)
    assert values(b, "spread_bps_mean", 1) == [200.0]
    assert b.coverage[0] == 0.5


def test_missing_rows_count_as_not_live() -> None:
    b = buckets({second: NARROW for second in range(1, 8)})
    assert b.coverage[:2].tolist() == [0.7, 0.0]
    assert b.exists[:2].tolist() == [True, True]  # prints were collected: the default of these inputs
    assert values(b, "midprice", 1) == ["gap"]


def test_end_is_a_gap_unless_the_row_at_t_is_live_and_undefined_on_one_side() -> None:
    names = ("midprice", "microprice", "microprice_offset_bps", "spread", "spread_bps")
    for last, kind in ((LOST, "gap"), (ONE_SIDED, "undefined")):
        b = buckets({second: NARROW for second in range(1, 10)} | {10: last})
        assert [values(b, name, 1) for name in names] == [[kind]] * 5


def test_a_mean_is_undefined_when_over_5_percent_fall_short() -> None:
    one = {second: NARROW for second in range(1, 11)}
    assert values(buckets(one | {4: ONE_SIDED}), "spread_bps_mean", 1) == ["undefined"]
    assert values(buckets({4: LOST}), "spread_bps_mean", 1) == ["gap"]
