"""Collectors on any Ray cluster, for `jobs/collect.py`: what `midas up` does on its own head.

What imports Ray is imported late: `ray_session` sets what Ray reads when it is imported.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from midas_ray import console
from midas_ray.capture.desired import read_plan
from midas_ray.capture.groups import Plan, remove_symbols
from midas_ray.capture.head import head_lock
from midas_ray.capture.layout import check_layout
from midas_ray.capture.service import choose_symbols, prepare
from midas_ray.capture.session import local_root
from midas_ray.capture.status_table import DONE, health_line
from midas_ray.capture.upload import upload_rest
from midas_ray.errors import VenueError
from midas_ray.interrupt import held_back
from midas_ray.progress import LINE_EVERY_S
from midas_ray.ray_session import ray_session
from midas_ray.settings import Collect, RaySettings
from midas_ray.storage import Storage


def collect(settings: Collect) -> int:
    """Collect on the cluster at RAY_ADDRESS: going on after the job; with --duration taken off again after that time,
    or when the job is stopped. Gives the exit code: 1 where a symbol was not live at the end of the duration.

    Raises MidasError with one line.
    """
    root, storage = local_root(settings), Storage.of(settings)
    check_layout(root)
    asked = choose_symbols(root, settings)
    with ray_session(RaySettings(ray_address=os.environ["RAY_ADDRESS"])):
        if settings.duration is None:
            symbols: set[str] = set()
            _say_live(root, begin(root, settings, asked, storage.store_address, symbols), symbols)
            return 0
        with _taken_off_at_the_end(root, storage.store_address) as symbols:
            plan = begin(root, settings, asked, storage.store_address, symbols)
            all_live = _watch(root, plan, symbols, settings.duration)
    left = upload_rest(root, storage)
    return left if all_live else 1


def begin(root: Path, settings: Collect, asked: tuple[str, ...] | None, store: str | None, symbols: set[str]) -> Plan:
    """Start what is asked for on the cluster that this process has joined; gives what is collected now.

    symbols: gets those that were asked for, before the first is started. store: as of `CollectorActor`."""
    from midas_ray.capture.detached import apply_plan, running_groups

    with head_lock(root):
        plan, began = prepare(root, settings, asked, running_groups(root, read_plan(root)))
        symbols |= began | set(plan.symbols if asked is None else asked)
        with held_back():
            apply_plan(root, plan, store)
    return plan


def _say_live(root: Path, plan: Plan, symbols: set[str]) -> None:
    """Raises VenueError where one is not live in time."""
    from midas_ray.capture.detached import wait_until_live

    for health in wait_until_live(root, plan, symbols):
        console.out.print(f"{health.symbol}: collector {health.state}")


@contextlib.contextmanager
def _taken_off_at_the_end(root: Path, store: str | None) -> Iterator[set[str]]:
    """However the block ends, the symbols that it put into the set are not collected any more."""
    symbols: set[str] = set()
    reason = "the job ends early"
    try:
        yield symbols
        reason = "the duration has passed"
    finally:
        if symbols:
            with held_back():
                take_off(root, symbols, store)
                console.out.print(f"{reason}: {', '.join(sorted(symbols))} sealed")


def _watch(root: Path, plan: Plan, symbols: set[str], duration_s: float) -> bool:
    """Wait for so long, with a line a symbol each 10 s; gives whether all are live at the end."""
    from midas_ray.capture.detached import cluster_healths

    end_s = time.monotonic() + duration_s
    try:
        _say_live(root, plan, symbols)
    except VenueError as error:
        console.err.print(str(error), markup=False)
    while True:
        left_s = end_s - time.monotonic()
        time.sleep(max(min(left_s, LINE_EVERY_S), 0.0))
        healths = [health for health in cluster_healths(root, plan) if health.symbol in symbols]
        for health in healths:
            console.out.print(health_line(health), markup=False)
        if left_s <= LINE_EVERY_S:
            return all(health.state in DONE for health in healths)


def take_off(root: Path, symbols: set[str], store: str | None) -> None:
    """Stop collecting these; all others go on."""
    from midas_ray.capture.detached import apply_plan, end_limits

    with head_lock(root):
        apply_plan(root, remove_symbols(read_plan(root), symbols), store)
    end_limits()
