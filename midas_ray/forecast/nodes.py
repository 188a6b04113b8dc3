"""Waiting for nodes with GPUs: asked of the autoscaler, told on standard error, and never without an end."""

import time
from collections.abc import Callable

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from midas_ray import console
from midas_ray.cloud import said
from midas_ray.errors import NodeError, UsageError
from midas_ray.forecast.room import autoscaler_state, room_now

LOOK_S = 0.5
HINDRANCE_S = 3.0
REFUSED_AFTER_S = 30.0
"""How long the autoscaler has to say that it has no such node: while one is being given back, it says so too."""
FLAG = "--wait-for-gpus"


def gpus_text(count: float) -> str:
    """`1 GPU`, `4 GPUs`."""
    return f"{count:g} GPU{'' if count == 1 else 's'}"


def patience_text(seconds: float) -> str:
    """As `--wait-for-gpus` takes it: `30m`, `45s`."""
    return f"{seconds / 60:g}m" if seconds >= 60 and not seconds % 60 else f"{seconds:g}s"


def waiting_text(count: int, patience_s: float, because: str = "") -> str:
    """What is told when the waiting begins."""
    until = f"at most {patience_text(patience_s)} ({FLAG})"
    return f"{time.strftime('%H:%M:%S')} {because}waiting for a GPU node: {gpus_text(count)} asked for; {until}"


def joined_text(seconds: float) -> str:
    """What is told when a node has come, with what its steps took where it is a rented one."""
    rented = said.newest_node()
    told = f"{time.strftime('%H:%M:%S')} GPU node joined, {seconds:.0f} s after it was asked for"
    return f"{told}: {rented}" if rented else told


def none_came(count: int, patience_s: float) -> NodeError:
    """What is raised where the waiting was in vain, with what kept the last node from coming."""
    problem = said.last_problem()
    reason = f"the last problem: {problem}; " if problem else ""
    return NodeError(
        f"no GPU node: expected one with {gpus_text(count)} within {patience_text(patience_s)}, found none; {reason}"
        f"look at ray status, wait longer with {FLAG}, or train on the CPU with --gpus 0"
    )


def ask_for_gpus(count: int, one_node: bool) -> PlacementGroup:
    """Have the autoscaler bring nodes with `count` GPUs. To be removed for whoever takes them."""
    return placement_group([{"GPU": 1}] * count, strategy="STRICT_PACK" if one_node else "PACK")


def largest_text() -> str:
    """How many GPUs a node may have: as cluster.yaml says where this cluster rents, else of what there is."""
    of_type = said.gpus_of_largest_type()
    if of_type is None:
        return f"the largest node there is has {gpus_text(room_now().gpus_of_largest)}"
    return f"the largest node type in cluster.yaml has {gpus_text(of_type)}"


class Refusal:
    """Notices that the autoscaler has no nodes for what was asked of it."""

    def __init__(self, flag: str, count: int, one_node: bool) -> None:
        """flag: what asks for so many GPUs."""
        self._flag, self._count, self._one_node = flag, count, one_node
        self._since_s: float | None = None

    def look(self) -> None:
        """Raises UsageError where it has said so for long enough."""
        if not self._said():
            self._since_s = None
            return
        now_s = time.monotonic()
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s >= REFUSED_AFTER_S:
            where = " on one node" if self._one_node else ""
            raise UsageError(
                f"{self._flag} {self._count}: expected GPUs that the cluster has or may get{where}, found no node type "
                f"for so many ({largest_text()}); lower it, or 0 for the CPU"
            )

    def _said(self) -> bool:
        state = autoscaler_state()
        gangs = [] if state is None else state.infeasible_gang_resource_requests
        return state is None or any(
            sum(each.resources_bundle.get("GPU", 0) for each in gang.requests) == self._count for gang in gangs
        )


class Hindrance:
    """Tells what keeps a node from coming while it is waited for, each thing once."""

    def __init__(self) -> None:
        self._looked_s: float | None = None
        self._before = ""

    def look(self) -> str | None:
        """A line, where there is something new. Asks Ray every few seconds only."""
        now_s = time.monotonic()
        if self._looked_s is not None and now_s - self._looked_s < HINDRANCE_S:
            return None
        first, self._looked_s = self._looked_s is None, now_s
        problem, before = said.last_problem(), self._before
        self._before = problem
        # What befell an earlier node is no news; that none can be rented is, for as long as it is so.
        if problem in ("", before) or (first and problem.startswith("node ")):
            return None
        return f"{time.strftime('%H:%M:%S')} still waiting: {problem}"


def bring_gpus(
    flag: str, count: int, one_node: bool, patience_s: float, tell: Callable[[str], None] = console.err.print
) -> None:
    """Have the autoscaler bring nodes with `count` GPUs, and return when they are free for whoever takes them next.

    flag: what asks for them. Raises UsageError where no node of the cluster could have so many, NodeError where none
    came in time.
    """
    group, refusal = ask_for_gpus(count, one_node), Refusal(flag, count, one_node)
    asked_s, hindrance = time.monotonic(), Hindrance()
    tell(waiting_text(count, patience_s))
    try:
        while not group.wait(LOOK_S):
            refusal.look()
            if line := hindrance.look():
                tell(line)
            if time.monotonic() - asked_s > patience_s:
                raise none_came(count, patience_s)
        tell(joined_text(time.monotonic() - asked_s))
    finally:
        remove_placement_group(group)


class GpuWatch:
    """Notices that no node with a GPU is left of those that work goes on on, says so, and ends the waiting in time."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._looked_s = 0.0
        self._gone_s: float | None = None

    def look(self) -> None:
        """Raises NodeError. Asks Ray at most every few seconds."""
        now_s = time.monotonic()
        if now_s - self._looked_s < 2:
            return
        self._looked_s = now_s
        if any(node["Alive"] and node["Resources"].get("GPU") for node in ray.nodes()):
            if self._gone_s is not None:
                console.err.print(joined_text(now_s - self._gone_s))
            self._gone_s = None
            return
        if self._gone_s is None:
            self._gone_s = now_s
            console.err.print(waiting_text(1, self._patience_s, "no node with a GPU is left; "))
        if now_s - self._gone_s > self._patience_s:
            raise none_came(1, self._patience_s)
