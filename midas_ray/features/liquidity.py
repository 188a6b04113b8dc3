"""Liquidity: size resting within k levels of a side, mean over the bucket's live grid rows, base units, >= 0.

Null rule of the family: gap where the bucket has no live row; undefined where over 5 % of its live rows show fewer than
k levels of the side.
"""

from midas_ray.features.book_columns import mean_column
from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, column

_DEPTHS = {1: 0, 5: 1, 10: 2}


def _side(b: Buckets, side: int, levels: int) -> Column:
    depth = _DEPTHS[levels]
    return mean_column(b.book, b.book.side_lots[:, side, depth], b.book.side_rows[:, side, depth], b.book.sz_scale)


def _both(b: Buckets, levels: int) -> Column:
    bid, ask = _side(b, 0, levels), _side(b, 1, levels)
    return column(bid.values + ask.values, gap=bid.gap, undefined=~(bid.known & ask.known))


def liquidity_bid_1(b: Buckets) -> Column:
    """Size at the best bid, mean."""
    return _side(b, 0, 1)


def liquidity_bid_5(b: Buckets) -> Column:
    """Sum of the bid sizes of levels 1 to 5, mean."""
    return _side(b, 0, 5)


def liquidity_bid_10(b: Buckets) -> Column:
    """Sum of the bid sizes of levels 1 to 10, mean."""
    return _side(b, 0, 10)


def liquidity_ask_1(b: Buckets) -> Column:
    """Size at the best ask, mean."""
    return _side(b, 1, 1)


def liquidity_ask_5(b: Buckets) -> Column:
    """Sum of the ask sizes of levels 1 to 5, mean."""
    return _side(b, 1, 5)


def liquidity_ask_10(b: Buckets) -> Column:
    """Sum of the ask sizes of levels 1 to 10, mean."""
    return _side(b, 1, 10)


def liquidity_1(b: Buckets) -> Column:
    """liquidity_bid_1 + liquidity_ask_1; undefined where either is."""
    return _both(b, 1)


def liquidity_5(b: Buckets) -> Column:
    """liquidity_bid_5 + liquidity_ask_5; undefined where either is."""
    return _both(b, 5)


def liquidity_10(b: Buckets) -> Column:
    """liquidity_bid_10 + liquidity_ask_10; undefined where either is."""
    return _both(b, 10)
