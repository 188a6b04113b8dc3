"""`midas simulate`: serve the simulated exchange, or write raw history with --history."""

import asyncio
import contextlib
import signal

from midas_ray import console
from midas_ray.errors import UsageError
from midas_ray.settings import Simulate
from midas_ray.simulate.exchange import SimulatedExchange


def parse_listen(listen: str) -> tuple[str, int]:
    """(host, port) of `127.0.0.1:8900`. Raises UsageError."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen: expected ADDRESS:PORT such as 127.0.0.1:8900, found {listen!r}")
    return host, int(port)


async def _serve(settings: Simulate, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    exchange = SimulatedExchange(settings.symbols, settings.seed, settings.venue, host, port, keep_referee=False)
    async with exchange:
        console.out.print(f"listening on {exchange.url}")
        console.out.file.flush()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), settings.duration)


def simulate(settings: Simulate) -> int:
    """Run `midas simulate`; gives the exit code. Raises UsageError for a wrong address, symbol list or start."""
    if not settings.symbols:
        raise UsageError("--symbols: expected at least one symbol such as btcusdt")
    host, port = parse_listen(settings.listen)
    asyncio.run(_serve(settings, host, port))
    return 0
