"""The final period: the last stretch of the data, which nothing trains, tunes or is judged on until it is opened."""

from dataclasses import dataclass

import numpy as np

from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.errors import TooFewRowsError, UsageError


@dataclass(frozen=True, slots=True)
class FinalPeriod:
    """From this moment on origins belong to the final period; labels before it end by then."""

    first_us: int
    end_us: int
    """End of the data when it was laid out."""

    def before(self, panel: Panel, origins: IntArray, horizon: int) -> IntArray:
        """The origins whose whole label lies before the period."""
        return origins[panel.ts_us[origins] + horizon * panel.bucket_us <= self.first_us]

    def inside(self, panel: Panel, origins: IntArray) -> IntArray:
        """The origins within the period."""
        return origins[panel.ts_us[origins] >= self.first_us]


def final_period(panel: Panel, share: float, start_us: int | None) -> FinalPeriod | None:
    """The last `share` of the panel's time span, or from `start_us` on; None where there is none.

    Raises UsageError where `start_us` lies outside the data.
    """
    first, last = int(panel.ts_us.min()), int(panel.ts_us.max())
    if start_us is not None:
        if not first < start_us <= last:
            shown = [f"{np.datetime64(moment, 'us').astype('datetime64[s]')}" for moment in (start_us, first, last)]
            span = f"{shown[1]} to {shown[2]}"
            raise UsageError(f"--final-from {shown[0]}: expected a moment within the data, found {span}")
        return FinalPeriod(start_us, last)
    if share == 0:
        return None
    buckets = int((last - first) * share) // panel.bucket_us
    return FinalPeriod(last - buckets * panel.bucket_us, last) if buckets else None


def require_before(origins: IntArray) -> None:
    """Raises TooFewRowsError where nothing lies before the final period."""
    if not len(origins):
        raise TooFewRowsError(
            "too few rows: expected windows before the final period, found none; collect more, or lower --final-share"
        )
