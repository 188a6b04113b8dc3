"""Ray is told which rented nodes are no more: by a control store that only writes down what it is asked."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

from midas_ray.cloud.ray_nodes import WHY, Obituaries


class Store(gcs_service_pb2_grpc.NodeInfoGcsServiceServicer):
    """nodes: (instance id, whether it is alive) by Ray's node id."""

    def __init__(self, nodes: dict[bytes, tuple[str, bool]]) -> None:
        self.nodes, self.asked, self.dead = nodes, 0, {}
        self.refuses = False

    def GetAllNodeInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        self.asked += 1
        reply = gcs_service_pb2.GetAllNodeInfoReply()
        for node_id, (instance_id, alive) in self.nodes.items():
            node = reply.node_info_list.add(node_id=node_id, instance_id=instance_id)
            node.state = node.ALIVE if alive else node.DEAD
        return reply

    def UnregisterNode(self, request: Any, context: Any) -> Any:
        if self.refuses:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the head restarts")
        self.dead[request.node_id] = request.node_death_info.reason_message
        return gcs_service_pb2.UnregisterNodeReply()


@pytest.fixture
def store() -> Iterator[tuple[Store, str]]:
    served = Store({b"h": ("head", True), b"1": ("101", True), b"2": ("102", True), b"3": ("103", False)})
    server = grpc.server(ThreadPoolExecutor(1))
    gcs_service_pb2_grpc.add_NodeInfoGcsServiceServicer_to_server(served, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield served, f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_a_node_that_was_let_go_is_dead_to_ray_and_no_other(store: tuple[Store, str]) -> None:
    served, address = store
    told = Obituaries(address)
    assert told.tell(frozenset({"101", "102"})) == []
    assert told.tell(frozenset({"102"})) == ["101"]
    assert served.dead == {b"1": WHY}


def test_nodes_of_before_a_restart_are_told_too(store: tuple[Store, str]) -> None:
    served, address = store
    assert Obituaries(address).tell(frozenset()) == ["101", "102"]
    assert set(served.dead) == {b"1", b"2"}


def test_ray_is_asked_only_when_something_has_changed(store: tuple[Store, str]) -> None:
    served, address = store
    told = Obituaries(address)
    for _ in range(5):
        told.tell(frozenset({"101", "102"}))
    assert served.asked == 1


def test_without_an_answer_it_is_tried_again(store: tuple[Store, str], caplog: pytest.LogCaptureFixture) -> None:
    served, address = store
    told = Obituaries(address)
    served.refuses = True
    assert told.tell(frozenset({"102"})) == []
    assert "the head restarts" in caplog.text
    served.refuses = False
    assert told.tell(frozenset({"102"})) == ["101"]


def test_away_from_the_autoscaler_nothing_is_told() -> None:
    assert Obituaries().tell(frozenset({"101"})) == []
