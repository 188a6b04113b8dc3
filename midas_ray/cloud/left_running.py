"""What `midas down` says of rented nodes, which it does not end: how many there are, and what ends them."""

import os
from pathlib import Path
from typing import Any

import yaml

from midas_ray.cloud.cluster_config import MODULE, parse_provider
from midas_ray.cloud.node_state import ROOT, StateFile
from midas_ray.errors import MidasError

BY_RAY_DOWN = "MIDAS_BY_RAY_DOWN"
"""In the environment where `ray down` runs `midas down` on the head: it destroys the nodes itself, right after."""


def rented_nodes_line(config: str) -> str:
    """config: the file that the head was started with. Empty where nothing is rented by it, or where `ray down` is at
    work; asks no API, never raises MidasError: what cannot be read is what the line says."""
    if os.environ.get(BY_RAY_DOWN):
        return ""
    path = Path(config)
    try:
        content: Any = yaml.safe_load(path.read_bytes())
        section = content["provider"]
        if section.get("module") != MODULE:
            return ""
        provider = parse_provider(section)
        if not provider.cluster_id or not (ROOT.expanduser() / provider.cluster_id).is_dir():
            return ""
        state = StateFile(provider.cluster_id).read()
    except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError, MidasError) as error:
        why = " ".join(str(error).split())
        return (
            f"rented nodes: unknown whether there are any ({path}: {type(error).__name__}: {why}); "
            "ray down cluster.yaml on the laptop destroys them"
        )
    nodes = [*state.nodes.values(), *(end.node for end in state.ending.values())]
    if not nodes:
        return ""
    price = sum(node.price_per_hour for node in nodes)
    many = "1 rented node runs" if len(nodes) == 1 else f"{len(nodes)} rented nodes run"
    return (
        f"{many} on, ${price:.2f} an hour: ray down cluster.yaml on the laptop destroys them now; left alone they "
        f"destroy themselves within {provider.dead_man_minutes:g} minutes (dead_man_minutes)"
    )
