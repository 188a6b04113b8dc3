"""`midas up`, `down`, `status`: the head node and a detached collector for each symbol."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from midas_ray import console
from midas_ray.capture import head as head_node
from midas_ray.capture.head import Head, HeadError
from midas_ray.capture.session import check_start, local_root, name_symbols
from midas_ray.capture.status_table import print_status
from midas_ray.errors import UsageError
from midas_ray.settings import Down, Status, Up


def up(settings: Up) -> int:
    """Run `midas up`; gives the exit code. Raises MidasError with one line; before anything is started where it can.

    A symbol that runs already is left as it is, with the settings it was started with.
    """
    if settings.duration is not None:
        raise UsageError("--duration: a detached collector runs until midas down; use midas collect for a time")
    root = local_root(settings)
    settings = asyncio.run(name_symbols(settings))
    head = _running_head(root)
    missing = _missing(head, settings)
    if missing or head is None:
        asyncio.run(check_start(settings, missing))
    if head_node.read_head(root) is None:  # what a crashed head left may hold the port; it is ended below
        head_node.check_port_free(settings.dashboard_port)
    with head_node.head_lock(root):
        head = _ensure_head(root, settings.dashboard_port)
        handles = _start_collectors(settings.symbols, settings, root)
        symbols = head.symbols | dict.fromkeys(settings.symbols, settings.venue)
        head_node.write_head(root, msgspec.structs.replace(head, symbols=symbols))
    from midas_ray.capture.detached import wait_until_live

    for health in wait_until_live(handles):
        began = "started" if health.symbol in missing else "runs already"
        console.out.print(f"{health.symbol}: collector {began}, {health.state}")
    console.out.print(f"dashboard {head.dashboard_url}  ray {head.gcs_address}  data {root}")
    return 0


def down(settings: Down) -> int:
    """Run `midas down`; gives the exit code. Raises HeadError where something did not end."""
    root = local_root(settings)
    head = head_node.read_head(root)
    if head is None:
        console.out.print(f"nothing runs for {root}")
        return 0
    with head_node.head_lock(root):
        if head_node.is_running(head):
            _stop_collectors(head)
        head_node.stop_head(root, head)
    console.out.print(f"stopped the head node of {root}")
    return 0


def status(settings: Status) -> int:
    """Run `midas status`; gives 0 where every symbol that `midas up` started is live."""
    root = local_root(settings)
    head = _running_head(root)
    if head is None:
        raise HeadError(f"nothing runs for {root}; start it with midas up")
    from midas_ray.capture.detached import collector_symbols, health_of

    healths = [health_of(symbol) for symbol in sorted({*head.symbols, *collector_symbols()})]
    print_status(healths, root)
    console.out.print(f"dashboard {head.dashboard_url}  ray {head.gcs_address}  data {root}")
    return 0 if healths and all(health.state == "live" for health in healths) else 1


def _running_head(root: Path) -> Head | None:
    """The head of this data folder, with this process joined to it; None where none runs."""
    head = head_node.read_head(root)
    if head is None or not head_node.is_running(head):
        return None
    head_node.connect(head)
    return head


def _missing(head: Head | None, settings: Up) -> tuple[str, ...]:
    """Symbols without a collector. Raises UsageError where one is collected from another venue."""
    if head is None:
        return settings.symbols
    for symbol in settings.symbols:
        venue = head.symbols.get(symbol, settings.venue)
        if venue != settings.venue:
            raise UsageError(
                f"--venue {settings.venue}: {symbol} of {venue} is collected already; "
                "run midas down first, or choose another --data-dir"
            )
    from midas_ray.capture.detached import collector_symbols

    running = collector_symbols()
    return tuple(symbol for symbol in settings.symbols if symbol not in running)


def _ensure_head(root: Path, dashboard_port: int) -> Head:
    """The running head, or a new one in place of what a crash or a reboot left."""
    head = head_node.read_head(root)
    if head is not None and head_node.is_running(head):
        head_node.connect(head)
        return head
    if head is not None:
        head_node.stop_head(root, head)
    head = head_node.start_head(root, dashboard_port)
    head_node.connect(head)
    return head


def _start_collectors(symbols: Iterable[str], settings: Up, root: Path) -> dict[str, Any]:
    from midas_ray.capture.detached import start_collector

    return {symbol: start_collector(symbol, settings, root) for symbol in symbols}


def _stop_collectors(head: Head) -> None:
    """Stop every collector of the head, telling what each sealed. One that does not answer ends with the head."""
    head_node.connect(head)
    import ray

    from midas_ray.capture.detached import collector_symbols, find_collector, stop_collector

    for symbol in collector_symbols():
        actor = find_collector(symbol)
        try:
            files = [] if actor is None else stop_collector(actor, "midas down")
        except (ray.exceptions.RayError, TimeoutError) as error:
            console.err.print(f"{symbol}: the collector does not answer ({type(error).__name__}); ending it")
            continue
        console.out.print(f"{symbol}: collector stopped, {len(files)} files sealed in its last run")
    ray.shutdown()
