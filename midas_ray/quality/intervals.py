"""Sets of times as sorted, disjoint intervals (start, end], microseconds since 1970: gaps, times with a live book."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Intervals:
    """start, end: (m,) rising; interval i is (start[i], end[i]]. Intervals that touch are one."""

    start: IntArray
    end: IntArray

    @classmethod
    def union(cls, start: IntArray, end: IntArray) -> "Intervals":
        """The union of intervals in any order, overlapping or not; empty ones vanish."""
        real = end > start
        order = np.argsort(start[real], kind="stable")
        start, end = start[real][order], end[real][order]
        if not len(start):
            return cls(start, end)
        reach = np.maximum.accumulate(end)
        first = np.concatenate([[True], start[1:] > reach[:-1]])
        last = np.concatenate([first[1:], [True]])
        return cls(start[first], reach[last])

    def __len__(self) -> int:
        return len(self.start)

    @property
    def total_us(self) -> int:
        return int((self.end - self.start).sum())

    def contains(self, ts_us: IntArray) -> BoolArray:
        """(n,) whether each time lies in an interval."""
        at = np.searchsorted(self.end, ts_us, side="left")
        inside = at < len(self.end)
        inside[inside] = self.start[at[inside]] < ts_us[inside]
        return inside

    def overlap_us(self, from_us: IntArray, to_us: IntArray) -> IntArray:
        """(n,) microseconds of each (from, to] that lie in the intervals."""
        return self._covered_until(to_us) - self._covered_until(from_us)

    def meets(self, from_us: IntArray, to_us: IntArray) -> BoolArray:
        """(n,) whether each (from, to] has a time in common with the intervals."""
        return self.overlap_us(from_us, to_us) > 0

    def without(self, other: "Intervals") -> "Intervals":
        """What of these intervals is not in `other`."""
        edges = np.unique(np.concatenate([self.start, self.end, other.start, other.end]))
        pieces = Intervals(edges[:-1], edges[1:])
        kept = self.contains(pieces.end) & ~other.contains(pieces.end)
        return Intervals.union(pieces.start[kept], pieces.end[kept])

    def _covered_until(self, ts_us: IntArray) -> IntArray:
        """(n,) microseconds covered up to each time."""
        if not len(self.start):
            return np.zeros(len(ts_us), dtype=np.int64)
        before = np.concatenate([[0], np.cumsum(self.end - self.start)])
        at = np.searchsorted(self.start, ts_us, side="left")
        last = np.maximum(at - 1, 0)
        open_part = np.clip(ts_us, self.start[last], self.end[last]) - self.start[last]
        return np.where(at == 0, 0, before[last] + open_part)
