"""A command's own Ray is for this machine alone, also where the machine has a route to other networks."""

import ipaddress
import os
from typing import Any

import pytest

from midas_ray.ray_session import _loopback_alone


def test_it_listens_on_loopback_alone(ray_local: None) -> None:
    import ray
    import psutil  # type: ignore[import-untyped]  # isort: skip

    @ray.remote
    def worker() -> int:
        return os.getpid()

    ray.get(worker.remote())
    own = psutil.Process()
    found = _listening([own, *own.children(recursive=True)])
    assert len(found) > 3
    assert [each for each in found if not _is_loopback(each)] == []


def test_the_setting_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import ray_constants

    name = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
    monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    with _loopback_alone():
        assert (ray_constants.ENABLE_RAY_CLUSTER, os.environ[name]) == (False, "0")
    assert ray_constants.ENABLE_RAY_CLUSTER
    assert name not in os.environ


@pytest.mark.parametrize(("text", "expected"), [("::ffff:127.0.0.1", True), ("::", False), ("0.0.0.0", False)])
def test_what_counts_as_loopback(text: str, expected: bool) -> None:
    assert _is_loopback(text) is expected


def _listening(processes: list[Any]) -> list[str]:
    return [
        each.laddr.ip
        for process in processes
        for each in process.net_connections(kind="tcp")
        if each.status == "LISTEN"
    ]


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
