"""The volume clock of VPIN: the complete volume buckets of one symbol's UTC day.

The size V of a volume bucket is fixed for the day (see `daily`): VPIN_BUCKET_SHARE x 1440 x the mean volume per covered
minute, in whole lots of what it is measured on. The clock restarts at 00:00 UTC and after any time without prints
collected; the bucket it was filling is dropped. Complete buckets stay among the last 50 across a restart, each with its
own day's V: the window at t holds those of this day and of the day before, whose passes are independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from midas_ray.features import kernels
from midas_ray.features.daily import daily_sample
from midas_ray.features.hour_rows import Prints, to_ints
from midas_ray.features.statistics import BoolArray, FloatArray, IntArray, TradeStatistics

MINUTE_US = 60_000_000
MINUTES_A_DAY = 1440


@dataclass(frozen=True, slots=True)
class DayPrints:
    """All prints of a UTC day [00:00, 24:00), in order; sizes as lots at one scale."""

    ts_us: IntArray
    lots: IntArray
    buy: BoolArray
    sz_scale: float

    @classmethod
    def of(cls, hours: Sequence[Prints]) -> "DayPrints":
        """The prints of the day's hours, which are in order."""
        if not hours:
            none = np.zeros(0, dtype=np.int64)
            return cls(none, none, np.zeros(0, dtype=np.bool_), 1.0)
        scale = max(part.sz_scale for part in hours)
        return cls(
            np.concatenate([part.ts_us for part in hours]),
            np.concatenate([to_ints(part.qty, scale) for part in hours]),
            np.concatenate([part.buy for part in hours]),
            scale,
        )


@dataclass(frozen=True, slots=True)
class VolumeBuckets:
    """Complete volume buckets, in order."""

    done_us: IntArray
    """(m,) time of the print that completed each."""
    share: FloatArray
    """(m,) |V_buy - V_sell| / V."""
    known_from_us: int
    """The day's V is known at bucket ends from here on."""
    empty: bool
    """The day's V is 0: there was no volume to measure it on."""

    @classmethod
    def none(cls) -> "VolumeBuckets":
        return cls(np.zeros(0, dtype=np.int64), np.zeros(0), np.iinfo(np.int64).max, empty=False)

    def after(self, before: "VolumeBuckets") -> "VolumeBuckets":
        """These with those of the day before in front."""
        return VolumeBuckets(
            np.concatenate([before.done_us, self.done_us]),
            np.concatenate([before.share, self.share]),
            self.known_from_us,
            self.empty,
        )


def day_volume_buckets(
    before: TradeStatistics,
    today: TradeStatistics,
    ts_us: IntArray,
    prints: DayPrints,
    uncovered: IntArray,
    bucket_share: float,
) -> VolumeBuckets:
    """Volume buckets of a day.

    before, today: statistics of the buckets of the day before and of the day, which end at `ts_us`; uncovered: (m, 2)
    times without prints collected. Null (`known_from_us` beyond all) where V never became known.
    """
    bucket_us = int(ts_us[1] - ts_us[0])
    sample = daily_sample(before.lost_us == 0, today.lost_us == 0, bucket_us)
    if not len(sample.rows):
        return VolumeBuckets.none()
    day = before if sample.of_day_before else today
    volume = math.fsum((day.lots[sample.rows] / day.sz_scale[sample.rows]).tolist())
    per_minute = volume / (len(sample.rows) * bucket_us / MINUTE_US)
    known_from_us = int(ts_us[sample.known_from])
    if volume == 0.0:
        none = VolumeBuckets.none()
        return VolumeBuckets(none.done_us, none.share, known_from_us, empty=True)
    # Whole lots of the sample: finer ones that a later hour of the day may show must not change V.
    sample_scale = float(day.sz_scale[sample.rows].max())
    scale = max(sample_scale, prints.sz_scale)
    size = max(1, round(bucket_share * MINUTES_A_DAY * per_minute * sample_scale)) * round(scale / sample_scale)
    lots = prints.lots * round(scale / prints.sz_scale)
    segment = np.searchsorted(uncovered[:, 0], prints.ts_us, side="right")
    done_us, imbalance = kernels.volume_clock(prints.ts_us, lots, prints.buy, segment, size)
    return VolumeBuckets(done_us, imbalance / size, known_from_us, empty=False)
