"""Imbalance of resting sizes, in [-1, 1]: +1 where only bids rest, -1 where only asks do (Gould and Bonart 2016).

B_k, A_k: size summed over the best k levels of a side; q^b_m, q^a_m: size at level m alone. Null rule of the family:
"end" features are a gap where the row at t is missing or not live, undefined with fewer than k (or m) levels on a side;
"mean" ones are a gap without a live row, undefined where over 5 % of the live rows show too few levels.
"""

import numpy as np

from midas_ray.features.book_columns import end_column, mean_column
from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, divide

_DEPTHS = {1: 0, 5: 1, 10: 2}


def _end(b: Buckets, first: int, last: int) -> Column:
    """(bid - ask)/(bid + ask) of the sizes at levels first to last, end."""
    sizes = b.book.end_lots[:, :, first - 1 : last].sum(axis=2)
    return end_column(b.book, divide(sizes[:, 0] - sizes[:, 1], sizes[:, 0] + sizes[:, 1]), levels=last)


def _mean(b: Buckets, levels: int) -> Column:
    depth = _DEPTHS[levels]
    ones = np.ones(len(b.ts_us))
    return mean_column(b.book, b.book.imbalance_sum[:, depth], b.book.imbalance_rows[:, depth], ones)


def imbalance_1(b: Buckets) -> Column:
    """(B_1 - A_1)/(B_1 + A_1), end."""
    return _end(b, 1, 1)


def imbalance_5(b: Buckets) -> Column:
    """(B_5 - A_5)/(B_5 + A_5), end."""
    return _end(b, 1, 5)


def imbalance_10(b: Buckets) -> Column:
    """(B_10 - A_10)/(B_10 + A_10), end."""
    return _end(b, 1, 10)


def imbalance_1_mean(b: Buckets) -> Column:
    """(B_1 - A_1)/(B_1 + A_1), mean."""
    return _mean(b, 1)


def imbalance_5_mean(b: Buckets) -> Column:
    """(B_5 - A_5)/(B_5 + A_5), mean."""
    return _mean(b, 5)


def imbalance_10_mean(b: Buckets) -> Column:
    """(B_10 - A_10)/(B_10 + A_10), mean."""
    return _mean(b, 10)


def queue_imb_2(b: Buckets) -> Column:
    """(q^b_2 - q^a_2)/(q^b_2 + q^a_2), end."""
    return _end(b, 2, 2)


def queue_imb_3(b: Buckets) -> Column:
    """(q^b_3 - q^a_3)/(q^b_3 + q^a_3), end."""
    return _end(b, 3, 3)


def queue_imb_4(b: Buckets) -> Column:
    """(q^b_4 - q^a_4)/(q^b_4 + q^a_4), end."""
    return _end(b, 4, 4)


def queue_imb_5(b: Buckets) -> Column:
    """(q^b_5 - q^a_5)/(q^b_5 + q^a_5), end."""
    return _end(b, 5, 5)
