"""The other YAMLs of `cluster/`, on real machines: see `variants`."""

from collections.abc import Callable
from typing import Any

from tests.cluster import variants


def test_machines_of_ones_own(outer: Callable[..., Any]) -> None:
    result = outer(variants.on_premises, timeout_s=600)
    assert result["job"] == 0, result["said"]
    assert (result["up"], result["down"]) == (0, 0)
