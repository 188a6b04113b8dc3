"""The statistics of a symbol's last days in memory, dense, with the ledger's gaps laid over them."""

from collections.abc import Iterable
from dataclasses import fields, replace

import numpy as np

from midas_ray.features.coverage import clipped, gap_intervals, lost_per_bucket, merged
from midas_ray.features.daily import DAY_US
from midas_ray.features.day import calendar
from midas_ray.features.hour_rows import HOUR_US
from midas_ray.features.statistics import AnyPerBucket, Histogram, PerBucket, Statistics

Gap = tuple[int, int]


class Days:
    """Statistics by hour: `put` an hour whenever it has changed, take days and windows of buckets.

    Both changing methods give the end of the first bucket that differs from before, or None.
    """

    def __init__(self, bucket_us: int) -> None:
        self._bucket_us = bucket_us
        self._gaps: list[Gap] = []
        self._base: dict[int, Statistics] = {}
        self._laid: dict[int, Statistics] = {}
        self._versions: dict[int, int] = {}
        self._dense: dict[int, tuple[int, Statistics]] = {}

    def version(self, day_us: int) -> int:
        """Counts the changes of a day."""
        return self._versions.get(day_us, 0)

    def hour(self, hour_us: int) -> Statistics:
        """An hour with data. Raises KeyError."""
        return self._laid[hour_us]

    @property
    def hours(self) -> list[int]:
        """Starts of the hours with data, rising."""
        return sorted(self._base)

    @property
    def gaps(self) -> list[Gap]:
        return self._gaps

    def put(self, hour_us: int, statistics: Statistics) -> int | None:
        """Statistics of an hour, as they are without any gap of trades."""
        self._base[hour_us] = statistics
        return self._lay(hour_us)

    def set_gaps(self, gaps: Iterable[Gap]) -> int | None:
        """All gaps (start, end] of trades, microseconds."""
        before, self._gaps = self._gaps, sorted(gaps)
        changed = set(before) ^ set(self._gaps)
        hours = [hour for hour in self.hours if any(start < hour + HOUR_US and end >= hour for start, end in changed)]
        return min((ts for hour in hours if (ts := self._lay(hour)) is not None), default=None)

    def forget(self, before_us: int) -> None:
        """Let go of hours that start before."""
        for each in (self._base, self._laid, self._versions, self._dense):
            for start_us in [start_us for start_us in each if start_us < before_us]:
                del each[start_us]
        self._gaps = [gap for gap in self._gaps if gap[1] >= before_us]

    def day(self, day_us: int) -> Statistics:
        """All buckets of a day, absent ones included."""
        version = self.version(day_us)
        if self._dense.get(day_us, (-1,))[0] != version:
            dense = self._between(day_us, day_us + DAY_US).dense(calendar(day_us, 1, self._bucket_us))
            self._dense[day_us] = version, dense
        return self._dense[day_us][1]

    def window(self, first_us: int, end_us: int) -> Statistics:
        """All buckets from `first_us` (a whole hour) to the bucket that ends at `end_us`."""
        ts_us = np.arange(first_us + self._bucket_us, end_us + 1, self._bucket_us)
        whole = self._between(first_us, end_us)
        inside = int(np.searchsorted(whole.ts_us, end_us, side="right"))
        return _first_buckets(whole, inside).dense(ts_us)

    def _between(self, first_us: int, end_us: int) -> Statistics:
        parts = [self._laid[hour] for hour in self.hours if first_us <= hour < end_us]
        return Statistics.joined(parts) if parts else Statistics.absent(np.zeros(0, dtype=np.int64))

    def _lay(self, hour_us: int) -> int | None:
        """Lay the gaps over an hour; gives the end of the first bucket that changes by it."""
        base, n = self._base[hour_us], HOUR_US // self._bucket_us
        gaps = clipped(gap_intervals(self._gaps), hour_us, hour_us + HOUR_US)
        uncovered = merged(np.concatenate([base.uncovered, gaps]))
        lost, settled = lost_per_bucket(uncovered, hour_us, self._bucket_us, n)
        laid = replace(base, trades=replace(base.trades, lost_us=lost, settled_us=settled), uncovered=uncovered)
        before, self._laid[hour_us] = self._laid.get(hour_us), laid
        first = 0 if before is None else first_difference(before, laid)
        if before is None or first is not None or not np.array_equal(before.uncovered, uncovered):
            day_us = hour_us // DAY_US * DAY_US
            self._versions[day_us] = self.version(day_us) + 1
        return None if first is None else hour_us + (first + 1) * self._bucket_us


def _first_buckets(statistics: Statistics, n: int) -> Statistics:
    if n == len(statistics.ts_us):
        return statistics
    histogram = statistics.histogram
    entries = int(histogram.ends[n - 1]) if n else 0
    return Statistics(
        statistics.ts_us[:n],
        _cut(statistics.book, n),
        _cut(statistics.trades, n),
        _cut(statistics.derivatives, n),
        Histogram(
            histogram.ends[:n],
            histogram.bins[:entries],
            histogram.prints[:entries],
            histogram.lots[:entries],
            histogram.signed_lots[:entries],
        ),
        statistics.uncovered,
    )


def _cut(part: AnyPerBucket, n: int) -> AnyPerBucket:
    return type(part)(**{f.name: getattr(part, f.name)[:n] for f in fields(part)})


def first_difference(one: Statistics, other: Statistics) -> int | None:
    """Position of the first bucket of an hour in which the two differ in any bit; None where they are the same."""
    found: list[int] = []
    pairs: list[tuple[PerBucket, PerBucket]] = [
        (one.book, other.book),
        (one.trades, other.trades),
        (one.derivatives, other.derivatives),
    ]
    for mine, theirs in pairs:
        for f in fields(mine):
            found += _first_row(getattr(mine, f.name), getattr(theirs, f.name))
    sizes = one.histogram.sizes(), other.histogram.sizes()
    found += _first_row(*sizes)
    n = min(found, default=len(one.ts_us))
    ends = int(one.histogram.ends[n - 1]) if n else 0
    for name in ("bins", "prints", "lots", "signed_lots"):
        differs = np.flatnonzero(getattr(one.histogram, name)[:ends] != getattr(other.histogram, name)[:ends])
        if len(differs):
            found.append(int(np.searchsorted(one.histogram.ends, differs[0], side="right")))
    return min(found, default=None)


def _first_row(one: np.ndarray, other: np.ndarray) -> list[int]:
    mine, theirs = (np.ascontiguousarray(each).reshape(len(each), -1) for each in (one, other))
    if mine.tobytes() == theirs.tobytes():
        return []
    differs = mine.view(np.uint8).reshape(len(one), -1) != theirs.view(np.uint8).reshape(len(one), -1)
    return [int(differs.any(axis=1).argmax())]
