"""Asked of the cluster of `machines` on its head: `python -m tests.forecast.on_head QUESTION`; answers with JSON.

no-gpu     waits until Ray knows of no node with a GPU
asked      how much the autoscaler is asked for: groups of workers, and what a controller holds on to
columns    what a task with a GPU sees of an array that lies in a mapped file on the head
"""

import json
import sys
import time
from typing import Any

import numpy as np
import ray
from ray._raylet import GcsClient
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

from midas_ray.dataset import mapped
from midas_ray.ray_session import ray_session
from midas_ray.settings import RaySettings
from tests.forecast.machines import ADDRESS


def no_gpu() -> bool:
    while any(node["Alive"] and node["Resources"].get("GPU") for node in ray.nodes()):
        time.sleep(0.2)
    return True


def asked() -> int:
    reply = GetClusterStatusReply()
    reply.ParseFromString(GcsClient(address=ADDRESS).get_cluster_status())
    state = reply.cluster_resource_state
    constraints = sum(len(each.resource_requests) for each in state.cluster_resource_constraints)
    return len(state.pending_gang_resource_requests) + constraints


def columns() -> dict[str, Any]:
    mapped.MOST_IN_MEMORY_BYTES = 1000
    array = mapped.large_array((3_000_000, 2), np.float64)
    array[:] = 2.0

    @ray.remote(num_cpus=0, num_gpus=1)
    def look(there: np.ndarray) -> dict[str, Any]:
        return {
            "node": ray.get_runtime_context().get_node_id(),
            "type": type(there).__name__,
            "copied": bool(there.flags.owndata),
            "sum": float(there.sum()),
        }

    found: dict[str, Any] = ray.get(look.remote(ray.put(array)))
    return found | {"node": "same" if found["node"] == ray.get_runtime_context().get_node_id() else "another"}


if __name__ == "__main__":
    if sys.argv[1] == "asked":
        print(asked())
    else:
        with ray_session(RaySettings(ray_address=ADDRESS)):
            print(json.dumps({"no-gpu": no_gpu, "columns": columns}[sys.argv[1]]()))
