"""The light pass, pure: one symbol-day of features from the statistics of the day and of the days before it.

A day is (00:00, 24:00] of bucket ends. `history_days` before it are enough for every window: 101 buckets, the 24 h of
the whale threshold, two days for the volume buckets of the day before. Nothing further back enters, so that a day is a
function of those days alone: a previous close is looked for in them only.
"""

from dataclasses import dataclass

import numpy as np

from midas_ray.features.bars_of_buckets import BarRows
from midas_ray.features.buckets import Buckets, PriceSource, with_bars_only, with_trades
from midas_ray.features.cost import CostNotional, CostStatistics
from midas_ray.features.coverage import merged
from midas_ray.features.daily import DAY_US
from midas_ray.features.hour_rows import HOUR_US
from midas_ray.features.statistics import IntArray, Statistics
from midas_ray.features.vpin import VolumeBuckets

LONGEST_WINDOW = 101
"""Buckets, this one included, that volatility_100 and kyle_lambda reach back."""
_MIN_HISTORY_DAYS = 2
NO_START = np.iinfo(np.int64).min


def history_days(bucket_us: int) -> int:
    """Days before a day whose statistics its features can depend on."""
    return max(_MIN_HISTORY_DAYS, -(-LONGEST_WINDOW * bucket_us // DAY_US))


def calendar(first_day_us: int, days: int, bucket_us: int) -> IntArray:
    """Ends of all buckets of so many days."""
    return first_day_us + bucket_us * np.arange(1, days * (DAY_US // bucket_us) + 1, dtype=np.int64)


def with_absent_hours(uncovered: IntArray, hours: list[int], first_us: int, end_us: int) -> IntArray:
    """Times without prints collected in [first, end): what the hours there say, and each hour (its start) not there."""
    absent = [[start, start + HOUR_US] for start in range(first_us, end_us, HOUR_US) if start not in set(hours)]
    return merged(np.concatenate([uncovered, np.array(absent, dtype=np.int64).reshape(-1, 2)]))


@dataclass(frozen=True, slots=True)
class DayInput:
    """All that the features of a day with book or trades are made from."""

    day_us: int
    """00:00 UTC of the day."""
    bucket_us: int
    price_source: PriceSource
    statistics: Statistics
    """Of every hour with data in the day and the history before it, in order."""
    has_start: bool
    """The first hour of all the symbol's data is among them."""
    cost: CostStatistics
    """Of every bucket of the day."""
    notional: CostNotional
    volume_buckets: VolumeBuckets
    """Of the day and the day before."""


def day_buckets(day: DayInput) -> Buckets:
    """The buckets of a day, with its history in front."""
    days_before = history_days(day.bucket_us)
    per_day = DAY_US // day.bucket_us
    ts_us = calendar(day.day_us - days_before * DAY_US, days_before + 1, day.bucket_us)
    first = days_before * per_day
    dense = day.statistics.dense(ts_us)
    n = len(ts_us)
    wanted = np.arange(first, n)
    exists = (dense.book.rows > 0) | (dense.trades.lost_us < day.bucket_us)
    start_us = int(ts_us[exists.argmax()]) - day.bucket_us if day.has_start else NO_START
    return with_trades(
        dense,
        bucket_us=day.bucket_us,
        first=first,
        start_us=start_us,
        price_source=day.price_source,
        cost=day.cost.place(wanted, n),
        cost_known=np.arange(n) >= first + day.notional.known_from,
        volume_buckets=day.volume_buckets,
    )


def bars_day_buckets(day_us: int, bucket_us: int, rows: BarRows, has_start: bool) -> Buckets:
    """The same from bars alone; rows: at least those of the day and the history before it."""
    days_before = history_days(bucket_us)
    ts_us = calendar(day_us - days_before * DAY_US, days_before + 1, bucket_us)
    rows = rows.between(int(ts_us[0]) - bucket_us, int(ts_us[-1]))
    start_us = NO_START
    if has_start and len(rows.ts_us):
        start_us = int(-(-int(rows.ts_us[0]) // bucket_us) - 1) * bucket_us
    first = days_before * (DAY_US // bucket_us)
    return with_bars_only(ts_us, rows, bucket_us=bucket_us, first=first, start_us=start_us)
