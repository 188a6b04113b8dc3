"""Interval arithmetic of what was not collected."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.features.coverage import clipped, gap_intervals, lost_per_bucket, merged, runs_without

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def points(intervals: np.ndarray) -> set[int]:
    return {point for start, end in intervals.tolist() for point in range(start, end)}


@given(PAIRS)
def test_merging_keeps_every_point_once(pairs: list[tuple[int, int]]) -> None:
    intervals = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    found = merged(intervals)
    assert points(found) == points(intervals)
    flat = found.reshape(-1)
    assert (np.diff(flat) > 0).all()


@given(PAIRS)
def test_lost_time_per_bucket_counts_points(pairs: list[tuple[int, int]]) -> None:
    intervals = merged(np.array(pairs, dtype=np.int64).reshape(-1, 2))
    lost, settled = lost_per_bucket(intervals, 5, 7, 6)
    for bucket in range(6):
        inside = points(intervals) & set(range(5 + 7 * bucket, 12 + 7 * bucket))
        assert lost[bucket] == len(inside)
        assert settled[bucket] == (max(inside) + 1 if inside else 0)


def test_a_ledger_gap_excludes_its_start_and_includes_its_end() -> None:
    assert gap_intervals([(10, 20)]).tolist() == [[11, 21]]
    assert clipped(gap_intervals([(10, 20), (50, 60)]), 15, 55).tolist() == [[15, 21], [51, 55]]


def test_missing_steps() -> None:
    present = np.array([True, False, False, True, False])
    assert runs_without(present, 100, 10).tolist() == [[110, 130], [140, 150]]
    assert runs_without(~np.zeros(3, dtype=np.bool_), 0, 10).tolist() == []
