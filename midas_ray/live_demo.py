"""The live part of the demonstration: a simulated exchange on loopback, a collector actor, the book as it moves."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table

from midas_ray import settings as s
from midas_ray.capture.detached import apply_plan, stop_collector
from midas_ray.capture.groups import Plan, add_symbols, shared_settings
from midas_ray.capture.health import Health, TopOfBook
from midas_ray.console import out
from midas_ray.errors import VenueError
from midas_ray.simulate.exchange import SimulatedExchange

LEVELS = 5
REFRESH_S = 0.5
PLAIN_LINE_S = 5.0
START_S = 60.0


def watch_live(root: Path, symbol: str, settings: s.Demo) -> int:
    """Collect `symbol` from a simulated exchange for `live_seconds` of a live book, showing it; gives the exit code.

    Raises VenueError where the book does not become live.
    """
    with _exchange(symbol, settings.seed) as url:
        out.print(f"    simulated exchange on {url}, collector as a Ray actor")
        collect = s.Collect.model_construct(data_dir=str(root), symbols=(symbol,), exchange_url=url)
        (actor,) = apply_plan(root, add_symbols(Plan(), [symbol], shared_settings(collect))).values()
        try:
            _wait_until_live(actor, symbol)
            _show(actor, symbol, settings.live_seconds)
        finally:
            health = _health(actor)
            files = stop_collector(actor, "the demonstration moves on")
    size = sum(Path(file).stat().st_size for file in files)
    out.print(
        f"    {health.frames:,} frames kept in {len(files)} sealed file{'s' * (len(files) != 1)}, "
        f"{size / 1e6:.1f} MB; gaps {health.gaps}: {files[0]}"
    )
    return 0


@contextlib.contextmanager
def _exchange(symbol: str, seed: int) -> Iterator[str]:
    """The exchange on a thread of this process, so that nothing is left when it ends; gives its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulated-exchange", daemon=True)
    thread.start()

    def wait_for(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    exchange = SimulatedExchange([symbol], seed, keep_referee=False)
    try:
        wait_for(exchange.__aenter__())
        try:
            yield exchange.url
        finally:
            wait_for(exchange.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _ask(method: Any, *arguments: Any) -> Any:
    import ray

    return ray.get(method.remote(*arguments), timeout=START_S)


def _health(actor: Any) -> Health:
    healths: list[Health] = _ask(actor.healths)
    return healths[0]


def _wait_until_live(actor: Any, symbol: str) -> None:
    deadline = time.monotonic() + START_S
    while (health := _health(actor)).state != "live":
        if time.monotonic() > deadline:
            reason = health.error or health.state
            raise VenueError(f"{symbol}: expected a live book within {START_S:.0f} s, found {reason}")
        time.sleep(REFRESH_S)


def _show(actor: Any, symbol: str, seconds: float) -> None:
    """The book as it moves: a table on a terminal, a line each 5 s elsewhere."""
    end = time.monotonic() + seconds
    if not out.is_terminal:
        while (left := end - time.monotonic()) > 0:
            out.print("    " + _line(_health(actor)))
            time.sleep(min(PLAIN_LINE_S, left))
        return
    with Live(console=out, auto_refresh=False, transient=True) as live:
        while (left := end - time.monotonic()) > 0:
            live.update(_book(_ask(actor.top, symbol, LEVELS), _health(actor), left), refresh=True)
            time.sleep(min(REFRESH_S, left))
    out.print("    " + _line(_health(actor)))


def _line(health: Health) -> str:
    best = "no book"
    if health.best_bid and health.best_ask:
        best = f"bid {' x '.join(health.best_bid)}, ask {' x '.join(health.best_ask)}"
    return f"{health.symbol} {health.state}: {best}; {health.frames_per_s:.0f} frames/s"


def _book(top: TopOfBook, health: Health, left_s: float) -> Table:
    table = Table(title=f"{_line(health)}; {left_s:.0f} s left", title_justify="left")
    for name in ("bid size", "bid", "ask", "ask size"):
        table.add_column(name, justify="right")
    for level in range(LEVELS):
        bid = top.bids[level] if level < len(top.bids) else ("", "")
        ask = top.asks[level] if level < len(top.asks) else ("", "")
        table.add_row(bid[1], bid[0], ask[0], ask[1])
    return table
