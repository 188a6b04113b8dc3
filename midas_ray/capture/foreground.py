"""`midas collect`: capture in this process until --duration has passed, Ctrl-C or SIGTERM."""

import asyncio
import contextlib
import signal
from pathlib import Path

from rich.live import Live
from rich.text import Text

from midas_ray import console
from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.collector import Collector
from midas_ray.capture.health import Health
from midas_ray.capture.rest import RestClient
from midas_ray.capture.session import check_start, local_root
from midas_ray.errors import VenueError
from midas_ray.log import stage_logger
from midas_ray.settings import Collect
from midas_ray.venues import get_venue

REFRESH_S = 0.5
PLAIN_LINE_S = 10.0


def collect(settings: Collect) -> int:
    """Run `midas collect`; gives the exit code. Raises MidasError with one line; then nothing has been written."""
    symbols = asyncio.run(check_start(settings, settings.symbols))
    return asyncio.run(_collect(settings.model_copy(update={"symbols": symbols})))


async def _collect(settings: Collect) -> int:
    root = local_root(settings)
    async with RestClient(get_venue(settings.venue), settings.exchange_url) as rest:
        with contextlib.ExitStack() as claims:
            for symbol in settings.symbols:
                for path in claims.enter_context(claim_symbol(root, settings.venue, symbol)):
                    console.err.print(f"sealed a file that an earlier collector left open: {path}")
            collectors = [
                Collector(symbol, settings, root, rest, stage_logger(root, "collector", symbol))
                for symbol in settings.symbols
            ]
            await _run(collectors, settings.duration)
    return _summary(collectors, root)


async def _run(collectors: list[Collector], duration_s: float | None) -> None:
    """Run all until the time has passed or a signal comes; where one fails, the others end in good order."""

    def stop(reason: str) -> None:
        for collector in collectors:
            collector.stop(reason)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, signal.Signals(number).name)
    runs = [asyncio.create_task(collector.run()) for collector in collectors]
    helpers = [asyncio.create_task(_display(collectors))]
    if duration_s is not None:
        helpers.append(asyncio.create_task(_stop_after(collectors, duration_s)))
    try:
        await asyncio.wait(runs, return_when=asyncio.FIRST_COMPLETED)
        stop("another collector failed")  # changes nothing where all were told to stop
        await asyncio.gather(*runs)
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        await asyncio.gather(*runs, return_exceptions=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _stop_after(collectors: list[Collector], duration_s: float) -> None:
    """Stop all once each has captured for so long."""
    for collector in collectors:
        await collector.started.wait()
    await asyncio.sleep(duration_s)
    for collector in collectors:
        collector.stop("the duration has passed")


async def _display(collectors: list[Collector]) -> None:
    """A line per symbol, kept up to date on a terminal; elsewhere one each 10 s."""
    if not console.err.is_terminal:
        while True:
            await asyncio.sleep(PLAIN_LINE_S)
            for collector in collectors:
                console.err.print(health_line(collector.health()))
    with Live(console=console.err, auto_refresh=False, transient=True) as live:
        while True:
            lines = [health_line(collector.health()) for collector in collectors]
            live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
            await asyncio.sleep(REFRESH_S)


def health_line(health: Health) -> str:
    """One line: state, best bid and ask, frames a second, bytes."""
    bid, ask = health.best_bid, health.best_ask
    best = f"{bid[1]} @ {bid[0]} | {ask[0]} @ {ask[1]}" if bid is not None and ask is not None else "no book"
    line = (
        f"{health.symbol} {health.state} {best}  {health.frames_per_s:.1f} frames/s  {health.frames} frames  "
        f"{console.size_text(health.bytes)} received  {console.size_text(health.bytes_on_disk)} on disk"
    )
    if health.gaps or health.reconnects:
        line += f"  gaps {health.gaps}  reconnects {health.reconnects}"
    return line if health.error is None else f"{line}  ({health.error})"


def _summary(collectors: list[Collector], root: Path) -> int:
    """Print what was captured. Raises VenueError where a book was never live."""
    for collector in collectors:
        health = collector.health()
        console.out.print(
            f"{collector.symbol}: {health.frames} frames, {console.size_text(health.bytes)} received, "
            f"{health.gaps} gaps, {health.reconnects} reconnects, {health.undecodable} undecodable"
        )
        for path in collector.recorder.sealed:
            console.out.print(f"  {path.relative_to(root)}  {path.stat().st_size} bytes")
    never = [collector.symbol for collector in collectors if not collector.ever_live]
    if never:
        reasons = {health.error for collector in collectors if (health := collector.health()).error}
        raise VenueError(
            f"{', '.join(never)}: expected a live book, found none in the whole run "
            f"({'; '.join(sorted(reasons)) or 'no snapshot joined the depth stream'}); what came is kept in raw"
        )
    return 0
