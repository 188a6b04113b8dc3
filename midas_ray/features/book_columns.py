"""Columns from the statistics of a book: "end" (of the grid row at t) and "mean" (over the bucket's live grid rows)."""

from dataclasses import dataclass

import numpy as np

from midas_ray.features.column import Column, column, divide
from midas_ray.features.statistics import BookStatistics, BoolArray, FloatArray, IntArray

MAX_SHORT_SHARE = 0.05
"""A mean is undefined where more than this share of the live rows cannot give to it."""


@dataclass(frozen=True, slots=True)
class Best:
    """Best bid and ask at t, each (n,): prices as integers and in quote units, sizes in lots; 0 where unknown."""

    bid_ticks: IntArray
    ask_ticks: IntArray
    bid_px: FloatArray
    ask_px: FloatArray
    bid_lots: IntArray
    ask_lots: IntArray


def best(book: BookStatistics) -> Best:
    bid, ask = book.end_px[:, 0, 0], book.end_px[:, 1, 0]
    return Best(bid, ask, bid / book.px_scale, ask / book.px_scale, book.end_lots[:, 0, 0], book.end_lots[:, 1, 0])


def end_column(book: BookStatistics, values: FloatArray, levels: int, side: int | None = None) -> Column:
    """A value of the row at t that needs `levels` levels of both sides, or of one; NaN where it is 0/0."""
    known = book.end_levels.min(axis=1) if side is None else book.end_levels[:, side]
    return column(values, gap=~book.end_live, undefined=(known < levels) | np.isnan(values))


def mean_column(
    book: BookStatistics,
    total: FloatArray | IntArray,
    rows: IntArray,
    scale: FloatArray,
    warm_up: BoolArray | None = None,
) -> Column:
    """total / (rows x scale): a mean over the `rows` of the live rows that could give to it."""
    undefined: BoolArray = (rows == 0) | (book.live - rows > MAX_SHORT_SHARE * book.live)
    return column(divide(total, rows * scale), gap=book.live == 0, warm_up=warm_up, undefined=undefined)


def mid_of(book: BookStatistics) -> Column:
    """(P^b_1 + P^a_1)/2 of the row at t; undefined where a side is empty."""
    total = book.end_px[:, 0, 0] + book.end_px[:, 1, 0]
    return end_column(book, total / (2.0 * book.px_scale), levels=1)


def book_coverage(book: BookStatistics) -> FloatArray:
    """(n,) live grid rows / rows the bucket should have; 0 where there is no book."""
    return np.divide(book.live, book.expected, out=np.zeros(len(book.live)), where=book.expected > 0)
