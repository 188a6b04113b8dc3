"""What the head's node provider says of its rented nodes in Ray's key store, for whoever waits for one.

Imports next to nothing, as trainings read it. `publication` makes it.
"""

import json
from typing import Any

from ray.experimental import internal_kv

from midas_ray.cloud.ray_nodes import control_store

KV_KEY = b"vast_status"
KV_NAMESPACE = b"midas"


def tell(status: bytes) -> None:
    """Write it (JSON), from the autoscaler's process; does nothing elsewhere."""
    store = control_store()
    if store is not None:
        store.internal_kv_put(KV_KEY, status, True, KV_NAMESPACE)


def status() -> dict[str, Any]:
    """As `publication.status`; empty where nothing is rented by this cluster."""
    said = internal_kv._internal_kv_get(KV_KEY, namespace=KV_NAMESPACE)
    return {} if said is None else dict(json.loads(said))


def last_problem() -> str:
    """What last kept a node from being rented or used; empty where nothing did."""
    problems = status().get("problems") or [""]
    return str(problems[-1])


def gpus_of_largest_type() -> int | None:
    """GPUs of the node type of cluster.yaml that has most; None where this cluster rents nothing."""
    found = status().get("gpus_of_largest_type")
    return None if found is None else int(found)


def newest_node() -> str:
    """The node that was rented last, and how long each step took until it was set up, from when it was asked for.

    Such as `RTX 4090 at 0.350 dollars an hour (rented 2 s, running 41 s, ssh 44 s, ports 45 s, set up 80 s)`; empty
    where there is none.
    """
    nodes = [node for node in status().get("nodes", []) if node["steps"]]
    if not nodes:
        return ""
    node = max(nodes, key=lambda each: each["since"])
    asked = node["steps"].get("asked", node["since"])
    steps = sorted((at, name) for name, at in node["steps"].items() if name != "asked")
    times = ", ".join(f"{name} {at - asked:.0f} s" for at, name in steps)
    return f"{node['gpu']} at {node['price_per_hour']:.3f} dollars an hour ({times})"
