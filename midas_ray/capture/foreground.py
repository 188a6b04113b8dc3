"""`midas collect`: capture in this process until --duration has passed, Ctrl-C or SIGTERM."""

import asyncio
import signal
import threading
from pathlib import Path

from rich.live import Live
from rich.text import Text

from midas_ray import console
from midas_ray.capture.group import Group
from midas_ray.capture.journal import DAMAGED_SUFFIX
from midas_ray.capture.rest import RestClient
from midas_ray.capture.session import check_start, local_root
from midas_ray.capture.status_table import health_line
from midas_ray.capture.upload import Uploader, seal_abandoned, start_uploader, upload_rest
from midas_ray.errors import MidasError, VenueError
from midas_ray.log import stage_logger
from midas_ray.settings import Collect
from midas_ray.storage import Storage
from midas_ray.venues import get_venue

REFRESH_S = 0.5
PLAIN_LINE_S = 10.0


def collect(settings: Collect) -> int:
    """Run `midas collect`; gives the exit code. Raises MidasError with one line; then nothing has been written."""
    symbols = asyncio.run(check_start(settings, settings.symbols))
    return asyncio.run(_collect(settings.model_copy(update={"symbols": symbols})))


async def _collect(settings: Collect) -> int:
    root, storage = local_root(settings), Storage.of(settings)
    if not storage.is_local:
        seal_abandoned(root)
    log = stage_logger(root, "collector")
    async with RestClient(get_venue(settings.venue), settings.exchange_url) as rest:
        group = Group(settings, root, rest, log)
        try:
            for symbol in settings.symbols:
                for path in await group.add(symbol):
                    console.err.print(leftover_line(path))
        except MidasError:
            for symbol in list(group.symbols):
                await group.remove(symbol, "never begun")
            raise
        uploader = start_uploader(root, storage, log)
        try:
            await _run(group, settings.duration)
        finally:
            left = 0 if uploader is None else await _upload_rest(uploader, root, storage)
    _summary(group, settings.symbols, root)
    return left


async def _upload_rest(uploader: Uploader, root: Path, storage: Storage) -> int:
    """Bring what was sealed to the store; a signal ends that with the file under way. Gives 1 where something stays."""
    loop, stopping = asyncio.get_running_loop(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    uploader.stop()
    await asyncio.to_thread(uploader.join)
    return await asyncio.to_thread(upload_rest, root, storage, lambda: not stopping.is_set())


async def _run(group: Group, duration_s: float | None) -> None:
    """Run until the time has passed, a signal comes, or it cannot go on."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, group.stop, signal.Signals(number).name)
    helpers = [asyncio.create_task(_display(group))]
    if duration_s is not None:
        helpers.append(asyncio.create_task(_stop_after(group, duration_s)))
    try:
        await group.run(alone=True)
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)  # all is sealed: a late signal is not to change the exit code


async def _stop_after(group: Group, duration_s: float) -> None:
    """Stop once it has captured for so long."""
    await group.started.wait()
    await asyncio.sleep(duration_s)
    group.stop("the duration has passed")


async def _display(group: Group) -> None:
    """A line per symbol, kept up to date on a terminal; elsewhere one each 10 s."""
    if not console.err.is_terminal:
        while True:
            await asyncio.sleep(PLAIN_LINE_S)
            for health in group.healths():
                console.err.print(health_line(health))
    with Live(console=console.err, auto_refresh=False, transient=True) as live:
        while True:
            lines = [health_line(health) for health in group.healths()]
            live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)
            await asyncio.sleep(REFRESH_S)


def leftover_line(path: Path) -> str:
    """What became of a file that an earlier collector left open."""
    if path.name.endswith(DAMAGED_SUFFIX):
        return f"could not read all of a file that an earlier collector left open; it is kept: {path}"
    return f"sealed a file that an earlier collector left open: {path}"


def _summary(group: Group, symbols: tuple[str, ...], root: Path) -> None:
    """Print what was captured. Raises VenueError where a book was never live."""
    for health in group.healths():
        console.out.print(
            f"{health.symbol}: {health.frames} frames, {console.size_text(health.bytes)} received, "
            f"{health.duplicates} from both connections, {health.gaps} gaps, {health.reconnects} reconnects, "
            f"{health.undecodable} undecodable"
        )
        for path in group.capture_of(health.symbol).recorder.sealed:
            size = f"{path.stat().st_size} bytes" if path.exists() else "uploaded"
            console.out.print(f"  {path.relative_to(root)}  {size}")
    never = [symbol for symbol in symbols if not group.capture_of(symbol).ever_live]
    if never:
        reasons = {health.error for health in group.healths() if health.error}
        raise VenueError(
            f"{', '.join(never)}: expected a live book, found none in the whole run "
            f"({'; '.join(sorted(reasons)) or 'no snapshot joined the depth stream'}); what came is kept in raw"
        )
