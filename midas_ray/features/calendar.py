"""Calendar: known in advance, never null, in [-1, 1]."""

import numpy as np
import numpy.typing as npt

from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, column
from midas_ray.features.daily import DAY_US
from midas_ray.features.statistics import FloatArray


def day_angle(ts_us: npt.NDArray[np.int64]) -> FloatArray:
    """2 pi x the share of the UTC day that has passed."""
    angle: FloatArray = 2.0 * np.pi * (ts_us % DAY_US) / DAY_US
    return angle


def hour_sin(b: Buckets) -> Column:
    """sin of 2 pi x (seconds since 00:00 UTC at t)/86400."""
    return column(np.sin(day_angle(b.ts_us)))


def hour_cos(b: Buckets) -> Column:
    """cos of 2 pi x (seconds since 00:00 UTC at t)/86400."""
    return column(np.cos(day_angle(b.ts_us)))
