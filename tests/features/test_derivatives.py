"""Funding, basis and liquidations, by hand."""

import pytest

from tests.features.by_hand import buckets, forced, marks, values

EVERY_SECOND = marks(*[(second, 101.0 + second, 100.0, 1e-4 * second) for second in range(31)])


def test_the_last_mark_before_t_counts() -> None:
    b = buckets(mark=EVERY_SECOND)
    assert values(b, "funding_rate", 3) == [pytest.approx(1e-4 * second) for second in (9, 19, 29)]
    assert values(b, "basis_bps", 2) == [pytest.approx(1000.0), pytest.approx(2000.0)]


def test_older_than_ten_seconds_is_a_gap() -> None:
    b = buckets(mark=EVERY_SECOND)
    assert values(b, "funding_rate", 5)[3:] == [pytest.approx(3e-3), "gap"]  # 10 s old, then 20 s
    assert values(b, "basis_bps", 5)[4] == "gap"
    assert values(buckets(), "funding_rate", 1) == ["gap"]


def test_a_mark_without_funding_is_a_gap_of_funding_alone() -> None:
    b = buckets(mark=marks((5, 101.0, 100.0, float("nan"))))
    assert values(b, "funding_rate", 1) == ["gap"]
    assert values(b, "basis_bps", 1) == [pytest.approx(100.0)]


def test_liquidations_by_the_side_of_the_order() -> None:
    orders = forced((10, "sell", 1.5), (19.9, "sell", 0.1), (12, "buy", 2.0), (20, "buy", 9.0))
    order = orders.ts_us.argsort()
    orders = type(orders)(orders.ts_us[order], orders.buy[order], orders.qty[order])
    b = buckets(mark=EVERY_SECOND, liquidations=orders)
    assert values(b, "liquidation_buy_volume", 3) == ["gap", 2.0, 9.0]  # no mark before second 0
    assert values(b, "liquidation_sell_volume", 3) == ["gap", 1.6, 0.0]


def test_zero_only_while_the_connection_delivered() -> None:
    b = buckets(mark=marks(*[(second, 1.0, 1.0, 0.0) for second in (0, 8, 15, 21, 25, 36)]), liquidations=forced())
    assert values(b, "liquidation_buy_volume", 6) == ["gap", 0.0, 0.0, "gap", "gap", "gap"]
    assert values(buckets(mark=EVERY_SECOND), "liquidation_buy_volume", 2) == ["gap", "gap"]  # the stream is off
