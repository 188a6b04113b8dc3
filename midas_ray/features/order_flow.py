"""Order flow imbalance: e_n of each depth event, summed by the reconstruction per grid interval and level.

e_n = q^b_n 1{P^b_n >= P^b_(n-1)} - q^b_(n-1) 1{P^b_n <= P^b_(n-1)}
    - q^a_n 1{P^a_n <= P^a_(n-1)} + q^a_(n-1) 1{P^a_n >= P^a_(n-1)}

Null rule of the family: a sum needs every grid row of the bucket, live and with a known flow (that of the first live
row after a gap is not): else gap; undefined where only an empty side of the book kept a flow from being known.
"""

import numpy as np

from midas_ray.features import kernels
from midas_ray.features.book_columns import mean_column
from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, column, divide, window_total
from midas_ray.features.daily import DAY_US
from midas_ray.features.statistics import BoolArray, IntArray

_OFI_WINDOW = 10
_LEVELS = 10


def _flow_gap(b: Buckets) -> BoolArray:
    accounted = b.book.ofi_rows[:, 0] + b.book.ofi_empty_rows
    gap: BoolArray = (b.book.expected == 0) | (accounted < b.book.expected)
    return gap


def _common_lots(b: Buckets) -> tuple[IntArray, float]:
    """Best-level flow as integers at one scale for all buckets."""
    scale = float(b.book.sz_scale.max())
    return b.book.ofi_lots[:, 0] * np.rint(scale / b.book.sz_scale).astype(np.int64), scale


def ofi(b: Buckets) -> Column:
    """Sum of e_n over the bucket's depth events at the best level, base units (Cont, Kukanov and Stoikov 2014)."""
    empty = b.book.ofi_empty_rows > 0
    return column(b.book.ofi_lots[:, 0] / b.book.sz_scale, gap=_flow_gap(b), undefined=empty)


def ofi_10(b: Buckets) -> Column:
    """Sum of ofi over the last 10 buckets, base units; needs all of them: warm-up where the data began since."""
    lots, scale = _common_lots(b)
    return window_total(kernels.window_sum(lots, _OFI_WINDOW) / scale, ofi(b), _OFI_WINDOW, b.began)


def ofi_cumulative(b: Buckets) -> Column:
    """Sum of ofi since the latest of 00:00 UTC, the end of the last gap, the start of the data, base units.

    The bucket that ends at 00:00 closes the old day. A bucket whose ofi is null is so too, and the next starts at 0.
    """
    flow = ofi(b)
    lots, scale = _common_lots(b)
    starts = ~flow.known | ((b.ts_us - b.bucket_us) % DAY_US == 0)
    undefined = ~(flow.known | flow.gap)
    return column(kernels.sum_since(lots, starts, ~flow.known) / scale, gap=flow.gap, undefined=undefined)


def ofi_normalized(b: Buckets) -> Column:
    """ofi / mean over the live rows of (q^b_1 + q^a_1)/2, unit 1; undefined where over 5 % have an empty side."""
    flow = ofi(b)
    book = b.book
    bid = mean_column(book, book.side_lots[:, 0, 0], book.side_rows[:, 0, 0], book.sz_scale)
    ask = mean_column(book, book.side_lots[:, 1, 0], book.side_rows[:, 1, 0], book.sz_scale)
    depth = (bid.values + ask.values) / 2.0
    return column(divide(flow.values, depth), gap=flow.gap, undefined=~(flow.known & (depth > 0)))


def ofi_multilevel(b: Buckets) -> Column:
    """Mean over m = 1 ... 10 of OFI^m / Q, unit 1 (Xu, Gould and Howison 2018; scaled as Cont, Cucuringu and Zhang
    2023).

    OFI^m: the same sum at level m; Q = mean over ten levels and the live rows of (q^b_m + q^a_m)/2. Undefined where
    over 5 % of the rows show fewer than ten levels of a side, or a level's flow is not known in all of them.
    """
    book = b.book
    bid = mean_column(book, book.side_lots[:, 0, 2], book.side_rows[:, 0, 2], book.sz_scale)
    ask = mean_column(book, book.side_lots[:, 1, 2], book.side_rows[:, 1, 2], book.sz_scale)
    depth = (bid.values + ask.values) / (2.0 * _LEVELS)
    mean_flow = book.ofi_lots.sum(axis=1) / (_LEVELS * book.sz_scale)
    undefined = ~(depth > 0) | (book.ofi_rows < book.expected[:, None]).any(axis=1)
    return column(divide(mean_flow, depth), gap=_flow_gap(b), undefined=undefined)
