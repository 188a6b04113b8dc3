"""Derivatives: what only futures have. A stream that the venue lacks, or that was off, is a gap.

Mark price rows and forced orders come over one connection, a mark row each second: without one for 10 s that connection
did not deliver.
"""

import numpy as np

from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, column
from midas_ray.features.statistics import BoolArray, FloatArray

MAX_AGE_US = 10_000_000


def _stale(b: Buckets) -> BoolArray:
    stale: BoolArray = b.statistics.derivatives.mark_age_us > MAX_AGE_US
    return stale


def funding_rate(b: Buckets) -> Column:
    """Funding rate of the last mark row before t, unit 1 (a rate per funding interval); gap where older than 10 s."""
    rate = b.statistics.derivatives.funding_rate
    return column(rate, gap=_stale(b) | np.isnan(rate))


def basis_bps(b: Buckets) -> Column:
    """(mark - index)/index of the last mark row before t, bps; gap where older than 10 s, undefined for index 0."""
    derivatives = b.statistics.derivatives
    mark, index = derivatives.mark_px, derivatives.index_px
    gap = _stale(b) | np.isnan(mark) | np.isnan(index)
    positive: BoolArray = index > 0
    values = np.full(len(gap), np.nan)
    values[positive] = 1e4 * (mark[positive] - index[positive]) / index[positive]
    return column(values, gap=gap, undefined=~positive)


def _liquidations(b: Buckets, volume: FloatArray) -> Column:
    derivatives = b.statistics.derivatives
    return column(volume, gap=~derivatives.liquidations_on | (derivatives.mark_hole_us > MAX_AGE_US))


def liquidation_buy_volume(b: Buckets) -> Column:
    """Sum of filled qty of forced orders that bought, base units, >= 0: a lower bound, the feed is throttled.

    0 only while its connection delivered other data: gap where the stream is off, or mark prices paused for over 10 s.
    """
    return _liquidations(b, b.statistics.derivatives.liquidation_buy)


def liquidation_sell_volume(b: Buckets) -> Column:
    """Sum of filled qty of forced orders that sold, base units, >= 0; as liquidation_buy_volume."""
    return _liquidations(b, b.statistics.derivatives.liquidation_sell)
