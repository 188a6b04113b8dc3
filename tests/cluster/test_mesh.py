"""Ray over the head's SSH connections: three machines, nothing open between them but sshd."""

from collections.abc import Callable
from typing import Any

from midas_ray.cloud.mesh import Ports
from tests.cluster import mesh_scenarios
from tests.cluster.mesh_driver import MB


def test_three_machines_are_one_ray_by_ssh_alone_and_stay_it_through_a_silence_and_a_cut(
    outer: Callable[..., Any],
) -> None:
    found = outer(mesh_scenarios.mesh, timeout_s=400)
    nodes = [["127.0.0.1", Ports(slot).node_manager] for slot in (1, 2, 3)]
    assert found["nodes"] == nodes
    assert found["tasks"] == ["m1", "m2", "m3"]
    assert found["carried"][:2] == [32.0 * MB, "m3"]
    assert found["unsafe"] == {"m1": [], "m2": [], "m3": []}

    # Packets that are late cost nothing: the task ran once, the actor kept its count.
    assert found["after silence"] == ["m2", "1", 2]
    # A connection that is cut costs the running tasks, which Ray repeats; actors and nodes stay.
    assert found["after cut"] == ["m2", 3, ["m1", "m2", "m3"]]
    assert found["nodes at last"] == nodes
    carried, large = (megabytes / found[name][2] for name, megabytes in (("carried", 32), ("large", 128)))
    print(f"SSH with all forwards: {found['link_s']} s; worker to worker: {carried:.0f}, {large:.0f} MB/s")
