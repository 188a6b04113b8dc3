"""Scenarios in namespaces of their own; where those are not to be had the tests skip and say why."""

from collections.abc import Callable
from typing import Any

import pytest

from midas_ray.cloud.fake.outer import available
from tests.cluster.outer import inside


@pytest.fixture(scope="session")
def outer() -> Callable[..., Any]:
    """`outer(scenario, *arguments, timeout_s=...)` gives the scenario's result."""
    reason = available()
    if reason is not None:
        pytest.skip(reason)
    return inside
