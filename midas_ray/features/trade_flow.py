"""Trade flow: who took liquidity. `side` is the taker's, d = +1 bought, -1 sold.

Null rule of the family: gap where any part of the bucket was not collected.
"""

import numpy as np

from midas_ray.features import kernels
from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, column, divide
from midas_ray.features.daily import DAY_US, MIN_COVERED_US

MIN_SIGNS = 3


def taker_buy_volume(b: Buckets) -> Column:
    """Sum of qty where the taker bought, base units, >= 0; 0 without prints."""
    return b.bars.taker_buy_volume


def taker_sell_volume(b: Buckets) -> Column:
    """Sum of qty where the taker sold = volume - taker_buy_volume, base units, >= 0; 0 without prints."""
    volume, buys = b.bars.volume, b.bars.taker_buy_volume
    if b.bars_only:
        return column(np.maximum(volume.values - buys.values, 0.0), gap=volume.gap | buys.gap)
    trades = b.statistics.trades
    return column((trades.lots - trades.buy_lots) / trades.sz_scale, gap=b.trade_gap)


def signed_volume(b: Buckets) -> Column:
    """taker_buy_volume - taker_sell_volume, base units; 0 without prints."""
    volume, buys = b.bars.volume, b.bars.taker_buy_volume
    if b.bars_only:
        return column(2.0 * buys.values - volume.values, gap=volume.gap | buys.gap)
    trades = b.statistics.trades
    return column((2 * trades.buy_lots - trades.lots) / trades.sz_scale, gap=b.trade_gap)


def volume_imbalance(b: Buckets) -> Column:
    """signed_volume / volume, in [-1, 1]; undefined without volume."""
    signed, volume = signed_volume(b), b.bars.volume
    ratio = np.clip(divide(signed.values, volume.values), -1.0, 1.0)
    return column(ratio, gap=signed.gap | volume.gap, undefined=volume.values == 0)


def mean_trade_size(b: Buckets) -> Column:
    """volume / number_of_trades, base units, >= 0; undefined without prints."""
    volume, count = b.bars.volume, b.bars.number_of_trades
    return column(divide(volume.values, count.values), gap=volume.gap | count.gap, undefined=count.values == 0)


def trade_sign_autocorr(b: Buckets) -> Column:
    """Correlation of (d_(i-1), d_i) over neighbouring prints of the bucket, in [-1, 1] (Lillo and Farmer 2004).

    Undefined with under 3 prints, or where the signs of the earlier or of the later ones are constant.
    """
    trades = b.statistics.trades
    pairs = np.maximum(trades.rows - 1, 0)
    earlier, later, product = trades.sign_sums.T
    squares = (pairs * pairs - earlier * earlier, pairs * pairs - later * later)
    variances = squares[0].astype(np.float64) * squares[1]  # pairs^4 leaves 63 bits at 55,000 prints
    value = divide(pairs * product - earlier * later, np.sqrt(variances))
    undefined = (trades.rows < MIN_SIGNS) | (variances == 0)
    return column(np.clip(value, -1.0, 1.0), gap=b.trade_gap, undefined=undefined)


def _whales(b: Buckets, signed: bool) -> Column:
    trades, histogram = b.statistics.trades, b.statistics.histogram
    min_covered = -(-MIN_COVERED_US // b.bucket_us)
    lots, signed_lots, covered, prints = kernels.whale_pass(
        histogram.ends, histogram.bins, histogram.prints, histogram.lots, histogram.signed_lots,
        trades.lost_us == 0, DAY_US // b.bucket_us, min_covered, b.first,
    )  # fmt: skip
    values = (signed_lots if signed else lots) / trades.sz_scale
    return column(values, gap=b.trade_gap, warm_up=covered < min_covered, undefined=prints == 0)


def whale_volume(b: Buckets) -> Column:
    """Sum of qty of prints whose notional exceeds the 99 % quantile of the 24 h before the bucket, base units, >= 0.

    The quantile is taken on a histogram with 64 bins an octave over the covered buckets of those 24 h: the threshold is
    the upper edge of the lowest bin with 99 % of the prints at or below it. Warm-up under 60 covered minutes; undefined
    where they had no prints.
    """
    return _whales(b, signed=False)


def whale_signed_volume(b: Buckets) -> Column:
    """The same sum as whale_volume, bought minus sold by the taker's side, base units; the same null rule."""
    return _whales(b, signed=True)
