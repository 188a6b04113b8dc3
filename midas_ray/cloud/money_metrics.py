"""What is rented and what it costs, for Prometheus: `ray_midas_vast_*` at port 20107 of the head, on loopback.

The autoscaler's process polls the account and has no agent of Ray that would serve its metrics, so that it serves these
itself; ages are told at the moment they are asked for, and grow where it hangs. Where it ends, its target is down.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from midas_ray.cloud.mesh import HEAD_SLOT, LOOPBACK, Ports

PREFIX = "ray_midas_"
STATES = ("starting", "running", "setting up", "joined", "ending")
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "vast_nodes": ("rented nodes that cost money, by state", ("cluster", "state")),
    "vast_nodes_cap": ("most nodes at once", ("cluster",)),
    "vast_dollars_per_hour": ("dollars an hour of all rented nodes now", ("cluster",)),
    "vast_dollars_today": ("dollars since 00:00 UTC", ("cluster",)),
    "vast_dollars_per_day_cap": ("dollars of a UTC day at which every node is destroyed", ("cluster",)),
    "vast_api_age_s": ("seconds since Vast.ai's API last answered", ("cluster",)),
    "vast_poll_age_s": ("seconds since the autoscaler last looked at its nodes", ("cluster",)),
}
COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "vast_dollars": ("dollars of all nodes ever rented, by the ledger", ("cluster",)),
    "vast_nodes_rented": ("nodes ever rented, by the ledger", ("cluster",)),
}
"""Served with `_total`. They go on after a restart: the ledger is their source."""

log = logging.getLogger(__name__)


class MoneyMetrics(Collector):
    """Serves what `export` was last told. port 0: none, for tests of what is collected."""

    def __init__(self, port: int = Ports(HEAD_SLOT).money, clock: Callable[[], float] = time.time) -> None:
        self._port, self._clock = port, clock
        self._began = clock()
        self._status: Mapping[str, Any] | None = None
        self._served: tuple[Any, threading.Thread] | None = None
        self._problem = ""

    def export(self, status: Mapping[str, Any]) -> None:
        """Serve this from now on: see `publication.status`. A port that is taken is said once, and tried again."""
        self._status = status
        if self._served is not None or not self._port:
            return
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._served = start_http_server(self._port, addr=LOOPBACK, registry=registry)
        except OSError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                log.warning("port %d for the metrics of what is rented: %s; again soon", self._port, error)

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        status = self._status
        if status is None:
            return
        now, cluster = self._clock(), str(status["cluster_id"])
        states = [row["state"] for row in status["nodes"]]
        answered_at = self._began if status["answered_at"] is None else status["answered_at"]
        values = {
            "vast_nodes_cap": status["nodes_cap"],
            "vast_dollars_per_hour": status["dollars_per_hour"],
            "vast_dollars_today": status["dollars_today"],
            "vast_dollars_per_day_cap": status["dollars_per_day_cap"],
            "vast_api_age_s": max(0.0, now - answered_at),
            "vast_poll_age_s": max(0.0, now - status["at"]),
            "vast_dollars": status["dollars_ever"],
            "vast_nodes_rented": status["rented_ever"],
        }
        for name, (text, tags) in GAUGES.items():
            gauge = GaugeMetricFamily(PREFIX + name, text, labels=tags)
            if "state" in tags:
                for state in STATES:
                    gauge.add_metric([cluster, state], states.count(state))
            else:
                gauge.add_metric([cluster], values[name])
            yield gauge
        for name, (text, tags) in COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + name, text, labels=tags)
            counter.add_metric([cluster], values[name])
            yield counter

    def close(self) -> None:
        """Serve nothing any more."""
        if self._served is not None:
            server, thread = self._served
            server.shutdown()
            server.server_close()
            thread.join()
            self._served = None
