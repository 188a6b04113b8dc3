"""What boards and alerts ask for is what real processes export: a head, a collector, every stage, live forecasts."""

import contextlib
import json
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

from midas_ray.capture.head import read_head, targets_path
from midas_ray.cloud.money_metrics import STATES, MoneyMetrics
from midas_ray.forecast.model_folder import LATEST, point
from midas_ray.storage import Storage
from tests.capture.running import MIDAS, PLAIN_ENVIRONMENT, serving_exchange
from tests.dashboards.asked import BY_SCRAPE, DEFINED, all_asked
from tests.dashboards.promql import Selector, groupings, selectors
from tests.dataset.synthetic import START_US, synthetic_panel, write_features
from tests.forecast.live.models import saved, untrained

SYMBOL = "btcusdt"
ONLY_WITH_A_GPU = {"ray_node_gpus_utilization", "ray_node_gram_used", "ray_node_gram_available"}
ONLY_IN_TROUBLE = {
    f"ray_midas_{name}_total"
    for name in ("gaps", "resyncs", "divergences", "undecodable", "reconnects", "silences", "dropped")
} | {f"ray_midas_{name}_total" for name in ("live_revisions", "forecasts_revised", "drift_alarms")}
"""Counters whose series begins with the first event."""
GPU_LABELS = {"ip", "SessionName", "GpuIndex", "GpuDeviceName"}
ASKED = {selector.name for asked in all_asked() for selector in selectors(asked.expr)} - {"up"}


class Scraper:
    """Reads the metrics of every port that Prometheus would read, all the time, until it is closed."""

    def __init__(self, targets: Path) -> None:
        self.labels: dict[str, set[str]] = defaultdict(set)
        self.values: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._targets, self._stop = targets, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(3.0):
            for target in json.loads(self._targets.read_text())[0]["targets"]:
                with contextlib.suppress(urllib.error.URLError, ConnectionError):  # a port that is not open yet
                    self._take(urllib.request.urlopen(f"http://{target}/metrics", timeout=30).read().decode())

    def _take(self, text: str) -> None:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.labels[sample.name] |= sample.labels.keys()
                for label, value in sample.labels.items():
                    self.values[sample.name, label].add(value)

    def take_money(self) -> None:
        """What the autoscaler of a cluster serves by itself, told of a made-up account."""
        money = MoneyMetrics(port=0)
        nodes = [{"state": state} for state in STATES]
        numbers = dict.fromkeys(("nodes_cap", "dollars_per_hour", "dollars_today", "dollars_per_day_cap"), 1.0)
        numbers |= dict.fromkeys(("at", "answered_at", "dollars_ever", "rented_ever"), 1.0)
        money.export({"cluster_id": "midas-1", "nodes": nodes, **numbers})
        registry = CollectorRegistry()
        registry.register(money)
        self._take(generate_latest(registry).decode())

    def wait_for(self, names: set[str], timeout_s: float) -> set[str]:
        """What of the names has not been seen by then."""
        end_s = time.monotonic() + timeout_s
        while names - self.labels.keys() and time.monotonic() < end_s:
            time.sleep(0.5)
        return names - self.labels.keys()

    def wait_for_value(self, name: str, label: str, value: str, timeout_s: float) -> None:
        """Until a series carries it. Raises AssertionError."""
        end_s = time.monotonic() + timeout_s
        while value not in self.values[name, label]:
            assert time.monotonic() < end_s, f"{name}: expected {label}={value}, found {self.values[name, label]}"
            time.sleep(0.5)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def midas(*arguments: str) -> None:
    run = subprocess.run(
        [MIDAS, *arguments], capture_output=True, text=True, env=PLAIN_ENVIRONMENT, timeout=600, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def head_with_collector(root: Path, url: str) -> Iterator[str]:
    """A head as a user starts it; gives its address."""
    port = str(free_port())
    try:
        midas("up", "--data-dir", str(root), "--exchange-url", url, "--symbols", SYMBOL, "--dashboard-port", port)
        head = read_head(root)
        assert head is not None
        yield head.gcs_address
    finally:
        midas("down", "--data-dir", str(root))


def train(root: Path, address: str) -> None:
    """A training of seconds, on made-up features."""
    write_features(Storage(str(root / "data")), synthetic_panel(160, (SYMBOL,)))
    small = ("--hidden-dim", "8", "--n-heads", "1", "--input-length", "10", "--output-length", "3", "--epochs", "2")
    folders = [part for name in ("data", "model", "log") for part in (f"--{name}-dir", str(root / name))]
    midas("train", *folders, *small, "--ray-address", address)


def write_model(folder: Path) -> None:
    """A model for buckets of a second, so that its forecasts are judged within the test."""
    panel = synthetic_panel(400, (SYMBOL,))
    seconds = START_US + 1_000_000 * np.arange(1, len(panel.ts_us) + 1)
    saved(untrained(replace(panel, bucket_ms=1000, ts_us=seconds)), folder / "one")
    point(folder, LATEST, "one")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraper]:
    root = tmp_path_factory.mktemp("watched")
    data = ("--data-dir", str(root))
    with serving_exchange([SYMBOL]) as url, head_with_collector(root, url) as address:
        with contextlib.closing(Scraper(targets_path(root))) as scraper:
            scraper.take_money()
            write_model(root / "models")
            midas("forecast", "--detach", *data, "--model-dir", str(root / "models"), "--symbols", SYMBOL)
            train(root / "made-up", address)
            midas("reconstruct", *data, "--ray-address", address)
            midas("features", *data, "--ray-address", address, "--time-bucket-ms", "1000")
            scraper.wait_for(ASKED - ONLY_WITH_A_GPU - ONLY_IN_TROUBLE, 90.0)
            scraper.wait_for_value("ray_midas_newest_row_s", "table", "features", 30.0)
        yield scraper


def test_all_that_is_asked_for_is_exported(exported: Scraper) -> None:
    assert ASKED - exported.labels.keys() <= ONLY_WITH_A_GPU | ONLY_IN_TROUBLE
    assert DEFINED.keys() >= ONLY_IN_TROUBLE
    assert {name.removeprefix("ray_") for name in ONLY_WITH_A_GPU} <= METRICS_GAUGES.keys()


def test_what_midas_defines_is_exported_with_its_labels(exported: Scraper) -> None:
    for name, labels in DEFINED.items():
        if name in exported.labels:
            assert labels <= exported.labels[name], name


def labels_of(exported: Scraper, name: str) -> frozenset[str]:
    if name in ONLY_WITH_A_GPU:
        return BY_SCRAPE | GPU_LABELS
    return BY_SCRAPE | exported.labels.get(name, DEFINED.get(name, frozenset()))


def test_all_labels_that_are_asked_for_are_exported(exported: Scraper) -> None:
    for asked in all_asked():
        found = selectors(asked.expr)
        for selector in found:
            assert selector.labels <= labels_of(exported, selector.name), asked
        for grouping in groupings(asked.expr):
            for name in grouping.metrics:
                assert grouping.labels <= labels_of(exported, name), asked
        assert asked.shown <= frozenset().union(*(labels_of(exported, selector.name) for selector in found)), asked


def test_the_values_that_are_asked_for_are_exported(exported: Scraper) -> None:
    for asked in all_asked():
        for selector in selectors(asked.expr):
            if selector.name in exported.labels:
                assert unseen(exported, selector) == [], asked


def unseen(exported: Scraper, selector: Selector) -> list[str]:
    """Labels of which no exported value is one that is asked for."""
    missing = []
    for matcher in selector.matchers:
        if matcher.label in BY_SCRAPE:
            continue
        seen = exported.values[selector.name, matcher.label]
        pattern = matcher.value if matcher.sign.endswith("~") else re.escape(matcher.value)
        if not matcher.sign.startswith("!") and not any(re.fullmatch(pattern, value) for value in seen):
            missing.append(f"{matcher.label}: {matcher.value}")
    return [each for each in missing if each not in ("Name: GPU", "IsHeadNode: false")]  # of other nodes
