"""Book shape: how size grows away from the best price, and what a trade of COST_NOTIONAL would pay.

q_m, p_m: size and price at level m of a side. Null rule of the "end" features: gap where the row at t is missing or not
live, undefined with too few levels.
"""

import numpy as np

from midas_ray.features.book_columns import end_column, mean_column
from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, divide
from midas_ray.features.statistics import FloatArray

_LEVELS = 10
_SIDE_BID, _SIDE_ASK = 0, 1
_BUY, _SELL = 0, 1


def _ladder_slope(b: Buckets, side: int) -> Column:
    book = b.book
    px = book.end_px[:, side].astype(np.float64)
    mid = book.end_px[:, :, 0].sum(axis=1) / 2.0
    v = np.log1p(np.cumsum(book.end_lots[:, side], axis=1).astype(np.float64))
    # One term after the other: the order of a sum is part of its value.
    total: FloatArray = divide(v[:, 0], np.abs(divide(px[:, 0], mid) - 1.0))
    for k in range(_LEVELS - 1):
        growth = divide(v[:, k + 1], v[:, k]) - 1.0
        total = total + divide(growth, np.abs(divide(px[:, k + 1], px[:, k]) - 1.0))
    total[(book.end_levels[:, 0] == 0) | (book.end_levels[:, 1] == 0)] = np.nan  # no mid, no p_0
    return end_column(book, total / _LEVELS, levels=_LEVELS, side=side)


def bid_ladder_slope(b: Buckets) -> Column:
    """Slope of the bid ladder, end, unit 1 (Naes and Skjeltorp 2006).

    (1/N) [ v_1/|p_1/p_0 - 1| + sum_{k=1}^{N-1} (v_{k+1}/v_k - 1)/|p_{k+1}/p_k - 1| ], N = 10 levels, v_k = ln(1 + size
    of the best k levels in lots), p_0 = M. Undefined with fewer than ten levels, without a mid, or where p_1 = M.
    """
    return _ladder_slope(b, _SIDE_BID)


def ask_ladder_slope(b: Buckets) -> Column:
    """Slope of the ask ladder, end: as bid_ladder_slope."""
    return _ladder_slope(b, _SIDE_ASK)


def _slope_ratio(b: Buckets, side: int) -> Column:
    lots = b.book.end_lots[:, side]
    ratio = divide(4 * lots[:, 0], lots[:, 1:5].sum(axis=1))
    positive = ratio > 0
    values = np.log(ratio, out=np.full(len(ratio), np.nan), where=positive)
    return end_column(b.book, values, levels=5, side=side)


def bid_slope_ratio(b: Buckets) -> Column:
    """ln(q_1 / mean of q_2 ... q_5) of the bids, end, unit 1; undefined with fewer than five levels."""
    return _slope_ratio(b, _SIDE_BID)


def ask_slope_ratio(b: Buckets) -> Column:
    """ln(q_1 / mean of q_2 ... q_5) of the asks, end, unit 1; undefined with fewer than five levels."""
    return _slope_ratio(b, _SIDE_ASK)


def _cost(b: Buckets, direction: int) -> Column:
    ones = np.ones(len(b.ts_us))
    return mean_column(b.book, b.cost.sum_bps[:, direction], b.cost.rows[:, direction], ones, warm_up=~b.cost_known)


def cost_to_buy_bps(b: Buckets) -> Column:
    """Average price paid for COST_NOTIONAL walking ten levels of asks, against M, mean, bps, >= 0 if not crossed.

    COST_NOTIONAL: see `cost`; warm-up until it is known. Gap without a live row; undefined where over 5 % of the live
    rows fall short of it.
    """
    return _cost(b, _BUY)


def cost_to_sell_bps(b: Buckets) -> Column:
    """M against the average price received for COST_NOTIONAL walking ten levels of bids, mean, bps; as buying."""
    return _cost(b, _SELL)
