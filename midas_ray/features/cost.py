"""The cost pass: what taking COST_NOTIONAL from the book costs against the mid, per bucket.

A pass of its own, since the default notional of a day comes from the statistics of the day before: a tenth of the mean
notional that the ten levels of one side (the mean of both sides) held in the live rows of its covered buckets.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from midas_ray.features import kernels
from midas_ray.features.daily import daily_sample
from midas_ray.features.hour_rows import Hour, row_buckets
from midas_ray.features.statistics import BookStatistics, BoolArray, FloatArray, IntArray, PerBucket, limbs_to_ints

SHARE_OF_TEN_LEVELS = 0.1


@dataclass(frozen=True, slots=True)
class CostStatistics(PerBucket):
    """Column 0: buying (the asks are walked), 1: selling."""

    rows: IntArray = field(metadata={"dtype": np.int64, "shape": (2,), "absent": 0})
    """Live rows whose ten levels held the notional."""
    sum_bps: FloatArray = field(metadata={"dtype": np.float64, "shape": (2,), "absent": 0.0})


@dataclass(frozen=True, slots=True)
class CostNotional:
    """COST_NOTIONAL of a symbol's day."""

    quote: float | None
    """Quote units; None where it never became known."""
    known_from: int
    """Position among the day's buckets of the first one at whose end it is known."""


def ten_level_notional(book: BookStatistics, rows: IntArray) -> float | None:
    """Mean over the live rows of buckets `rows` of what ten levels hold, mean of both sides; None without live rows."""
    units = (book.px_scale[rows] * book.sz_scale[rows]).tolist()
    sums = limbs_to_ints(book.notional[rows])
    live = int(book.live[rows].sum())
    return math.fsum(total / int(unit) for total, unit in zip(sums, units, strict=True)) / (2 * live) if live else None


def covered_by_book(book: BookStatistics) -> BoolArray:
    """(n,) buckets all of whose grid rows are there and live."""
    covered: BoolArray = (book.expected > 0) & (book.live == book.expected)
    return covered


def cost_notional(before: BookStatistics, today: BookStatistics, bucket_us: int) -> CostNotional:
    """The default COST_NOTIONAL of a day, from the buckets of the day before and of the day itself."""
    sample = daily_sample(covered_by_book(before), covered_by_book(today), bucket_us)
    mean = ten_level_notional(before if sample.of_day_before else today, sample.rows)
    if mean is None:
        return CostNotional(None, len(today.live))
    return CostNotional(SHARE_OF_TEN_LEVELS * mean, sample.known_from)


def cost_of_hour(hour: Hour, notional_quote: float) -> CostStatistics:
    """Sums of costs over the live rows of each bucket of the hour."""
    book = hour.book
    if book is None or not len(book.ts_us):
        return CostStatistics.absent(hour.n)
    rows, sum_bps = kernels.cost_pass(row_buckets(hour, book), book.live, book.px, book.sz, notional_quote, hour.n)
    return CostStatistics(rows, sum_bps)
