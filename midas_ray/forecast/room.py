"""What the running Ray has for trainings now, and what its autoscaler says of what it lacks."""

from dataclasses import dataclass
from typing import Any

import ray

from midas_ray.cloud import mesh, said


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The nodes that are alive."""

    gpus: int
    gpus_of_largest: int
    """Of the node that has most."""
    cpus_beside_gpu: float
    """CPU cores a GPU, there."""
    cpus: float
    cpus_of_largest: float
    free_cpus: float
    one_node: bool
    """Whether the workers of one training have to be on one node: between nodes of the SSH mesh (`cloud.mesh`) there is
    no way for what they tell each other."""
    grows: bool
    """Whether an autoscaler may bring nodes."""
    gpus_of_largest_type: int | None
    """Of the node type of cluster.yaml that has most; None where this cluster rents nothing."""

    @property
    def gpus_for_one(self) -> int:
        """GPUs that one training may use."""
        return self.gpus_of_largest if self.one_node else self.gpus


def room_now() -> Room:
    """Ask the running Ray."""
    nodes = [node for node in ray.nodes() if node["Alive"]]
    gpus = [int(node["Resources"].get("GPU", 0)) for node in nodes]
    cpus = [float(node["Resources"].get("CPU", 0)) for node in nodes]
    most = max(gpus)
    return Room(
        gpus=sum(gpus),
        gpus_of_largest=most,
        cpus_beside_gpu=cpus[gpus.index(most)] / most if most else 0.0,
        cpus=sum(cpus),
        cpus_of_largest=max(cpus),
        free_cpus=float(ray.available_resources().get("CPU", 0)),
        one_node=any(mesh.is_node(node["NodeManagerAddress"], node["NodeManagerPort"]) for node in nodes),
        grows=autoscaler_state() is not None,
        gpus_of_largest_type=said.gpus_of_largest_type(),
    )


def autoscaler_state() -> Any | None:
    """What the autoscaler reported last (`AutoscalingState` of Ray's autoscaler.proto); None where there is none."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

    reply = GetClusterStatusReply()
    client = GcsClient(address=ray.get_runtime_context().gcs_address)
    reply.ParseFromString(client.get_cluster_status())
    state = reply.autoscaling_state
    return state if state.autoscaler_state_version else None
