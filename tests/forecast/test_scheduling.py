"""Waiting for nodes: when it is told, when it ends. What Ray and its autoscaler say is played; no Ray runs here."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import TrainingFailedError
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    RestartingState,
    RunningState,
    SchedulingState,
    ShuttingDownState,
)
from ray.train.v2.api.exceptions import ControllerError

from midas_ray.cloud import said
from midas_ray.errors import NodeError, UsageError, WorkerError
from midas_ray.forecast import nodes, scheduling
from midas_ray.forecast.board import News
from midas_ray.forecast.nodes import GpuWatch, Hindrance, Refusal, joined_text, patience_text
from midas_ray.forecast.scheduling import MOST_FAILED_STARTS, NodeNews, WaitForRoom
from midas_ray.forecast.workers import Workers

ONE_GPU = Workers(1, 1, True, 1, one_node=True, to_come=True)
SCHEDULING = SchedulingState(None)
LOST = RestartingState(TrainingFailedError("lost"))
NO_ROOM = ReschedulingState(ControllerError(WorkerGroupStartupTimeoutError(1)))
DIED = ReschedulingState(ControllerError(WorkerGroupStartupFailedError("its libc is too old")))


class Clock:
    """In the place of `time` where the waiting is."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def strftime(self, _format: str) -> str:
        return "12:00:00"


class Played:
    """The cluster's nodes (GPUs by id), what its autoscaler says, and the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.gpus = Clock(), {}
        self.refused: list[int] = []
        self.provider: dict[str, Any] = {}
        for module in (nodes, scheduling):
            monkeypatch.setattr(module, "time", self.clock)
            monkeypatch.setattr(module.ray, "nodes", self.nodes)
        monkeypatch.setattr(nodes, "autoscaler_state", self.state)
        monkeypatch.setattr(said, "status", lambda: self.provider)
        monkeypatch.setattr(nodes, "room_now", lambda: SimpleNamespace(gpus_of_largest=2))

    def nodes(self) -> list[dict[str, Any]]:
        return [{"NodeID": name, "Alive": True, "Resources": {"GPU": count}} for name, count in self.gpus.items()]

    def state(self) -> Any:
        gangs = [SimpleNamespace(requests=[SimpleNamespace(resources_bundle={"GPU": 1})] * n) for n in self.refused]
        return SimpleNamespace(infeasible_gang_resource_requests=gangs)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


class Told:
    """A board whose calls are noted."""

    def __init__(self) -> None:
        self.calls: list[tuple[float | None, bool]] = []
        self.waits = SimpleNamespace(remote=lambda since_s, no_room: self.calls.append((since_s, no_room)))


def go(wait: WaitForRoom, *states: Any) -> None:
    """The controller goes through these states, from the first on."""
    for before, after in itertools.pairwise(states):
        wait.after_controller_state_update(before, after)


def test_the_controller_gives_up_once_the_waiting_took_too_long(played: Played) -> None:
    board = Told()
    wait = WaitForRoom(board, ONE_GPU, 60.0)
    go(wait, RunningState(), LOST, SCHEDULING)
    for _ in range(6):
        played.clock.now_s += 10
        go(wait, SCHEDULING, NO_ROOM, SCHEDULING)
    assert board.calls == [(1000.0, False)] + [(1000.0, True)] * 6
    played.provider = {"problems": ["first", "no offer under 0.80 dollars an hour"]}
    played.clock.now_s += 10
    with pytest.raises(NodeError) as caught:
        go(wait, SCHEDULING, NO_ROOM)
    assert str(caught.value) == (
        "no GPU node: expected one with 1 GPU within 1m, found none; the last problem: no offer under 0.80 dollars "
        "an hour; look at ray status, wait longer with --wait-for-gpus, or train on the CPU with "
        "--gpus 0"
    )


def test_every_loss_is_waited_for_anew(played: Played) -> None:
    board = Told()
    wait = WaitForRoom(board, ONE_GPU, 60.0)
    for _ in range(5):
        go(wait, RunningState(), LOST, SCHEDULING)
        played.clock.now_s += 50
        go(wait, SCHEDULING, NO_ROOM, SCHEDULING, RunningState(), RunningState())
    assert board.calls[-1] == (None, False)
    go(wait, RunningState(), ShuttingDownState(None))


def test_no_patience_is_enough_where_there_is_room(played: Played) -> None:
    wait = WaitForRoom(Told(), ONE_GPU, 0.0)
    wait.after_controller_state_update(InitializingState(), SCHEDULING)
    played.clock.now_s += 20  # the workers start
    go(wait, SCHEDULING, RunningState(), LOST, SCHEDULING)
    played.clock.now_s += 10
    with pytest.raises(NodeError):
        go(wait, SCHEDULING, NO_ROOM)


def test_what_was_there_once_is_not_refused(played: Played) -> None:
    wait = WaitForRoom(Told(), ONE_GPU, 600.0)
    played.refused = [1]
    go(wait, SCHEDULING, NO_ROOM, SCHEDULING, RunningState(), LOST, SCHEDULING)
    for _ in range(10):
        played.clock.now_s += 10
        go(wait, SCHEDULING, NO_ROOM, SCHEDULING)
    first = WaitForRoom(Told(), ONE_GPU, 600.0)
    go(first, SCHEDULING, NO_ROOM, SCHEDULING)
    played.clock.now_s += 30
    with pytest.raises(UsageError, match="--gpus 1: expected GPUs that the cluster has or may get"):
        go(first, SCHEDULING, NO_ROOM)


def test_without_a_limit_it_waits_on(played: Played) -> None:
    wait = WaitForRoom(Told(), Workers(1, 1, False, 1), None)
    played.clock.now_s += 1e6
    go(wait, InitializingState(), SCHEDULING, NO_ROOM, SCHEDULING)


def test_workers_that_die_at_once_are_not_started_for_ever(played: Played) -> None:
    wait = WaitForRoom(Told(), ONE_GPU, 60.0)
    for _ in range(MOST_FAILED_STARTS):
        played.clock.now_s += 50  # each had room: none of it counts as waiting
        go(wait, SCHEDULING, DIED, SCHEDULING)
    with pytest.raises(WorkerError, match=r"that begin, found 6 times in a row .* said: its libc is too old"):
        go(wait, SCHEDULING, DIED)


def test_what_the_autoscaler_does_not_have_is_refused_after_a_while(played: Played) -> None:
    refusal = Refusal("--gpus", 4, one_node=True)
    played.refused = [1, 4]
    refusal.look()
    played.clock.now_s += 29
    refusal.look()
    played.refused = []  # a node was being given back
    refusal.look()
    played.refused = [4]
    played.clock.now_s += 29
    refusal.look()
    played.clock.now_s += 30
    with pytest.raises(UsageError) as caught:
        refusal.look()
    assert str(caught.value) == (
        "--gpus 4: expected GPUs that the cluster has or may get on one node, found no node type for so many (the "
        "largest node there is has 2 GPUs); lower it, or 0 for the CPU"
    )
    played.provider = {"gpus_of_largest_type": 1}
    with pytest.raises(
        UsageError, match=r"no node type for so many \(the largest node type in cluster.yaml has 1 GPU\); "
    ):
        refusal.look()


def news(without_workers_s: float | None, first_steps: int, no_room: bool = False) -> News:
    return News([], [], without_workers_s, no_room, first_steps)


def test_what_is_told_of_a_training_that_waits_twice(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    told = NodeNews(ONE_GPU, 1800.0)
    told.asked(1000.0)
    for seconds, gpus, each in (
        (40, {}, news(1000.0, 0)),
        (30, {"a": 1}, news(1000.0, 0)),
        (12, {"a": 1}, news(None, 0)),
        (3, {"a": 1}, news(None, 1)),
        (60, {"a": 1}, news(1100.0, 1)),  # the workers have died, their node is not known to be dead yet
        (10, {}, news(1100.0, 1)),
        (100, {"b": 1}, news(1100.0, 1)),
        (20, {"b": 1}, news(None, 2)),
    ):
        played.clock.now_s += seconds
        played.gpus = gpus
        told.look(each)
    assert capsys.readouterr().err.splitlines() == [
        "12:00:00 waiting for a GPU node: 1 GPU asked for; at most 30m (--wait-for-gpus)",
        "12:00:00 GPU node joined, 70 s after it was asked for",
        "12:00:00 first training step, 85 s after asking",
        "12:00:00 a worker has died; waiting for a GPU node: 1 GPU asked for; at most 30m (--wait-for-gpus)",
        "12:00:00 GPU node joined, 155 s after it was asked for",
        "12:00:00 first training step, 175 s after asking",
    ]


def test_a_rented_node_is_told_with_its_price_and_steps(played: Played) -> None:
    steps = {"asked": 100.0, "rented": 102.4, "running": 141.0, "ssh": 144.0, "ports": 144.6, "set up": 180.0}
    old = {"gpu": "RTX 3090", "price_per_hour": 0.2, "since": 1.0, "steps": {"rented": 2.0}}
    played.provider = {"nodes": [old, {"gpu": "RTX 4090", "price_per_hour": 0.35, "since": 102.4, "steps": steps}]}
    assert joined_text(82.0) == (
        "12:00:00 GPU node joined, 82 s after it was asked for: RTX 4090 at 0.350 dollars an hour (rented 2 s, running "
        "41 s, ssh 44 s, ports 45 s, set up 80 s)"
    )


def test_nothing_is_told_where_nothing_is_waited_for(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    played.gpus = {"a": 1}
    for workers in (ONE_GPU, Workers(1, 1, False, 1)):
        told = NodeNews(workers, 1800.0)
        for each in (news(1000.0, 0), news(None, 0), news(None, 1), news(1000.0, 1), news(None, 2)):
            played.clock.now_s += 30
            told.look(each)
    assert capsys.readouterr().err == ""


def test_what_keeps_a_node_from_coming_is_told_once_and_old_losses_are_not(
    played: Played, capsys: pytest.CaptureFixture[str]
) -> None:
    told = NodeNews(ONE_GPU, 1800.0)
    told.asked(1000.0)
    capsys.readouterr()
    for problems in (
        ["node 7 is let go: idle"],
        ["node 7 is let go: idle", "gpu: no offer fits"],
        ["node 7 is let go: idle", "gpu: no offer fits"],
        ["node 7 is let go: idle", "node 8 is let go: it did not start"],
    ):
        played.clock.now_s += 10
        played.provider = {"problems": problems}
        told.look(news(1000.0, 0))
    assert capsys.readouterr().err.splitlines() == [
        "12:00:00 still waiting: gpu: no offer fits",
        "12:00:00 still waiting: node 8 is let go: it did not start",
    ]


def test_that_no_offer_fits_is_told_from_the_first_look_on(played: Played) -> None:
    played.provider = {"problems": ["gpu: no offer fits"]}
    assert Hindrance().look() == "12:00:00 still waiting: gpu: no offer fits"


def test_cores_that_are_taken_are_told_too(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    NodeNews(Workers(2, 4, False, 3), 1800.0).look(news(1000.0, 0, no_room=True))
    assert capsys.readouterr().err == "12:00:00 waiting for free CPU cores: 2 workers of 3\n"


def test_work_whose_last_gpu_is_gone_ends(played: Played, capsys: pytest.CaptureFixture[str]) -> None:
    watch = GpuWatch(60.0)
    played.gpus = {"a": 1}
    watch.look()
    for gpus in ({}, {"b": 1}, {}):
        played.clock.now_s += 50
        played.gpus = gpus
        watch.look()
    played.clock.now_s += 61
    with pytest.raises(NodeError, match="expected one with 1 GPU within 1m, found none"):
        watch.look()
    waiting = "12:00:00 no node with a GPU is left; waiting for a GPU node: 1 GPU asked for; at most 1m "
    joined = "12:00:00 GPU node joined, 50 s after it was asked for"
    assert [line.partition("(")[0] for line in capsys.readouterr().err.splitlines()] == [waiting, joined, waiting]


@pytest.mark.parametrize(("seconds", "text"), [(1800, "30m"), (45, "45s"), (90, "90s"), (7200, "120m"), (0.5, "0.5s")])
def test_patience_is_told_as_it_is_asked_for(seconds: float, text: str) -> None:
    assert patience_text(seconds) == text
