"""Ray's control store, in the autoscaler's process: a node that was let go is dead to Ray at once.

Ray finds out by itself after minutes, so that a cut connection does not cost a node: see `head_start.HEALTH_MISSES`.
Until then it would put what ran on the old node on it again, instead of on the new one.
"""

import functools
import logging
from typing import Any

from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from midas_ray.cloud.autoscaler_process import told

GCS_ADDRESS = "gcs-address"
ANSWER_S = 5.0
WHY = "its instance was let go"

log = logging.getLogger(__name__)


@functools.cache
def control_store() -> Any | None:
    """Ray's client for it; None in a process that is not told where it is, as only the autoscaler's is."""
    address = told(GCS_ADDRESS)
    if address is None:
        return None
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled

    return GcsClient(address=address)


class Obituaries:
    """Tells Ray which rented nodes are no more. To be called at every turn; asks Ray only after a change."""

    def __init__(self, address: str | None = None) -> None:
        """address: the control store's; this process's own where it is left out."""
        self._address = address or told(GCS_ADDRESS)
        self._told: frozenset[str] | None = None

    def tell(self, nodes: frozenset[str]) -> list[str]:
        """nodes: ids of the instances that are up or coming up. Gives those of which Ray was told that they are dead.

        What Ray does not answer is said in the log and tried again at the next turn.
        """
        if self._address is None or nodes == self._told:
            return []
        import grpc  # type: ignore[import-untyped]

        try:
            gone = self._dead(nodes)
        except grpc.RpcError as error:
            log.warning("Ray is not told yet which nodes are gone, again soon: %s", error)
            return []
        self._told = nodes
        for instance_id in gone:
            log.info("node %s: Ray is told that it is dead", instance_id)
        return gone

    def _dead(self, nodes: frozenset[str]) -> list[str]:
        from ray._private.grpc_utils import init_grpc_channel

        assert self._address is not None
        gone = []
        with init_grpc_channel(self._address) as channel:
            store = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
            request = gcs_service_pb2.GetAllNodeInfoRequest()
            for node in store.GetAllNodeInfo(request, timeout=ANSWER_S).node_info_list:
                if node.state == node.ALIVE and node.instance_id.isdigit() and node.instance_id not in nodes:
                    store.UnregisterNode(_death(node.node_id), timeout=ANSWER_S)
                    gone.append(node.instance_id)
        return gone


def _death(node_id: bytes) -> Any:
    request = gcs_service_pb2.UnregisterNodeRequest(node_id=node_id)
    request.node_death_info.reason = type(request.node_death_info).UNEXPECTED_TERMINATION
    request.node_death_info.reason_message = WHY
    return request
