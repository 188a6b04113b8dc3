"""Money on a real head: the metrics are served and true, jobs have their cost, the key is in its two files alone."""

from collections.abc import Callable
from typing import Any

import pytest

from midas_ray.cloud.money_metrics import COUNTERS, GAUGES
from tests.cluster import money_scenarios as scenarios

Outer = Callable[..., Any]


def test_a_head_tells_what_is_rented_and_what_it_cost(outer: Outer) -> None:
    found = outer(scenarios.head, timeout_s=400)
    rented, costs = found["rented"], found["costs"]
    assert set(GAUGES) | {f"{name}_total" for name in COUNTERS} <= set(rented)
    assert (rented["vast_nodes"], rented["vast_nodes_cap"], rented["vast_dollars_per_day_cap"]) == (1, 1, 7.5)
    assert 0 < rented["vast_dollars_per_hour"] <= 0.9
    assert 0 < rented["vast_dollars_today"] < 0.1
    assert rented["vast_api_age_s"] < 8
    assert found["silent"]["vast_api_age_s"] > 8
    assert found["silent"]["vast_poll_age_s"] < found["silent"]["vast_api_age_s"]

    (running,) = costs["running"]
    assert running["cluster"] is not None
    assert found["live"] == 1
    (job,) = costs["jobs"]
    assert job["status"] == "SUCCEEDED"
    assert 0 < job["dollars"] < costs["ever"]
    assert job["dollars"] + costs["idle"] == pytest.approx(costs["ever"], rel=1e-6)
    assert found["key in files"] == [
        f".midas/clusters/{running['cluster']}/vast_api_key",  # the laptop's, which is the head here
        ".midas/vast_api_key",
    ]
    assert found["key in command lines"] == []
