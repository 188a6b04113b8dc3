"""What the head says of its rented nodes: status.json in the cluster's state folder, and the same in Ray's key store.

`midas train` reads it there by `said`, to tell what it waited for; the metrics and `midas vast cost` read the file.
"""

import os
from typing import Any

import msgspec

from midas_ray.cloud.fleet import Fleet
from midas_ray.cloud.links import Links
from midas_ray.cloud.node_state import STATUS, Node
from midas_ray.cloud.said import tell
from midas_ray.cloud.spending import spent


def publish(fleet: Fleet, links: Links, gpus_of_largest: int | None) -> dict[str, Any]:
    """Write it, and give it. See `status`. gpus_of_largest: of the node type that has most."""
    told = status(fleet, links) | {"gpus_of_largest_type": gpus_of_largest}
    said = msgspec.json.encode(told)
    path = fleet.state.folder / STATUS
    temporary = path.with_suffix(f".tmp-{os.getpid()}")
    temporary.write_bytes(said)
    temporary.replace(path)
    tell(said)
    return told


def status(fleet: Fleet, links: Links) -> dict[str, Any]:
    """Nodes with their state and steps, what was wrong last, money of the day; times are Unix seconds."""
    state, now, caps = fleet.state.read(), fleet.now(), fleet.caps
    intervals = fleet.ledger.intervals()
    nodes = [_row(node, links) for node in state.nodes.values()]
    nodes += [_row(end.node, links) | {"state": "ending", "why": end.why} for end in state.ending.values()]
    return {
        "at": now,
        "cluster_id": fleet.provider.cluster_id,
        "answered_at": fleet.answered_at,
        "nodes": nodes,
        "problems": state.problems,
        "dollars_per_hour": sum(row["price_per_hour"] for row in nodes),
        "dollars_today": fleet.ledger.spent_on_day(now),
        "dollars_ever": spent(intervals, 0.0, now),
        "rented_ever": len(intervals),
        "dollars_per_day_cap": caps.total_per_day,
        "nodes_cap": caps.nodes,
    }


def _row(node: Node, links: Links) -> dict[str, Any]:
    link = links.status(str(node.instance_id))
    return {
        "id": node.instance_id,
        "gpu": node.gpu,
        "node_type": node.node_type,
        "price_per_hour": node.price_per_hour,
        "since": node.created,
        "state": _word(node),
        "steps": node.steps,
        "link": None if link is None else link["state"],
        "connects": 0 if link is None else link["connects"],
    }


def _word(node: Node) -> str:
    if node.joined:
        return "joined"
    if node.running_since is None:
        return "starting"
    return "setting up" if node.ready else "running"
