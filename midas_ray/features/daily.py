"""Quantities fixed once a UTC day: from the covered buckets of the day before, or of the day's own first hour.

Both COST_NOTIONAL and the volume of a VPIN bucket follow this rule, so that neither ever looks ahead: with under 60
covered minutes on the day before, nothing is known until the day itself has had 60 of them.
"""

from dataclasses import dataclass

import numpy as np

from midas_ray.features.statistics import BoolArray, IntArray

MIN_COVERED_US = 60 * 60_000_000
DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Sample:
    """The buckets that a day's quantity is measured on."""

    of_day_before: bool
    rows: IntArray
    """Positions among the buckets of that day; empty where neither day has enough."""
    known_from: int
    """Position among the day's buckets of the first one at whose end the quantity is known; their number if none."""


def daily_sample(covered_before: BoolArray, covered_today: BoolArray, bucket_us: int) -> Sample:
    """Where to measure, given which buckets of both days are covered, in order of time."""
    needed = -(-MIN_COVERED_US // bucket_us)
    before = np.flatnonzero(covered_before)
    if len(before) >= needed:
        return Sample(True, before, 0)
    today = np.flatnonzero(covered_today)[:needed]
    if len(today) < needed:
        return Sample(False, today[:0], len(covered_today))
    return Sample(False, today, int(today[-1]))
