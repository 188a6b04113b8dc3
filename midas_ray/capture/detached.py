"""Collector actors on a Ray cluster: start, find, ask, stop. For `midas up`, jobs and the demonstration."""

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray

from midas_ray.capture import limits_actor
from midas_ray.capture.actor import CollectorActor
from midas_ray.capture.desired import publish_plan, write_plan
from midas_ray.capture.groups import NAME_PREFIX, Plan, actor_name, name_tag
from midas_ray.capture.head import HeadError
from midas_ray.capture.health import Health
from midas_ray.capture.status_table import DONE, healths_of
from midas_ray.errors import StorageError, VenueError

NAMESPACE = "midas"
ANSWER_S = 10.0
"""How long a collector may take to answer a query."""
LIVE_WAIT_S = 30.0
"""How long to wait for the books to be live before saying what is the matter."""
LIVE_WAIT_SYMBOL_S = 1.0
"""So much longer for each symbol: the exchange limits how many snapshots and connections a minute has."""
FAILED_WAIT_S = 5.0
"""How long a failure may last before it is taken for one."""
STOP_S = 60.0
STOPPED_TOGETHER = 8
"""Collectors that are stopped at a time: sealing costs each a second or two."""
CPU_SHARE = 0.02
"""What a collector is scheduled as: 50 of them, 1,000 quiet symbols, fit a core; busy ones are spread by SPREAD."""


def start_group(root: Path, group: str, store: str | None = None) -> Any:
    """The handle of the group's collector: the one that runs, or a new one. store: as of `CollectorActor`."""
    return (
        ray.remote(CollectorActor)
        .options(
            name=actor_name(root, group),
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=CPU_SHARE,
            scheduling_strategy="SPREAD",
            max_restarts=-1,
            max_task_retries=-1,
            runtime_env={"env_vars": {"RAY_worker_niceness": "0"}},
        )
        .remote(group, str(root), store)
    )


def find_collectors(root: Path | None = None) -> dict[str, Any]:
    """Handles by actor name of the collectors that are alive or restarting: of a data folder, or all of the cluster."""
    names = [
        entry["name"]
        for entry in ray.util.list_named_actors(all_namespaces=True)
        if entry["namespace"] == NAMESPACE and entry["name"].startswith(NAME_PREFIX)
    ]
    found = {}
    for name in sorted(names):
        if root is None or name.endswith(name_tag(root)):
            with contextlib.suppress(ValueError):  # it has ended in the meantime
                found[name] = ray.get_actor(name, namespace=NAMESPACE)
    return found


def running_groups(root: Path, plan: Plan) -> set[str]:
    """Names of the plan's groups whose collector is alive or restarting."""
    found = find_collectors(root)
    return {group for group in plan.groups if actor_name(root, group) in found}


def apply_plan(root: Path, plan: Plan, store: str | None = None) -> dict[str, Any]:
    """Make the cluster collect what the plan says; gives the handle of each group's collector.

    Collectors that run take symbols on and let them go without a restart; those of no group are stopped. store: as of
    `CollectorActor`.
    """
    write_plan(root, plan)
    publish_plan(root, plan)
    before = find_collectors(root)
    handles = {group: start_group(root, group, store) for group in plan.groups}
    names = {actor_name(root, group) for group in handles}
    syncing = [handle.sync.remote() for group, handle in handles.items() if actor_name(root, group) in before]
    for name in before.keys() - names:
        stop_collector(before[name], "no longer wanted")
    try:
        ray.get(syncing, timeout=STOP_S)
    except (ray.exceptions.RayError, TimeoutError) as error:
        reason = str(error).splitlines()[-1] if str(error) else type(error).__name__
        raise HeadError(f"a collector does not take its symbols on ({reason}); see midas status, midas logs") from None
    return handles


def stop_collector(actor: Any, reason: str) -> list[str]:
    """Stop a collector and end its actor; gives the files it sealed.

    Raises GetTimeoutError where no answer came, StorageError where not all that it had received could be written.
    """
    files: list[str] = ray.get(actor.stop.remote(reason), timeout=STOP_S)
    lost: str | None = ray.get(actor.lost.remote(), timeout=STOP_S)
    with contextlib.suppress(ray.exceptions.RayActorError):  # the actor ends within the call
        # Without retries: Ray would say on the terminal that it retries the call that ended the actor.
        ray.get(actor.exit.options(max_task_retries=0).remote(), timeout=STOP_S)
    if lost is not None:
        raise StorageError(lost)
    return files


def stop_collectors(actors: dict[str, Any], reason: str, tell: Callable[[str], None]) -> int:
    """Stop these collectors, telling what became of each; gives how many did not answer, or could not write all."""

    def stop(actor: Any) -> tuple[bool, str]:
        try:
            files = stop_collector(actor, reason)
        except (ray.exceptions.RayError, TimeoutError) as error:
            return False, f"the collector does not answer ({type(error).__name__})"
        except StorageError as error:
            return False, f"stopped; {error}"
        return True, f"stopped, {len(files)} files sealed in its last run"

    failed = 0
    with ThreadPoolExecutor(STOPPED_TOGETHER) as threads:
        for name, (stopped, outcome) in zip(actors, threads.map(stop, actors.values()), strict=True):
            tell(f"{name}: {outcome}")
            failed += not stopped
    return failed


def end_limits() -> None:
    """End the actor that keeps the exchange's limits, where no collector of the cluster needs it."""
    if find_collectors():
        return
    with contextlib.suppress(ValueError):  # there is none
        ray.kill(ray.get_actor(limits_actor.NAME, namespace=limits_actor.NAMESPACE))


def cluster_healths(root: Path, plan: Plan) -> list[Health]:
    """Health of every symbol of the plan, asked through Ray, and of what other data folders collect on this cluster."""
    actors = find_collectors()
    asked = {name: actor.healths.remote() for name, actor in actors.items()}
    if asked:
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S)
    answers: dict[str, list[Health] | None] = {}
    for name, reference in asked.items():
        try:
            answers[name] = ray.get(reference, timeout=0.1)
        except (ray.exceptions.RayError, TimeoutError):
            answers[name] = None
    return healths_of(root, plan, answers)


def wait_until_live(root: Path, plan: Plan, symbols: set[str]) -> list[Health]:
    """Health of these symbols once all are live. Raises VenueError where one is not in time; it goes on trying."""
    began_s = time.monotonic()
    patience_s = LIVE_WAIT_S + LIVE_WAIT_SYMBOL_S * len(symbols)
    failed_s: dict[str, float] = {}
    while True:
        healths = [health for health in cluster_healths(root, plan) if health.symbol in symbols]
        late = [health for health in healths if health.state not in DONE]
        if not late:
            return healths
        now_s = time.monotonic()
        failed_s = {h.symbol: failed_s.get(h.symbol, now_s) for h in late if h.state == "failed"}
        if now_s - began_s > patience_s or any(now_s - since_s > FAILED_WAIT_S for since_s in failed_s.values()):
            told = "; ".join(dict.fromkeys(_lateness(health, late) for health in late))
            raise VenueError(
                f"not live after {now_s - began_s:.0f} s: {told}; it goes on trying: midas status, midas down"
            )
        time.sleep(0.3)


def _lateness(health: Health, late: list[Health]) -> str:
    """Symbols of the same state and error in one go."""
    same = [other.symbol for other in late if (other.state, other.error) == (health.state, health.error)]
    line = f"{', '.join(same)} {health.state}"
    return line if health.error is None else f"{line}: {health.error}"
