"""Bars: what traded in the bucket. Prints with time in [t - D, t); from clean/bars where there are no prints at all.

Null rule of the family: gap where any part of the bucket was not collected. See `bars_of_buckets` for quiet buckets.
"""

from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, column, divide


def open(b: Buckets) -> Column:
    """First price, quote units, >= 0. Without prints the previous close; undefined before the first print."""
    return b.bars.open


def high(b: Buckets) -> Column:
    """Highest price, quote units, >= 0. Without prints the previous close; undefined before the first print."""
    return b.bars.high


def low(b: Buckets) -> Column:
    """Lowest price, quote units, >= 0. Without prints the previous close; undefined before the first print."""
    return b.bars.low


def close(b: Buckets) -> Column:
    """Last price, quote units, >= 0. Without prints the previous close; undefined before the first print."""
    return b.bars.close


def volume(b: Buckets) -> Column:
    """Sum of qty, base units, >= 0; 0 without prints."""
    return b.bars.volume


def quote_volume(b: Buckets) -> Column:
    """Sum of px x qty, quote units, >= 0; 0 without prints. The sum is exact, rounded once."""
    return b.bars.quote_volume


def vwap(b: Buckets) -> Column:
    """quote_volume / volume, quote units, >= 0 (volume-weighted average price); undefined without prints."""
    volume, quote = b.bars.volume, b.bars.quote_volume
    gap = volume.gap | quote.gap
    return column(divide(quote.values, volume.values), gap=gap, undefined=volume.values == 0)


def number_of_trades(b: Buckets) -> Column:
    """Count of prints, >= 0; the prints behind the aggregates where only aggTrade was collected."""
    return b.bars.number_of_trades
