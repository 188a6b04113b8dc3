"""Waiting for nodes with GPUs: asked of the autoscaler, told on standard error, and never without an end."""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from midas_ray import console
from midas_ray.errors import NodeError, UsageError
from midas_ray.forecast.room import autoscaler_state, room_now

LOOK_S = 0.5
REFUSED_AFTER_S = 20.0
"""How long the autoscaler has to say that it has no such node: while one is being given back, it says so too."""
FLAG = "--wait-for-gpus"


def gpus_text(count: float) -> str:
    """`1 GPU`, `4 GPUs`."""
    return f"{count:g} GPU{'' if count == 1 else 's'}"


def patience_text(seconds: float) -> str:
    """As `--wait-for-gpus` takes it: `30m`, `45s`."""
    return f"{seconds / 60:g}m" if seconds >= 60 and not seconds % 60 else f"{seconds:g}s"


def waiting_text(count: int, patience_s: float) -> str:
    """What is told when the waiting begins."""
    until = f"at most {patience_text(patience_s)} ({FLAG})"
    return f"{time.strftime('%H:%M:%S')} waiting for a GPU node: {gpus_text(count)} asked for; {until}"


def joined_text(seconds: float) -> str:
    """What is told when a node has come."""
    return f"{time.strftime('%H:%M:%S')} GPU node joined, {seconds:.0f} s after it was asked for"


def none_came(count: int, patience_s: float) -> NodeError:
    """What is raised where the waiting was in vain, with the autoscaler's last failure."""
    state = autoscaler_state()
    failed = [] if state is None else sorted(state.failed_instance_requests, key=lambda each: each.failed_ts)
    said = " ".join(failed[-1].reason.split())[:300] if failed else ""
    reason = f"the autoscaler's last attempt failed: {said}; " if said else ""
    return NodeError(
        f"no GPU node: expected one with {gpus_text(count)} within {patience_text(patience_s)}, found none; {reason}"
        f"look at ray status, wait longer with {FLAG}, or train on the CPU with --gpus 0"
    )


def bring_gpus(
    flag: str, count: int, one_node: bool, patience_s: float, tell: Callable[[str], None] = console.err.print
) -> float:
    """Have the autoscaler bring nodes with `count` GPUs, and return when they are free for whoever takes them next.

    Gives when they were asked for (time.monotonic). flag: what asks for them. Raises UsageError where no node of the
    cluster could have so many, NodeError where none came in time.
    """
    group = placement_group([{"GPU": 1}] * count, strategy="STRICT_PACK" if one_node else "PACK")
    asked_s, told, refused_s = time.monotonic(), False, None
    try:
        while not group.wait(LOOK_S):
            now_s = time.monotonic()
            refused_s = (refused_s or now_s) if _refused(group) else None
            if refused_s is not None and now_s - refused_s > REFUSED_AFTER_S:
                where = " on one node" if one_node else ""
                raise UsageError(
                    f"{flag} {count}: expected GPUs that the cluster has or may get{where}, found no node type for so "
                    f"many (the largest node there is has {gpus_text(room_now().gpus_of_largest)}); lower it, or 0 "
                    "for the CPU"
                )
            if now_s - asked_s > patience_s:
                raise none_came(count, patience_s)
            if not told and refused_s is None:
                told = True
                tell(waiting_text(count, patience_s))
        if told:
            tell(joined_text(time.monotonic() - asked_s))
    finally:
        remove_placement_group(group)
    return asked_s


def _refused(group: Any) -> bool:
    """Whether the autoscaler says that it has nothing for the group."""
    state = autoscaler_state()
    own = group.id.hex()
    return state is None or any(own in each.details for each in state.infeasible_gang_resource_requests)


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
            console.err.print(f"no node with a GPU is left; {waiting_text(1, self._patience_s)}")
        if now_s - self._gone_s > self._patience_s:
            raise none_came(1, self._patience_s)
