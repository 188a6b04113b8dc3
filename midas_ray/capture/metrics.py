"""What a collector counts, as metrics of Ray: one step of every counter and gauge per export, never per message.

`increments` and `levels` are pure: the health before and the health now give what to add and what to set.
`MetricsExporter` hands that to Ray, see `midas_ray.metrics`.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from midas_ray.capture.health import Health
from midas_ray.metrics import NO_VALUE, Metrics

STATES = ("live", "syncing", "gap", "starting", "connecting", "degraded", "delisted", "failed")

COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "frames": ("messages kept", ("stream",)),
    "wins": ("messages that this connection brought first", ("connection",)),
    "bytes": ("bytes of messages, as received", ()),
    "duplicates": ("messages that equal one already kept from the other connection", ()),
    "undecodable": ("messages kept that could not be decoded", ()),
    "gaps": ("gaps of the order book", ()),
    "resyncs": ("snapshots that the book was rebuilt from", ()),
    "divergences": ("snapshots that contradict the live book", ()),
    "reconnects": ("connections made again", ()),
    "silences": ("streams found silent by their watchdog", ()),
    "dropped": ("messages given up at the memory limit while the disk took nothing", ()),
}
"""Description, and tags beside collector and symbol."""

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "state": ("1 for the state the symbol is in, 0 for the others", ("state",)),
    "age_s": ("seconds since the last message", ("stream",)),
    "latency_ms": ("exchange's event time to arrival, over the last 1000 messages", ("stream", "quantile")),
    "frames_per_s": ("messages kept a second, over the last 10 s", ()),
    "connections": ("connections up that carry the symbol's depth", ()),
    "queue_depth": ("items that wait for the collector's writer", ()),
    "held_bytes": ("received, not on disk because that takes nothing", ()),
    "bytes_on_disk": ("compressed, all files of this run", ()),
    "request_weight": ("request weight used in this minute", ()),
    "spread_bps": ("spread of the live book over its mid", ()),
    "clock_offset_ms": ("the exchange's clock minus this machine's", ()),
}
_SYMBOL = ("collector", "symbol")
ALL_GAUGES = {name: (text, (*_SYMBOL, *tags)) for name, (text, tags) in GAUGES.items()} | {
    "disk_free_bytes": ("free on the disk that the collector writes to", ("collector",)),
    "disk_bytes": ("size of the disk that the collector writes to", ("collector",)),
}
ALL_COUNTERS = {name: (text, (*_SYMBOL, *tags)) for name, (text, tags) in COUNTERS.items()}
"""With all tags."""

Tags = tuple[str, ...]
"""Values of a metric's tags beside collector and symbol, in the order of its definition."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What to do to one series: add to a counter, or set a gauge."""

    name: str
    tags: Tags
    value: float


def counted(health: Health) -> Iterator[Sample]:
    """Totals since the symbol's capture began."""
    for stream, frames in health.frames_by_kind.items():
        yield Sample("frames", (stream,), frames)
    for connection, wins in health.wins.items():
        yield Sample("wins", (connection,), wins)
    for name, (_, tags) in COUNTERS.items():
        if not tags:
            yield Sample(name, (), getattr(health, name))


def increments(before: Health | None, now: Health) -> list[Sample]:
    """What to add to each counter. Totals that went back began anew, in a new run of the symbol's capture."""
    old = {} if before is None else {(sample.name, sample.tags): sample.value for sample in counted(before)}
    added = []
    for sample in counted(now):
        known = old.get((sample.name, sample.tags), 0.0)
        more = sample.value - known if sample.value >= known else sample.value
        if more > 0:
            added.append(Sample(sample.name, sample.tags, more))
    return added


def levels(health: Health) -> list[Sample]:
    """What every gauge is now; what is not known has no value."""
    values = [Sample("state", (state,), float(state == health.state)) for state in STATES]
    values += [Sample("age_s", (stream,), age_s) for stream, age_s in health.age_s.items()]
    for stream, (median, p99) in health.latency_ms.items():
        values += [Sample("latency_ms", (stream, "0.5"), median), Sample("latency_ms", (stream, "0.99"), p99)]
    plain = {
        "frames_per_s": health.frames_per_s,
        "connections": health.connected,
        "queue_depth": health.queued,
        "held_bytes": health.held_bytes,
        "bytes_on_disk": health.bytes_on_disk,
        "request_weight": health.request_weight,
        "spread_bps": health.spread_bps,
        "clock_offset_ms": health.clock_offset_ms,
    }
    return values + [Sample(name, (), NO_VALUE if value is None else value) for name, value in plain.items()]


class MetricsExporter:
    """The metrics of one collector process. Make it inside a Ray worker, where `ray.util.metrics` has its agent."""

    def __init__(self, collector: str) -> None:
        self._metrics = Metrics(ALL_GAUGES, ALL_COUNTERS)
        self._collector = collector
        self._before: dict[str, Health] = {}

    def export(self, health: Health) -> None:
        """Bring the series of one symbol up to date."""
        for sample in increments(self._before.get(health.symbol), health):
            self._metrics.add(sample.name, sample.value, self._collector, health.symbol, *sample.tags)
        for sample in levels(health):
            self._metrics.set(sample.name, sample.value, self._collector, health.symbol, *sample.tags)
        self._before[health.symbol] = health

    def export_disk(self, folder: Path) -> None:
        """Bring the series of the disk that `folder` lies on up to date; one that does not answer has none."""
        free: int | None = None
        size: int | None = None
        try:
            size, _, free = shutil.disk_usage(folder)
        finally:
            self._metrics.set("disk_free_bytes", free, self._collector)
            self._metrics.set("disk_bytes", size, self._collector)

    def forget(self, symbol: str) -> None:
        """A symbol that is not collected any more has no gauges: the last ones would be shown for ever."""
        self._before.pop(symbol, None)
        self._metrics.forget(self._collector, symbol)

    @property
    def symbols(self) -> list[str]:
        """Symbols that have series."""
        return list(self._before)
