"""Detached collectors on a Ray cluster: start, find, ask, stop. For `midas up` and for `jobs/collect.py`."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ray

from midas_ray import console
from midas_ray.capture.actor import CollectorActor
from midas_ray.capture.health import Health
from midas_ray.capture.session import check_start, local_root
from midas_ray.errors import MidasError, VenueError
from midas_ray.ray_session import ray_session
from midas_ray.settings import Collect, RaySettings, parse_settings

NAMESPACE = "midas"
NAME_PREFIX = "collector:"
ANSWER_S = 10.0
"""How long a collector may take to answer a query."""
LIVE_WAIT_S = 30.0
"""How long to wait for the books to be live before saying what is the matter."""
STOP_S = 60.0


def actor_name(symbol: str) -> str:
    """Name of a symbol's collector in the namespace `midas`."""
    return NAME_PREFIX + symbol


def start_collector(symbol: str, settings: Collect, root: Path) -> Any:
    """The handle of the symbol's collector: the one that runs, or a new one with `settings`."""
    fields = settings.model_dump() | {"symbols": (symbol,), "data_dir": str(root), "duration": None}
    return (
        ray.remote(CollectorActor)
        .options(
            name=actor_name(symbol),
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0.1,
            max_restarts=-1,
            max_task_retries=-1,
        )
        .remote(symbol, fields)
    )


def find_collector(symbol: str) -> Any | None:
    """The handle of the symbol's collector; None where there is none."""
    try:
        return ray.get_actor(actor_name(symbol), namespace=NAMESPACE)
    except ValueError:
        return None


def collector_symbols() -> list[str]:
    """Symbols whose collector is alive or restarting on this cluster."""
    names = [
        entry["name"]
        for entry in ray.util.list_named_actors(all_namespaces=True)
        if entry["namespace"] == NAMESPACE and entry["name"].startswith(NAME_PREFIX)
    ]
    return sorted(name.removeprefix(NAME_PREFIX) for name in names)


def stop_collector(actor: Any, reason: str) -> list[str]:
    """Stop a collector and end its actor; gives the files it sealed. Raises TimeoutError where it does not answer."""
    files: list[str] = ray.get(actor.stop.remote(reason), timeout=STOP_S)
    with contextlib.suppress(ray.exceptions.RayActorError):  # the actor ends within the call
        # Without retries: Ray would say on the terminal that it retries the call that ended the actor.
        ray.get(actor.exit.options(max_task_retries=0).remote(), timeout=STOP_S)
    return files


def health_of(symbol: str, actor: Any | None = None) -> Health:
    """What the symbol's collector says; state `down` where there is none, `silent` where it does not answer."""
    actor = actor or find_collector(symbol)
    if actor is None:
        return Health(symbol=symbol, state="down", pid=0, error="no collector runs; run midas up")
    try:
        health: Health = ray.get(actor.health.remote(), timeout=ANSWER_S)
    except (ray.exceptions.RayError, TimeoutError) as error:
        reason = str(error).splitlines()[0] or type(error).__name__
        return Health(symbol=symbol, state="silent", pid=0, error=f"the collector does not answer: {reason}")
    return health


def wait_until_live(handles: dict[str, Any]) -> list[Health]:
    """Health of each once all are live. Raises VenueError where one is not in time; it goes on trying."""
    deadline_s = time.monotonic() + LIVE_WAIT_S
    while True:
        healths = [health_of(symbol, actor) for symbol, actor in handles.items()]
        if all(health.state == "live" for health in healths):
            return healths
        if time.monotonic() > deadline_s:
            late = [f"{health.symbol} {health.state}: {health.error}" for health in healths if health.state != "live"]
            raise VenueError(
                f"not live after {LIVE_WAIT_S:.0f} s: {'; '.join(late)}; it goes on trying: midas status, midas down"
            )
        time.sleep(0.3)


def main(argv: list[str]) -> int:
    """`jobs/collect.py`: collectors on the cluster at RAY_ADDRESS, that go on after the job or end after --duration."""
    try:
        settings = parse_settings(Collect, "collect", argv)
        symbols = asyncio.run(check_start(settings, settings.symbols))
        with ray_session(RaySettings(ray_address=os.environ["RAY_ADDRESS"])):
            root = local_root(settings)
            handles = {symbol: start_collector(symbol, settings, root) for symbol in symbols}
            for health in wait_until_live(handles):
                console.out.print(f"{health.symbol}: collector {health.state}")
            if settings.duration is not None:
                time.sleep(settings.duration)
                _stop_all(handles.values())
    except MidasError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _stop_all(actors: Iterable[Any]) -> None:
    for actor in actors:
        for path in stop_collector(actor, "the duration has passed"):
            console.out.print(f"sealed {path}")
