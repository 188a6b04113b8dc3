"""What the provider needs of Ray's command line: which command this is, its schema in a line, refusals, quiet logs."""

import copy
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import ray.autoscaler
from ray.autoscaler._private.cli_logger import cli_logger
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
)

from midas_ray.cloud.client import VastClient
from midas_ray.cloud.cluster_config import check_top_level
from midas_ray.cloud.fleet import prefix
from midas_ray.cloud.node_state import Node
from midas_ray.errors import UsageError

logging.getLogger("httpx").setLevel(logging.WARNING)  # else the autoscaler's log has a line a call


def unknown_node(instance: Any, cluster_id: str) -> Node:
    """An instance of this cluster that this machine does not remember."""
    kind = NODE_KIND_HEAD if instance.label.removeprefix(prefix(cluster_id)).startswith("h") else NODE_KIND_WORKER
    return Node(
        instance_id=instance.id,
        machine_id=instance.machine_id,
        slot=0,
        label=instance.label,
        tags={TAG_RAY_NODE_KIND: kind, TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE},
        node_type="",
        gpu=f"{instance.num_gpus} x {instance.gpu_name}",
        price_per_hour=instance.dph_total,
        created=instance.start_date,
    )


def schema_problem(config: dict[str, Any]) -> str | None:
    """What Ray's schema and its checks after that have against a configuration, in one line."""
    path = Path(ray.autoscaler.__file__).with_name("ray-schema.json")
    validator = jsonschema.Draft7Validator(json.loads(path.read_text()))
    found = jsonschema.exceptions.best_match(validator.iter_errors(copy.deepcopy(config)))
    if found is None:
        try:
            check_top_level(config)
        except UsageError as error:
            return str(error)
        return None
    where = ".".join(map(str, found.absolute_path)) or "top level"
    return f"cluster.yaml: {where}: {found.message.splitlines()[0][:300]}"


def least_config(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray down` needs of a configuration that Ray's schema refuses: where the cluster's head and nodes are."""
    return {
        "cluster_name": config["cluster_name"],
        "provider": config["provider"],
        "auth": config["auth"],
        "max_workers": 0,
        "head_node_type": "head",
        "available_node_types": {"head": {"resources": {}, "node_config": {}}},
        "file_mounts": {},
        "cluster_synced_files": [],
        "docker": {},
        "initialization_commands": [],
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "head_start_ray_commands": [],
        "worker_start_ray_commands": [],
    }


def ray_command() -> str:
    """Which of Ray's commands this is: up, down, exec, ...; empty in the autoscaler."""
    return sys.argv[1] if len(sys.argv) > 1 and Path(sys.argv[0]).name == "ray" else ""


def ask_account(api_key: str, vast_url: str) -> None:
    """Raises VastError where the key is refused or the API does not answer."""
    with VastClient(api_key, vast_url) as client:
        client.account()


def warn(line: str) -> None:
    cli_logger.warning("{}", line)


class _NoRepeats(logging.Filter):
    """Ray warns each second of two empty fields that it puts into every external configuration itself.

    On the head. `ray up` and `ray down` warn of them before they load this: see README.md.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("Dropping the empty legacy field")


logging.getLogger("ray.autoscaler._private.util").addFilter(_NoRepeats())
os.environ.setdefault("RAY_UP_enable_autoscaler_v2", "1")  # its default; set, `ray up` does not speak of it


def refuse(line: str) -> NoReturn:
    """End the command with one line and exit code 1. SystemExit: Ray turns exceptions into warnings here and there."""
    cli_logger.error("{}", line)
    sys.exit(1)
