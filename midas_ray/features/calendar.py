"""Calendar: known in advance, never null, in [-1, 1]."""

import numpy as np

from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column, column
from midas_ray.features.daily import DAY_US
from midas_ray.features.statistics import FloatArray


def _angle(b: Buckets) -> FloatArray:
    angle: FloatArray = 2.0 * np.pi * (b.ts_us % DAY_US) / DAY_US
    return angle


def hour_sin(b: Buckets) -> Column:
    """sin of 2 pi x (seconds since 00:00 UTC at t)/86400."""
    return column(np.sin(_angle(b)))


def hour_cos(b: Buckets) -> Column:
    """cos of 2 pi x (seconds since 00:00 UTC at t)/86400."""
    return column(np.cos(_angle(b)))
