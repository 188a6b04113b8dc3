"""Bars of prints, by hand."""

import pytest

from tests.features.by_hand import buckets, prints, seconds, values

TRADES = prints(
    (1, 100.0, 1.0, "buy"), (2, 102.0, 2.0, "sell"), (3, 99.0, 1.0, "buy"), (9.999999, 101.0, 4.0, "sell"),
    (10, 103.0, 0.5, "buy"),
)  # fmt: skip


def test_open_high_low_close_are_first_highest_lowest_last() -> None:
    b = buckets(trades=TRADES)
    assert [values(b, name, 2) for name in ("open", "high", "low", "close")] == [
        [100.0, 103.0], [102.0, 103.0], [99.0, 103.0], [101.0, 103.0]
    ]  # fmt: skip


def test_a_print_at_the_end_belongs_to_the_next_bucket() -> None:
    assert values(buckets(trades=TRADES), "number_of_trades", 3) == [4.0, 1.0, 0.0]


def test_volumes() -> None:
    b = buckets(trades=TRADES)
    assert values(b, "volume", 3) == [8.0, 0.5, 0.0]
    assert values(b, "quote_volume", 3) == [100 + 204 + 99 + 404, 51.5, 0.0]
    assert values(b, "vwap", 3) == [807 / 8, 103.0, "undefined"]


def test_a_quiet_bucket_repeats_the_previous_close() -> None:
    b = buckets(trades=TRADES)
    for name in ("open", "high", "low", "close"):
        assert values(b, name, 4)[2:] == [103.0, 103.0]


def test_before_the_first_print_prices_are_undefined_and_volumes_zero() -> None:
    b = buckets(trades=prints((25, 100.0, 1.0, "buy")))
    assert values(b, "close", 3) == ["undefined", "undefined", 100.0]
    assert values(b, "volume", 3) == [0.0, 0.0, 1.0]


def test_a_gap_never_becomes_a_number_and_hides_the_previous_close() -> None:
    trades = prints((1, 100.0, 1.0, "buy"), (12, 101.0, 1.0, "buy"), (45, 102.0, 1.0, "buy"))
    b = buckets(trades=trades, uncovered=seconds((13, 14)))
    assert values(b, "close", 5) == [100.0, "gap", "gap", "gap", 102.0]
    assert values(b, "volume", 5) == [1.0, "gap", 0.0, 0.0, 1.0]
    assert b.bars.coverage[1] == pytest.approx(0.9)


def test_a_print_after_the_gap_makes_the_close_known_again() -> None:
    trades = prints((1, 100.0, 1.0, "buy"), (18, 101.0, 1.0, "buy"))
    b = buckets(trades=trades, uncovered=seconds((13, 14)))
    assert values(b, "close", 3) == [100.0, "gap", 101.0]


def test_aggregates_count_the_prints_behind_them() -> None:
    b = buckets(trades=prints((1, 100.0, 1.0, "buy", 3), (2, 100.0, 1.0, "sell", 1)))
    assert values(b, "number_of_trades", 1) == [4.0]
    assert values(b, "mean_trade_size", 1) == [0.5]


def test_quote_volume_is_exact_beyond_53_bits() -> None:
    rows = [(i / 1000, 90071992547.3, 90071992.53, "buy") for i in range(9)]
    exact = 9 * 900719925473 * 9007199253
    assert exact > 2**62
    assert values(buckets(trades=prints(*rows)), "quote_volume", 1) == [exact / 1000]
