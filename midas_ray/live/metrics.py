"""Live features as metrics of Ray, where their process has joined one."""

import time
from collections.abc import Iterable

from midas_ray.capture.health import LatencyMeter
from midas_ray.live.publication import Publication
from midas_ray.metrics import EXPORT_EVERY_S, Metrics

_SYMBOL = ("symbol",)
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "live_bucket_end_s": ("end of the newest published bucket, seconds since 1970", _SYMBOL),
    "live_bucket_s": ("length of a bucket", _SYMBOL),
    "live_delay_ms": ("from a bucket's close to its publication, last 1000 buckets", ("symbol", "quantile")),
    "live_coverage": ("share of the newest bucket with a live book, 0 to 1", _SYMBOL),
}
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "live_buckets": ("buckets published, by what closed them", ("symbol", "closed_by")),
    "live_revisions": ("buckets published again, as something came later", _SYMBOL),
}


class LiveMetrics:
    """The series of a process that makes live features. Make it where Ray is connected."""

    def __init__(self, bucket_ms: int) -> None:
        self._bucket_s = bucket_ms / 1000
        self._metrics = Metrics(GAUGES, COUNTERS)
        self._delays: dict[str, LatencyMeter] = {}
        self._newest: dict[str, Publication] = {}
        self._exported_s = 0.0

    def took(self, publications: Iterable[Publication]) -> None:
        """Count what was published; call it each round, also with nothing."""
        for each in publications:
            if each.revised:
                self._metrics.add("live_revisions", 1, each.symbol)
                continue
            self._metrics.add("live_buckets", 1, each.symbol, each.closed_by)
            newest = self._newest.get(each.symbol)
            if newest is None or each.ts_us >= newest.ts_us:
                self._newest[each.symbol] = each
            if each.closed_by in ("streams", "clock"):  # the others were not made in time, nor meant to be
                self._delays.setdefault(each.symbol, LatencyMeter()).add(1000 * each.latency_s)
        now_s = time.monotonic()
        if now_s - self._exported_s >= EXPORT_EVERY_S:
            self._exported_s = now_s
            self._export()

    def _export(self) -> None:
        for symbol, newest in self._newest.items():
            self._metrics.set("live_bucket_end_s", newest.ts_us / 1e6, symbol)
            self._metrics.set("live_bucket_s", self._bucket_s, symbol)
            self._metrics.set("live_coverage", newest.coverage, symbol)
        for symbol, delays in self._delays.items():
            export_quantiles(self._metrics, "live_delay_ms", delays, symbol)


def export_quantiles(metrics: Metrics, name: str, meter: LatencyMeter, *tags: str) -> None:
    """Set the gauge `name`, whose last tag is the quantile, to what the meter has."""
    found = meter.quantiles_ms()
    if found is not None:
        metrics.set(name, found[0], *tags, "0.5")
        metrics.set(name, found[1], *tags, "0.99")
