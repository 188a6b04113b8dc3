"""Which microseconds of a bucket were collected.

Intervals are (m, 2) int64, half-open [start, end) in microseconds, rising and disjoint after `merged`. A grid row with
end `ts` stands for [ts - grid, ts): a collector that ran wrote it, whatever its state. A gap of the ledger (start, end]
covers the times start + 1 us ... end.
"""

import numpy as np

from midas_ray.features.statistics import BoolArray, IntArray

NOTHING: IntArray = np.zeros((0, 2), dtype=np.int64)


def merged(intervals: IntArray) -> IntArray:
    """The union, as rising disjoint intervals; empty ones vanish."""
    intervals = intervals[intervals[:, 1] > intervals[:, 0]]
    if not len(intervals):
        return NOTHING
    intervals = intervals[np.argsort(intervals[:, 0], kind="stable")]
    reach = np.maximum.accumulate(intervals[:, 1])
    first = np.concatenate([[True], intervals[1:, 0] > reach[:-1]])
    last = np.concatenate([first[1:], [True]])
    return np.stack([intervals[first, 0], reach[last]], axis=1)


def clipped(intervals: IntArray, start_us: int, end_us: int) -> IntArray:
    """What of `intervals` lies in [start, end)."""
    return merged(np.clip(intervals, start_us, end_us))


def runs_without(present: BoolArray, start_us: int, step_us: int) -> IntArray:
    """Intervals of the steps that are not `present`; step i is [start + i step, start + (i + 1) step)."""
    edges = np.diff(np.concatenate([[False], ~present, [False]]).astype(np.int8))
    begins, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return start_us + step_us * np.stack([begins, ends], axis=1).astype(np.int64)


def gap_intervals(gaps: list[tuple[int, int]]) -> IntArray:
    """Ledger gaps (start, end] as half-open intervals."""
    return np.array(gaps, dtype=np.int64).reshape(-1, 2) + 1


def lost_per_bucket(intervals: IntArray, start_us: int, bucket_us: int, n: int) -> tuple[IntArray, IntArray]:
    """(microseconds lost, end of the last loss or 0) in each of n buckets from `start_us`, for merged intervals."""
    lost = np.zeros(n, dtype=np.int64)
    settled = np.zeros(n, dtype=np.int64)
    for begin, end in intervals.tolist():
        first = max(0, (begin - start_us) // bucket_us)
        last = min(n, -(-(end - start_us) // bucket_us))
        for bucket in range(first, last):
            bucket_start = start_us + bucket * bucket_us
            stop = min(end, bucket_start + bucket_us)
            lost[bucket] += stop - max(begin, bucket_start)
            settled[bucket] = stop
    return lost, settled
