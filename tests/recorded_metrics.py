"""Stands in for `midas_ray.metrics.Metrics` where no Ray runs, and keeps what would be served."""

import math
from typing import Any

from midas_ray.metrics import Definitions


class RecordedMetrics:
    """`series` holds the last value of every gauge and the total of every counter, by name and tags."""

    def __init__(self, gauges: Definitions, counters: Definitions | None = None) -> None:
        self._tags = {name: tags for table in (gauges, counters or {}) for name, (_, tags) in table.items()}
        self.series: dict[tuple[str, ...], float] = {}

    def set(self, name: str, value: float | None, *tags: str) -> None:
        assert len(tags) == len(self._tags[name]), name
        self.series[name, *tags] = math.nan if value is None else float(value)

    def add(self, name: str, more: float, *tags: str) -> None:
        assert len(tags) == len(self._tags[name]), name
        self.series[name, *tags] = self.series.get((name, *tags), 0.0) + more

    def forget(self, *first: str) -> None:
        self.series = {key: value for key, value in self.series.items() if key[1 : 1 + len(first)] != first}


def recorded(owner: Any) -> dict[tuple[str, ...], float]:
    """The series of an object that keeps its metrics in `_metrics`."""
    series: dict[tuple[str, ...], float] = owner._metrics.series
    return series
