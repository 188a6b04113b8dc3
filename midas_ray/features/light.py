"""The task of the light pass: all days of one symbol that are not up to date, one after the other."""

import json
from dataclasses import dataclass, field, fields
from typing import Any

import polars as pl
import pyarrow as pa

from midas_ray.features.bars_of_buckets import BarRows
from midas_ray.features.buckets import Buckets, PriceSource
from midas_ray.features.clean_hour import HourInput, floats_of, ints_of, read_clean, read_prints
from midas_ray.features.cost import CostNotional, CostStatistics
from midas_ray.features.daily import DAY_US
from midas_ray.features.day import (
    DayInput,
    bars_day_buckets,
    calendar,
    day_buckets,
    history_days,
    with_absent_hours,
)
from midas_ray.features.hour_rows import HOUR_US
from midas_ray.features.statistics import Statistics
from midas_ray.features.store import read_cost, read_statistics
from midas_ray.features.table import feature_rows, to_table
from midas_ray.features.vpin import DayPrints, VolumeBuckets, day_volume_buckets
from midas_ray.storage import Storage


@dataclass(frozen=True, slots=True)
class DayTask:
    """One day to write."""

    day_us: int
    path: str
    """Where its features go."""
    hours: list[int]
    """Starts of the hours with data, of the day and its history, rising; microseconds."""
    has_start: bool
    from_bars: bool
    cost_quote: float | None
    cost_known_from: int
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class SymbolTask:
    """All days of one symbol to write, rising."""

    venue: str
    symbol: str
    bucket_us: int
    price_source: PriceSource
    vpin_bucket_share: float
    hours: list[HourInput]
    """Every hour that a day names."""
    bar_paths: list[str]
    """clean/bars files of the days that come from them, and of their history, rising."""
    days: list[DayTask]


@dataclass(slots=True)
class _Days:
    """Statistics and volume buckets of the last days, so that neighbouring days read them once."""

    storage: Storage
    task: SymbolTask
    statistics: dict[int, Statistics] = field(default_factory=dict)
    own_volume_buckets: dict[int, VolumeBuckets] = field(default_factory=dict)

    def hours(self, day: DayTask, day_us: int) -> list[HourInput]:
        """The hours of a calendar day that `day` rests on."""
        inside = {start for start in day.hours if day_us <= start < day_us + DAY_US}
        return [hour for hour in self.task.hours if hour.start_us in inside]

    def of(self, day: DayTask, day_us: int) -> Statistics:
        """All buckets of a calendar day, absent ones included."""
        if day_us not in self.statistics:
            ts_us = calendar(day_us, 1, self.task.bucket_us)
            parts = [read_statistics(self.storage, hour) for hour in self.hours(day, day_us)]
            joined = Statistics.joined(parts).dense(ts_us) if parts else Statistics.absent(ts_us)
            self.statistics[day_us] = joined
        return self.statistics[day_us]

    def volume_buckets(self, day: DayTask, day_us: int) -> VolumeBuckets:
        """The volume buckets of one day alone."""
        if day_us not in self.own_volume_buckets:
            today = self.of(day, day_us)
            hours = self.hours(day, day_us)
            starts = [hour.start_us for hour in hours]
            self.own_volume_buckets[day_us] = day_volume_buckets(
                self.of(day, day_us - DAY_US).trades,
                today.trades,
                today.ts_us,
                DayPrints.of([read_prints(self.storage, hour.trades, hour.start_us) for hour in hours if hour.trades]),
                with_absent_hours(today.uncovered, starts, day_us, day_us + DAY_US),
                self.task.vpin_bucket_share,
            )
        return self.own_volume_buckets[day_us]

    def forget(self, before_us: int) -> None:
        for cache in (self.statistics, self.own_volume_buckets):
            for day_us in [day_us for day_us in cache if day_us < before_us]:
                del cache[day_us]


def _day_cost(days: _Days, day: DayTask) -> CostStatistics:
    per_hour = HOUR_US // days.task.bucket_us
    inside = {hour.start_us: hour for hour in days.hours(day, day.day_us)}
    return CostStatistics.joined(
        [
            read_cost(days.storage, inside[start], day.cost_quote)
            if start in inside and day.cost_quote is not None
            else CostStatistics.absent(per_hour)
            for start in range(day.day_us, day.day_us + DAY_US, HOUR_US)
        ]
    )


def _buckets(days: _Days, day: DayTask) -> Buckets:
    task = days.task
    first = day.day_us - history_days(task.bucket_us) * DAY_US
    days.forget(first)
    # V of the day before rests on the day before that: both lie in the history.
    volume_buckets = days.volume_buckets(day, day.day_us).after(days.volume_buckets(day, day.day_us - DAY_US))
    window = [days.of(day, day_us) for day_us in range(first, day.day_us + DAY_US, DAY_US)]
    return day_buckets(
        DayInput(
            day_us=day.day_us,
            bucket_us=task.bucket_us,
            price_source=task.price_source,
            statistics=Statistics.joined(window),
            has_start=day.has_start,
            cost=_day_cost(days, day),
            notional=CostNotional(day.cost_quote, day.cost_known_from),
            volume_buckets=volume_buckets,
        )
    )


def read_bars(storage: Storage, paths: list[str]) -> BarRows:
    """clean/bars of several files, in order."""
    names = [f.name for f in fields(BarRows)][1:]
    table = pa.concat_tables([read_clean(storage, path, ["ts", *names]) for path in paths])
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    table = frame.sort("ts", maintain_order=True).to_arrow()
    return BarRows(ints_of(table, "ts"), *(floats_of(table, name) for name in names))


def light_task(storage: Storage, task: SymbolTask) -> dict[str, Any]:
    """Write the features of every day of the task."""
    days = _Days(storage, task)
    bars = read_bars(storage, task.bar_paths) if task.bar_paths else None
    n_rows, newest_us = 0, 0
    for day in task.days:
        if bars is not None and day.from_bars:
            buckets = bars_day_buckets(day.day_us, task.bucket_us, bars, has_start=day.has_start)
        else:
            buckets = _buckets(days, day)
        rows = feature_rows(buckets)
        if not len(rows.ts_us):
            if storage.exists(day.path):
                storage.delete(day.path)
            continue
        metadata = day.metadata | {"null_features": json.dumps(rows.entirely_null)}
        storage.write_parquet(day.path, to_table(rows, task.symbol), metadata)
        n_rows, newest_us = n_rows + len(rows.ts_us), max(newest_us, int(rows.ts_us[-1]))
    return {
        "symbol": task.symbol,
        "days": len(task.days),
        "rows": {"features": n_rows},
        "newest_us": {"features": newest_us} if n_rows else {},
    }
