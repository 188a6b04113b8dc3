"""Distribution of latency in bounded memory: counts by millisecond, or coarser where they spread too wide."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

MAX_BINS = 50_000
PERCENTILES = (50, 90, 99)


@dataclass(slots=True)
class LatencySketch:
    """Latency of n messages: receive time minus the exchange's time. Negative: the local clock was behind.

    bins: rising positions of used bins; bin b is [b, b + 1) x width_us. Percentiles are exact to half a bin.
    """

    width_us: int = 1000
    bins: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    counts: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    n: int = 0
    n_negative: int = 0
    min_us: int = 0
    max_us: int = 0

    def add(self, latency_us: IntArray) -> None:
        """More latencies."""
        if not len(latency_us):
            return
        bins, counts = np.unique(latency_us // self.width_us, return_counts=True)
        low, high = int(latency_us.min()), int(latency_us.max())
        negative = int((latency_us < 0).sum())
        self.absorb(LatencySketch(self.width_us, bins, counts, len(latency_us), negative, low, high))

    def absorb(self, other: "LatencySketch") -> None:
        """Add the latencies of another sketch."""
        if not other.n:
            return
        self.min_us = min(self.min_us, other.min_us) if self.n else other.min_us
        self.max_us = max(self.max_us, other.max_us) if self.n else other.max_us
        self.n += other.n
        self.n_negative += other.n_negative
        width_us = max(self.width_us, other.width_us)
        bins = np.concatenate([each.bins // (width_us // each.width_us) for each in (self, other)])
        self._merge(width_us, bins, np.concatenate([self.counts, other.counts]))
        while len(self.bins) > MAX_BINS:
            self._merge(self.width_us * 10, self.bins // 10, self.counts)

    def _merge(self, width_us: int, bins: IntArray, counts: IntArray) -> None:
        self.width_us = width_us
        self.bins, position = np.unique(bins, return_inverse=True)
        self.counts = np.zeros(len(self.bins), dtype=np.int64)
        np.add.at(self.counts, position, counts)

    def percentile_us(self, percent: float) -> float:
        """The latency that so many percent do not exceed; NaN without latencies."""
        if not self.n:
            return float("nan")
        rank = max(int(np.ceil(percent / 100 * self.n)), 1)
        at = int(np.searchsorted(np.cumsum(self.counts), rank))
        return float(np.clip((self.bins[at] + 0.5) * self.width_us, self.min_us, self.max_us))

    def histogram(self, max_bars: int) -> tuple[FloatArray, IntArray, float]:
        """(left edges in ms, counts, width in ms) of at most `max_bars` equal bars from the lowest to the highest."""
        if not self.n:
            return np.zeros(0), np.zeros(0, dtype=np.int64), 0.0
        first = int(self.bins[0])
        step = -(-(int(self.bins[-1]) - first + 1) // max_bars)
        counts = np.bincount((self.bins - first) // step, weights=self.counts).astype(np.int64)
        width_ms = step * self.width_us / 1e3
        left_ms = np.asarray(first * self.width_us / 1e3 + width_ms * np.arange(len(counts)), dtype=np.float64)
        return left_ms, counts, width_ms

    def clipped(self, low_us: float, high_us: float) -> "LatencySketch":
        """Only the bins between two latencies, for a plot of the bulk."""
        kept = (self.bins * self.width_us >= low_us - self.width_us) & (self.bins * self.width_us <= high_us)
        counts = self.counts[kept]
        return LatencySketch(
            self.width_us, self.bins[kept], counts, int(counts.sum()), self.n_negative, self.min_us, self.max_us
        )
