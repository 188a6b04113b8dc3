"""What the functions of the features read: consecutive calendar buckets of one symbol, with the history before them.

n buckets. `coverage` of the book is the share of the grid rows that the bucket should have that are there and live: a
missing row counts as not live. A bucket is *covered* by the book where that share is 1, by trades where no microsecond
of it was lost.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from midas_ray.features.bars_of_buckets import BarRows, BucketBars, bars_from_rows, bars_from_trades
from midas_ray.features.book_columns import book_coverage, mid_of
from midas_ray.features.column import Column
from midas_ray.features.cost import CostStatistics
from midas_ray.features.statistics import BookStatistics, BoolArray, FloatArray, IntArray, Statistics
from midas_ray.features.vpin import VolumeBuckets

PriceSource = Literal["midprice", "close"]


@dataclass(frozen=True, slots=True)
class Buckets:
    """Everything that is known of n buckets."""

    ts_us: IntArray
    """(n,) ends."""
    bucket_us: int
    first: int
    """Buckets from here on are wanted; those before are history."""
    began: BoolArray
    """(n,) the data of the symbol had begun: nothing before the first bucket with data is a gap."""
    statistics: Statistics
    bars: BucketBars
    price: Column
    """The reference price P at the end of the bucket: the midprice, or the close in a dataset without a book."""
    cost: CostStatistics
    cost_known: BoolArray
    """(n,) COST_NOTIONAL was known by the end of the bucket."""
    volume_buckets: VolumeBuckets
    bars_only: bool
    """There are no single prints and no book, only the exchange's bars."""

    @property
    def book(self) -> BookStatistics:
        return self.statistics.book

    @property
    def coverage(self) -> FloatArray:
        """(n,) share of the bucket with a live book."""
        return book_coverage(self.book)

    @property
    def trade_gap(self) -> BoolArray:
        """(n,) some of the bucket's single prints were not collected."""
        return self.statistics.trades.lost_us > 0

    @property
    def exists(self) -> BoolArray:
        """(n,) a collector ran in the bucket: there is a grid row, a time in which prints were collected, or a bar."""
        return (self.book.rows > 0) | (self.bars.coverage > 0)


def with_trades(
    statistics: Statistics,
    *,
    bucket_us: int,
    first: int,
    start_us: int,
    price_source: PriceSource,
    cost: CostStatistics,
    cost_known: BoolArray,
    volume_buckets: VolumeBuckets,
) -> Buckets:
    """Buckets of a symbol with book or trades. start_us: when its data begins."""
    bars = bars_from_trades(statistics.trades, bucket_us)
    return Buckets(
        ts_us=statistics.ts_us,
        bucket_us=bucket_us,
        first=first,
        began=statistics.ts_us > start_us,
        statistics=statistics,
        bars=bars,
        price=mid_of(statistics.book) if price_source == "midprice" else bars.close,
        cost=cost,
        cost_known=cost_known,
        volume_buckets=volume_buckets,
        bars_only=False,
    )


def with_bars_only(ts_us: IntArray, rows: BarRows, *, bucket_us: int, first: int, start_us: int) -> Buckets:
    """Buckets of a symbol of which only the exchange's bars are there: all else is a gap."""
    bars = bars_from_rows(rows, ts_us, bucket_us)
    return Buckets(
        ts_us=ts_us,
        bucket_us=bucket_us,
        first=first,
        began=ts_us > start_us,
        statistics=Statistics.absent(ts_us),
        bars=bars,
        price=bars.close,
        cost=CostStatistics.absent(len(ts_us)),
        cost_known=np.zeros(len(ts_us), dtype=np.bool_),
        volume_buckets=VolumeBuckets.none(),
        bars_only=True,
    )
