"""The other YAMLs of `cluster/`, on real machines: see `variants`."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster import variants


@pytest.mark.long
def test_a_whole_cluster_on_one_rented_machine(outer: Callable[..., Any]) -> None:
    result = outer(variants.one_instance, timeout_s=600)
    assert (result["up"], result["rented"]) == (0, 1)
    assert result["job"] == 0, result["said"]
    assert {"best_model.pt", "metrics.json", "predictions.parquet"} <= set(result["models"])
    assert result["keys"] == []
    assert result["again"] == 0
    assert (result["down"], result["live"], result["ever"]) == (0, 0, 1)


@pytest.mark.long
def test_machines_of_ones_own(outer: Callable[..., Any]) -> None:
    result = outer(variants.on_premises, timeout_s=600)
    assert result["job"] == 0, result["said"]
    assert (result["up"], result["down"]) == (0, 0)
