"""What is fixed with a day, or grows with it: COST_NOTIONAL, the volume buckets, where the data begin."""

from dataclasses import dataclass

from midas_ray.features.cost import CostNotional, cost_notional
from midas_ray.features.daily import DAY_US
from midas_ray.features.day import NO_START, history_days, with_absent_hours
from midas_ray.features.hour_rows import Prints
from midas_ray.features.vpin import DayPrints, VolumeBuckets, day_volume_buckets
from midas_ray.live.days import Days
from midas_ray.settings import Features


@dataclass(frozen=True, slots=True)
class DayParameters:
    """Of one day. volume: its volume buckets and those of the day before. start_us: when the data begin."""

    notional: CostNotional
    volume: VolumeBuckets
    start_us: int


class Parameters:
    """Parameters of the days whose rows are wanted, from the statistics as they are now.

    prints: by hour, kept up to date by the owner. first_data_us: start of the symbol's first hour with data, where that
    is known already.
    """

    def __init__(self, settings: Features, days: Days, prints: dict[int, Prints], first_data_us: int | None) -> None:
        self._settings, self._days, self._prints = settings, days, prints
        self._bucket_us = settings.time_bucket_ms * 1000
        self._first_data_us = first_data_us
        self._kept: dict[int, DayParameters] = {}
        self._volumes: dict[int, tuple[tuple[int, int], VolumeBuckets]] = {}

    def data_in(self, hour_us: int) -> None:
        """There are data in this hour."""
        self._first_data_us = min(self._first_data_us or hour_us, hour_us)

    def of(self, day_us: int) -> DayParameters:
        """As of the last `refresh`. Raises KeyError before the first."""
        return self._kept[day_us]

    def refresh(self, day_us: int) -> int:
        """Bring a day's parameters up to date; gives the first bucket (its end) that they change, the next day's 00:00
        where there is none."""
        now = DayParameters(self.notional(day_us), self._volume(day_us), self._start_us(day_us))
        before, self._kept[day_us] = self._kept.get(day_us), now
        return day_us + DAY_US if before is None else _first_changed(before, now, day_us, self._bucket_us)

    def notional(self, day_us: int) -> CostNotional:
        """COST_NOTIONAL of a day."""
        if self._settings.cost_notional is not None:
            return CostNotional(self._settings.cost_notional, 0)
        before, today = self._days.day(day_us - DAY_US), self._days.day(day_us)
        return cost_notional(before.book, today.book, self._bucket_us)

    def forget(self, before_us: int) -> None:
        """Let go of days that start before."""
        self._kept = {day_us: kept for day_us, kept in self._kept.items() if day_us >= before_us}
        self._volumes = {day_us: kept for day_us, kept in self._volumes.items() if day_us >= before_us}

    def _volume(self, day_us: int) -> VolumeBuckets:
        return self._own_volume(day_us).after(self._own_volume(day_us - DAY_US))

    def _own_volume(self, day_us: int) -> VolumeBuckets:
        version = self._days.version(day_us - DAY_US), self._days.version(day_us)
        kept = self._volumes.get(day_us)
        if kept is not None and kept[0] == version:
            return kept[1]
        before, today = self._days.day(day_us - DAY_US), self._days.day(day_us)
        hours = [hour for hour in self._days.hours if day_us <= hour < day_us + DAY_US]
        volume = day_volume_buckets(
            before.trades,
            today.trades,
            today.ts_us,
            DayPrints.of([self._prints[hour] for hour in hours if hour in self._prints]),
            with_absent_hours(today.uncovered, hours, day_us, day_us + DAY_US),
            self._settings.vpin_bucket_share,
        )
        self._volumes[day_us] = version, volume
        return volume

    def _start_us(self, day_us: int) -> int:
        """When the data begin, where that is in the day or its history."""
        history_us = day_us - history_days(self._bucket_us) * DAY_US
        if self._first_data_us is None or self._first_data_us < history_us:
            return int(NO_START)
        for hour_us in self._days.hours:
            hour = self._days.hour(hour_us)
            exists = (hour.book.rows > 0) | (hour.trades.lost_us < self._bucket_us)
            if exists.any():
                return hour_us + int(exists.argmax()) * self._bucket_us
        return history_us


def _first_changed(before: DayParameters, now: DayParameters, day_us: int, bucket_us: int) -> int:
    """The end of the first bucket of the day whose row may differ by its parameters; the next day's 00:00 if none."""
    found = [day_us + DAY_US]
    if before.start_us != now.start_us or before.volume.empty != now.volume.empty:
        return day_us + bucket_us
    if before.notional != now.notional:
        found.append(day_us + (min(before.notional.known_from, now.notional.known_from) + 1) * bucket_us)
    if before.volume.known_from_us != now.volume.known_from_us:
        found.append(min(before.volume.known_from_us, now.volume.known_from_us))
    old, new = before.volume, now.volume
    common = min(len(old.done_us), len(new.done_us))
    differs = (old.done_us[:common] != new.done_us[:common]) | (old.share[:common] != new.share[:common])
    first = int(differs.argmax()) if differs.any() else common
    for volume in (old, new):
        if first < len(volume.done_us):
            done_us = int(volume.done_us[first])
            found.append(done_us - done_us % bucket_us + bucket_us)
    return max(min(found), day_us + bucket_us)
