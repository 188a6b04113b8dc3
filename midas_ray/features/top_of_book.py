"""Top of book: P^b, q^b, P^a, q^a are price and size of the best bid and ask, M = (P^b + P^a)/2.

"end": of the grid row at t. Null rule of the family: gap where that row is missing or not live, undefined where a side
is empty. "mean": over the bucket's live grid rows; gap where there is none.
"""

import numpy as np

from midas_ray.features.book_columns import best, end_column, mean_column, mid_of
from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, divide


def midprice(b: Buckets) -> Column:
    """M, end, quote units, >= 0."""
    return mid_of(b.book)


def microprice(b: Buckets) -> Column:
    """(q^b P^a + q^a P^b) / (q^b + q^a), end, quote units, >= 0: the size-weighted mid (Stoikov 2018, eq. 2-3)."""
    top = best(b.book)
    weighted = top.bid_lots * top.ask_px + top.ask_lots * top.bid_px
    return end_column(b.book, divide(weighted, top.bid_lots + top.ask_lots), levels=1)


def microprice_offset_bps(b: Buckets) -> Column:
    """(microprice - M)/M in bps, end: 1e4 (q^b - q^a)/(q^b + q^a) x (P^a - P^b)/(P^a + P^b)."""
    top = best(b.book)
    lean = divide(top.bid_lots - top.ask_lots, top.bid_lots + top.ask_lots)
    return end_column(
        b.book, 1e4 * lean * divide(top.ask_ticks - top.bid_ticks, top.ask_ticks + top.bid_ticks), levels=1
    )


def spread(b: Buckets) -> Column:
    """P^a - P^b, end, quote units, >= 0 in a book that is not crossed."""
    top = best(b.book)
    return end_column(b.book, (top.ask_ticks - top.bid_ticks) / b.book.px_scale, levels=1)


def spread_bps(b: Buckets) -> Column:
    """(P^a - P^b)/M in bps, end, >= 0 in a book that is not crossed."""
    top = best(b.book)
    return end_column(b.book, 2e4 * divide(top.ask_ticks - top.bid_ticks, top.ask_ticks + top.bid_ticks), levels=1)


def spread_bps_mean(b: Buckets) -> Column:
    """(P^a - P^b)/M in bps, mean; undefined where over 5 % of the live rows had an empty side."""
    ones = np.ones(len(b.ts_us))
    return mean_column(b.book, b.book.spread_bps_sum, b.book.spread_rows, ones)
