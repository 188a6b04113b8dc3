"""Open, high, low, close and volumes of each bucket, from prints or from the exchange's own bars.

A bucket without prints is known: volume 0, open = high = low = close = the previous close. The previous close is
undefined before the first print of the history; after a gap it is not known until the next print, since the lost
prints could have moved it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from midas_ray.features.column import Column, KindArray, column
from midas_ray.features.nulls import NullKind
from midas_ray.features.statistics import FloatArray, IntArray, TradeStatistics, limbs_to_ints

BAR_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Close:
    """The last price at a moment, and why it is not known."""

    px: float
    kind: NullKind


@dataclass(frozen=True, slots=True)
class BucketBars:
    """One bar a bucket, n of them."""

    coverage: FloatArray
    """(n,) share of the bucket in which prints were collected; 1 exactly where nothing was lost."""
    open: Column
    high: Column
    low: Column
    close: Column
    volume: Column
    quote_volume: Column
    number_of_trades: Column
    taker_buy_volume: Column


def previous_closes(trades: TradeStatistics, closes: FloatArray) -> list[Close]:
    """(n,) the last price at the start of each bucket."""
    known = [Close(math.nan, NullKind.UNDEFINED)]
    rows, lost = trades.rows.tolist(), trades.lost_us.tolist()
    last_us, settled_us = trades.last_us.tolist(), trades.settled_us.tolist()
    for bucket, close in enumerate(closes.tolist()):
        state = known[-1]
        if rows[bucket] and last_us[bucket] >= settled_us[bucket] - 1:
            state = Close(close, NullKind.VALUE)
        elif lost[bucket] and (rows[bucket] or state.kind is not NullKind.UNDEFINED):
            state = Close(math.nan, NullKind.GAP)
        known.append(state)
    return known[:-1]


def bars_from_trades(trades: TradeStatistics, bucket_us: int) -> BucketBars:
    """Bars of consecutive buckets."""
    gap = trades.lost_us > 0
    prices = trades.prices / trades.px_scale[:, None]
    closes = previous_closes(trades, prices[:, 3])
    quiet = trades.rows == 0
    previous = np.array([close.px for close in closes])
    kinds: KindArray = np.where(quiet, [int(close.kind) for close in closes], NullKind.VALUE).astype(np.uint8)
    kinds[gap] = NullKind.GAP
    known = kinds == NullKind.VALUE
    ohlc = [np.where(known, np.where(quiet, previous, prices[:, i]), np.nan) for i in range(4)]
    scale = [int(px * sz) for px, sz in zip(trades.px_scale.tolist(), trades.sz_scale.tolist(), strict=True)]
    quote = np.array([total / unit for total, unit in zip(limbs_to_ints(trades.notional), scale, strict=True)])
    return BucketBars(
        coverage=1.0 - np.minimum(trades.lost_us, bucket_us) / bucket_us,
        open=Column(ohlc[0], kinds),
        high=Column(ohlc[1], kinds),
        low=Column(ohlc[2], kinds),
        close=Column(ohlc[3], kinds),
        volume=column(trades.lots / trades.sz_scale, gap=gap),
        quote_volume=column(quote, gap=gap),
        number_of_trades=column(trades.count.astype(np.float64), gap=gap),
        taker_buy_volume=column(trades.buy_lots / trades.sz_scale, gap=gap),
    )


@dataclass(frozen=True, slots=True)
class BarRows:
    """clean/bars, rising in ts (the end of the bar); NaN where null."""

    ts_us: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    quote_volume: FloatArray
    number_of_trades: FloatArray
    taker_buy_volume: FloatArray

    def between(self, start_us: int, end_us: int) -> "BarRows":
        """The rows with start < ts <= end."""
        first, last = np.searchsorted(self.ts_us, [start_us, end_us], side="right")
        return BarRows(*(getattr(self, f.name)[first:last] for f in fields(self)))


def bars_from_rows(bars: BarRows, ts_us: IntArray, bucket_us: int) -> BucketBars:
    """Bars of consecutive buckets that end at `ts_us`, each of bucket_us / 1 minute rows.

    A missing row makes a gap of the whole bucket, a null in one makes a gap of that column.
    """
    expected = bucket_us // BAR_US
    first = np.searchsorted(bars.ts_us, ts_us - bucket_us, side="right")
    found = np.searchsorted(bars.ts_us, ts_us, side="right") - first
    whole = found == expected
    rows = first[whole][:, None] + np.arange(expected)

    def column_of(values: FloatArray, reduce: Callable[[FloatArray], FloatArray | list[float]]) -> Column:
        """reduce: (buckets, bars a bucket) to (buckets,)."""
        reduced = np.full(len(ts_us), np.nan)
        reduced[whole] = reduce(values[rows])
        return column(reduced, gap=np.isnan(reduced))

    def exact_sums(values: FloatArray) -> list[float]:
        return [math.fsum(bucket) for bucket in values.tolist()]

    return BucketBars(
        coverage=found / expected,
        open=column_of(bars.open, lambda px: px[:, 0]),
        high=column_of(bars.high, lambda px: px.max(axis=1)),
        low=column_of(bars.low, lambda px: px.min(axis=1)),
        close=column_of(bars.close, lambda px: px[:, -1]),
        volume=column_of(bars.volume, exact_sums),
        quote_volume=column_of(bars.quote_volume, exact_sums),
        number_of_trades=column_of(bars.number_of_trades, exact_sums),
        taker_buy_volume=column_of(bars.taker_buy_volume, exact_sums),
    )
