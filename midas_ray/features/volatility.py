"""Returns and volatility. P is the reference price (midprice, or close without a book), logs are natural, unit 1.

Differences need both ends: a gap at either is a gap, an end before the data began is warm-up. Estimators use the
covered buckets of their window and need min_obs of them (warm-up); they are a gap where P at t is.
"""

import math

import numpy as np

from midas_ray.features import kernels
from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, change, column, estimate
from midas_ray.features.statistics import BoolArray, FloatArray

_GARMAN_KLASS = 2.0 * math.log(2.0) - 1.0


def returns(b: Buckets) -> Column:
    """The bucket's log return, ln(P_t / P_(t-D))."""
    return change(b.price, 1, b.began, log=True)


def returns_5(b: Buckets) -> Column:
    """ln(P_t / P_(t-5D)); a gap of P in between is a gap too."""
    return change(b.price, 5, b.began, log=True)


def _std(b: Buckets, observations: Column, buckets: int, min_obs: int) -> Column:
    values, used = kernels.window_std(observations.values, observations.known, buckets)
    return estimate(values, used, observations, buckets, min_obs, gap=b.price.gap)


def volatility_20(b: Buckets) -> Column:
    """Sample standard deviation (n - 1) of returns over 20 buckets, >= 0; min_obs 10."""
    return _std(b, returns(b), 20, 10)


def volatility_100(b: Buckets) -> Column:
    """Sample standard deviation (n - 1) of returns over 100 buckets, >= 0; min_obs 30."""
    return _std(b, returns(b), 100, 30)


def vol_of_vol(b: Buckets) -> Column:
    """Sample standard deviation (n - 1) of volatility_20 over 50 buckets, >= 0; min_obs 20."""
    return _std(b, volatility_20(b), 50, 20)


def _seconds(b: Buckets, values: FloatArray) -> Column:
    """A statistic of the mids at t - D, ..., t, 1 s apart: a gap where one is unknown, undefined on an empty side."""
    status = b.book.second_status
    first_missing: BoolArray = (status & kernels.SECOND_FIRST_MISSING) != 0
    inner_missing: BoolArray = (status & kernels.SECOND_INNER_MISSING) != 0
    begins = b.began & ~np.concatenate([[False], b.began[:-1]])
    return column(
        values,
        gap=inner_missing | (first_missing & ~begins),
        warm_up=first_missing & begins,
        undefined=(status & kernels.SECOND_UNDEFINED) != 0,
    )


def realized_volatility(b: Buckets) -> Column:
    """sqrt(sum of r_i^2) over the 1 s log returns of M in the bucket, >= 0: 61 mids, 60 returns at one minute.

    Gap where a mid is not known; undefined where a side of the live book was empty.
    """
    return _seconds(b, np.sqrt(b.book.second_variance))


def bipower_variation(b: Buckets) -> Column:
    """(pi/2) sum of |r_i| |r_(i-1)| over the same returns, >= 0, a variance (Barndorff-Nielsen and Shephard 2004).

    As realized_volatility; also undefined with fewer than two returns.
    """
    result = _seconds(b, b.book.second_bipower)
    one_return = np.full(len(b.ts_us), b.bucket_us < 2_000_000)
    return column(result.values, gap=result.gap, warm_up=result.warming_up, undefined=~result.known | one_return)


def _log_ratio(upper: Column, lower: Column) -> tuple[FloatArray, BoolArray, BoolArray]:
    """(ln of the ratio, gap, undefined); prices of 0 have no ratio."""
    both: BoolArray = (upper.values > 0) & (lower.values > 0)
    ratio = np.full(len(both), np.nan)
    ratio[both] = np.log(upper.values[both] / lower.values[both])
    return ratio, upper.gap | lower.gap, ~both


def parkinson_volatility(b: Buckets) -> Column:
    """sqrt(ln(high/low)^2 / (4 ln 2)), >= 0 (Parkinson 1980); gap and undefined as the bar."""
    span, gap, undefined = _log_ratio(b.bars.high, b.bars.low)
    return column(np.sqrt(span * span / (4.0 * math.log(2.0))), gap=gap, undefined=undefined)


def garman_klass_volatility(b: Buckets) -> Column:
    """sqrt(max(0, ln(high/low)^2/2 - (2 ln 2 - 1) ln(close/open)^2)), >= 0 (Garman and Klass 1980); as the bar."""
    span, gap, undefined = _log_ratio(b.bars.high, b.bars.low)
    move, move_gap, move_undefined = _log_ratio(b.bars.close, b.bars.open)
    variance = np.maximum(0.0, span * span / 2.0 - _GARMAN_KLASS * move * move)
    return column(np.sqrt(variance), gap=gap | move_gap, undefined=undefined | move_undefined)
