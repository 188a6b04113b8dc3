"""Metrics of Ray, made from tables that say what each is called, what it means and what tells one series from another.

Ray serves them at each node's metrics port: a gauge as `ray_midas_<name>`, a counter as `ray_midas_<name>_total`. A
gauge is served until 20 s after its process has ended; a counter for as long as its node is up, under the id of the
process, so that counters are for what runs for months, and gauges alone for what is started again and again.
"""

from collections.abc import Mapping
from typing import Any

PREFIX = "midas_"
NO_VALUE = float("nan")
"""Ray takes a series whose value is this from what it serves."""
EXPORT_EVERY_S = 5.0
"""Ray itself hands values on every 10 s."""

Definitions = Mapping[str, tuple[str, tuple[str, ...]]]
"""Description and tags, by name."""


def served(gauges: Definitions, counters: Definitions | None = None) -> dict[str, frozenset[str]]:
    """Names under which Prometheus finds them, with their tags."""
    found = {f"ray_{PREFIX}{name}": frozenset(tags) for name, (_, tags) in gauges.items()}
    return found | {f"ray_{PREFIX}{name}_total": frozenset(tags) for name, (_, tags) in (counters or {}).items()}


class Metrics:
    """The series of this process. Make it where Ray is connected: elsewhere nobody would serve them."""

    def __init__(self, gauges: Definitions, counters: Definitions | None = None) -> None:
        from ray.util.metrics import Counter, Gauge

        self._tags = {name: tags for table in (gauges, counters or {}) for name, (_, tags) in table.items()}
        self._metrics: dict[str, Any] = {
            name: kind(PREFIX + name, description=text, tag_keys=tags)
            for kind, table in ((Gauge, gauges), (Counter, counters or {}))
            for name, (text, tags) in table.items()
        }
        self._shown: set[tuple[str, tuple[str, ...]]] = set()

    def set(self, name: str, value: float | None, *tags: str) -> None:
        """What a gauge is now. tags: values, in the order of the definition. None: not known, so that nothing is
        served."""
        self._metrics[name].set(NO_VALUE if value is None else float(value), tags=self._named(name, tags))
        self._shown.add((name, tags))

    def add(self, name: str, more: float, *tags: str) -> None:
        """What came to a counter since the last time."""
        if more > 0:
            self._metrics[name].inc(float(more), tags=self._named(name, tags))

    def forget(self, *first: str) -> None:
        """Serve no gauge any more whose tags begin with these: the last values would be shown for ever."""
        for name, tags in [shown for shown in self._shown if shown[1][: len(first)] == first]:
            self._metrics[name].set(NO_VALUE, tags=self._named(name, tags))
            self._shown.discard((name, tags))

    def _named(self, name: str, tags: tuple[str, ...]) -> dict[str, str]:
        return dict(zip(self._tags[name], tags, strict=True))
