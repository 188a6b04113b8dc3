"""Metrics of what is rented: what is served, how old it is, and a port that is taken."""

import logging
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from midas_ray.cloud.mesh import HEAD_SLOT, Ports
from midas_ray.cloud.money_metrics import COUNTERS, GAUGES, PREFIX, STATES, MoneyMetrics

STATUS: dict[str, Any] = {
    "at": 1000.0, "answered_at": 990.0, "cluster_id": "midas-1", "nodes_cap": 3, "dollars_per_hour": 0.9,
    "dollars_today": 4.25, "dollars_per_day_cap": 10.0, "dollars_ever": 31.5, "rented_ever": 17,
    "nodes": [{"state": "joined"}, {"state": "joined"}, {"state": "ending"}],
}  # fmt: skip


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Clock:
    now = 1003.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def metrics(port: int) -> Iterator[MoneyMetrics]:
    made = MoneyMetrics(port, Clock())
    yield made
    made.close()


def served(port: int) -> dict[tuple[str, ...], float]:
    """Value by name and state."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels["cluster"] == "midas-1"
            state = [sample.labels["state"]] if "state" in sample.labels else []
            found[(sample.name.removeprefix(PREFIX), *state)] = sample.value
    return found


def test_all_that_is_defined_is_served_with_its_values(metrics: MoneyMetrics, port: int) -> None:
    metrics.export(STATUS)
    found = served(port)
    assert {name for name, *_ in found} == set(GAUGES) | {f"{name}_total" for name in COUNTERS}
    assert [found["vast_nodes", state] for state in STATES] == [0, 0, 0, 2, 1]
    plain = {name[0]: value for name, value in found.items() if len(name) == 1}
    assert plain == {
        "vast_nodes_cap": 3, "vast_dollars_per_hour": 0.9, "vast_dollars_today": 4.25, "vast_dollars_per_day_cap": 10,
        "vast_api_age_s": 13, "vast_poll_age_s": 3, "vast_dollars_total": 31.5, "vast_nodes_rented_total": 17,
    }  # fmt: skip


def test_ages_grow_while_nothing_is_exported(metrics: MoneyMetrics, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics.export(STATUS)
    monkeypatch.setattr(Clock, "now", 1603.0)
    assert (served(port)["vast_api_age_s",], served(port)["vast_poll_age_s",]) == (613, 603)
    metrics.export(STATUS | {"at": 1600.0, "answered_at": None})  # a head that never had an answer
    assert (served(port)["vast_api_age_s",], served(port)["vast_poll_age_s",]) == (600, 3)


def test_a_port_that_is_taken_is_said_once_and_tried_again(
    metrics: MoneyMetrics, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as other, caplog.at_level(logging.WARNING):
        other.bind(("127.0.0.1", port))
        other.listen()
        metrics.export(STATUS)
        metrics.export(STATUS)
    assert [f"port {port} for the metrics" in record.getMessage() for record in caplog.records] == [True]
    metrics.export(STATUS)
    assert served(port)["vast_nodes_cap",] == 3


def test_it_is_a_port_of_the_heads_own() -> None:
    ports = Ports(HEAD_SLOT)
    assert ports.money == 20107
    assert ports.money not in ports.reached_by_others()  # no other node, and nobody outside, gets at it
