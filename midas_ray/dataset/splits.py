"""Training, validation, calibration and test parts by time, purged: no label of one part reaches into the next.

A window at origin ts has its label in (ts, ts + H buckets]. At least `purge` >= H buckets lie between the last origin
of a part and the first of the next one: the earlier labels end before the later part begins.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.errors import TooFewRowsError


@dataclass(frozen=True, slots=True)
class Split:
    """Origins (row indices of the panel) of the four parts, each sorted by (ts, symbol)."""

    train: IntArray
    validation: IntArray
    """Ends the training early."""
    calibration: IntArray
    """Fits the calibration of the trained quantiles."""
    test: IntArray


PART_NAMES = ("train", "validation", "calibration", "test")


def _between(panel: Panel, origins: IntArray, first_us: int, end_us: int) -> IntArray:
    ts_us = panel.ts_us[origins]
    return origins[(ts_us >= first_us) & (ts_us < end_us)]


def _cut(panel: Panel, origins: IntArray, times_us: IntArray, purge: int) -> Split:
    """Parts [times[k], times[k + 1]) for k = 0 ... 3, all but the last shortened by the purge."""
    shortened = np.array([*times_us[1:-1] - purge * panel.bucket_us + 1, times_us[-1]])
    parts = [
        _between(panel, origins, int(first), int(end)) for first, end in zip(times_us[:-1], shortened, strict=True)
    ]
    for name, part in zip(("training", *PART_NAMES[1:]), parts, strict=True):
        if not len(part):
            raise TooFewRowsError(
                f"too few rows: the {name} part has no window after a purge of {purge} buckets, found {len(origins)} "
                "windows in all; collect more, or change the shares or --folds"
            )
    return Split(*parts)


def _span(panel: Panel, origins: IntArray) -> tuple[int, int]:
    if not len(origins):
        raise TooFewRowsError("too few rows: expected windows to split, found none; collect more")
    ts_us = panel.ts_us[origins]
    return int(ts_us.min()), int(ts_us.max()) + panel.bucket_us


def _checked_purge(purge: int) -> int:
    if purge < 1:
        raise ValueError(f"purge: expected at least the horizon in buckets, got {purge}")
    return purge


def time_split(
    panel: Panel,
    origins: IntArray,
    validation_share: float,
    test_share: float,
    purge: int,
    calibration_share: float = 0.1,
) -> Split:
    """One split by time: the last `test_share` of the span of origins is the test part, before it lie calibration and
    validation.

    `purge` is in buckets, at least the horizon. Raises TooFewRowsError where a part is empty.
    """
    start, end = _span(panel, origins)
    length = end - start
    test = end - round(length * test_share)
    calibration = test - round(length * calibration_share)
    validation = calibration - round(length * validation_share)
    times = _on_grid(panel, start, np.array([start, validation, calibration, test, end]))
    return _cut(panel, origins, times, _checked_purge(purge))


def walk_forward(
    panel: Panel,
    origins: IntArray,
    folds: int,
    purge: int,
    validation_share: float = 0.1,
    calibration_share: float = 0.15,
) -> list[Split]:
    """`folds` splits whose test parts follow each other: training always starts at the beginning and grows.

    The span of origins is cut into `folds` + 1 equal blocks; block k + 1 is the test part of fold k. Of what lies
    before it, the last `calibration_share` is the calibration part, the `validation_share` before that the validation
    part, the rest is trained on. Every origin after the first block is tested once. Raises TooFewRowsError where a part
    is empty.
    """
    start, end = _span(panel, origins)
    edges = start + np.round((end - start) * np.arange(1, folds + 2) / (folds + 1)).astype(np.int64)
    splits = []
    for test, test_end in itertools.pairwise(edges):
        calibration = test - round((test - start) * calibration_share)
        validation = calibration - round((test - start) * validation_share)
        times = _on_grid(panel, start, np.array([start, validation, calibration, test, test_end]))
        splits.append(_cut(panel, origins, times, _checked_purge(purge)))
    return splits


def _on_grid(panel: Panel, start_us: int, times_us: IntArray) -> IntArray:
    """Times rounded up to bucket ends counted from `start_us`."""
    buckets = -((start_us - times_us) // panel.bucket_us)
    result: IntArray = start_us + buckets * panel.bucket_us
    return result


def stride_origins(panel: Panel, origins: IntArray, stride: int) -> IntArray:
    """Every `stride`-th origin of the calendar grid: neighbouring windows start `stride` buckets apart."""
    return origins[panel.ts_us[origins] // panel.bucket_us % stride == 0]


def first_rows(panel: Panel, share: float, before_us: int | None = None) -> IntArray:
    """Rows of the first `share` of the panel's time span (up to `before_us`): what columns may be chosen on before
    windows exist.
    """
    start, end = int(panel.ts_us.min()), int(panel.ts_us.max()) if before_us is None else before_us
    return np.flatnonzero(panel.ts_us <= start + int((end - start) * share))
