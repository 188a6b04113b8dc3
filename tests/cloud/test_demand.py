"""What has a node of cluster.yaml rented, by Ray's own scheduler of autoscaler v2."""

from pathlib import Path

import pytest
import yaml
from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import GangResourceRequest

from midas_ray.forecast.workers import Workers

CLUSTER = yaml.safe_load((Path(__file__).parents[2] / "cluster.yaml").read_text())
AFFINITY = ResourceRequestUtil.PlacementConstraintType.AFFINITY


def rented(single: list[dict[str, float]], training: list[dict[str, float]]) -> dict[str, int]:
    """Nodes to launch by type, from none, for single tasks and the workers of a training on one node."""
    types = {
        name: NodeTypeConfig(
            name=name, min_worker_nodes=0, max_worker_nodes=each["max_workers"], resources=each["resources"]
        )
        for name, each in CLUSTER["available_node_types"].items()
    }
    together = [ResourceRequestUtil.make(each, [(AFFINITY, "group", "1")]) for each in training]
    request = SchedulingRequest(
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(each) for each in single]),
        gang_resource_requests=[GangResourceRequest(requests=together)] if training else [],
        cluster_resource_constraints=[],  # `QuietTrainer` makes none
        current_instances=[],
        node_type_configs=types,
        max_num_nodes=CLUSTER["max_workers"] + 1,
        disable_launch_config_check=True,
    )
    return {launch.instance_type: launch.count for launch in ResourceDemandScheduler().schedule(request).to_launch}


def test_tasks_that_want_cores_have_no_gpu_rented() -> None:
    assert rented([{"CPU": 1.0}] * 50, []) == {}


@pytest.mark.parametrize(("gpus", "expected"), [(1, {"gpu": 1}), (2, {})])
def test_a_training_has_one_node_rented_that_holds_it(gpus: int, expected: dict[str, int]) -> None:
    worker = Workers(gpus, gpus, True, 1, one_node=True).resources()
    assert rented([{"CPU": 1.0}] * 50, [worker] * gpus) == expected
