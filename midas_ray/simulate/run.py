"""`midas simulate`: serve the simulated exchange, or write raw history with --history."""

import asyncio
import contextlib
import signal
import ssl
from datetime import UTC, datetime

from midas_ray import console
from midas_ray.errors import UsageError
from midas_ray.settings import Simulate
from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.simulate.faults import parse_faults
from midas_ray.simulate.history import write_history
from midas_ray.simulate.server import load_certificate
from midas_ray.simulate.symbol_history import HOUR_NS


def parse_listen(listen: str) -> tuple[str, int]:
    """(host, port) of `127.0.0.1:8900`. Raises UsageError."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--listen: expected ADDRESS:PORT such as 127.0.0.1:8900, found {listen!r}")
    return host, int(port)


def parse_start_ns(start: str) -> int:
    """Nanoseconds since the epoch of an ISO 8601 time; UTC where it names no zone. Raises UsageError."""
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        raise UsageError(f"--start: expected a UTC time such as 2026-01-05T00:00:00Z, found {start!r}") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment.year < 2000:
        raise UsageError(f"--start: expected a time from 2000 on, found {start!r}")
    return round(moment.timestamp() * 1e6) * 1000


async def _serve(settings: Simulate, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    faults = None
    if settings.faults is not None:
        faults = parse_faults(settings.faults, settings.symbols, settings.duration)
    exchange = SimulatedExchange(
        settings.symbols,
        settings.seed,
        settings.venue,
        host,
        port,
        keep_referee=False,
        lifetime_s=settings.connection_lifetime,
        ssl_context=_tls(settings),
        faults=faults,
        truth=settings.truth,
    )
    async with exchange:
        console.out.print(f"listening on {exchange.url}")
        console.out.file.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.duration):
                await exchange.serve_until(stop)
    if faults is not None:
        console.out.print(f"faults carried out: {_counts(exchange.fault_log.count())}")


def _tls(settings: Simulate) -> ssl.SSLContext | None:
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise UsageError("--tls-cert, --tls-key: expected both, found one")
    return load_certificate(settings.tls_cert, settings.tls_key)


def _counts(by_kind: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in sorted(by_kind.items())) or "none"


def _write(settings: Simulate, duration_s: float) -> None:
    start_ns = parse_start_ns(settings.start)
    hours = (start_ns + int(duration_s * 1e9) - 1) // HOUR_NS - start_ns // HOUR_NS + 1
    with console.progress_bar() as bar:
        tasks = {symbol: bar.add_task(f"{symbol}: hours", total=hours) for symbol in settings.symbols}
        summary = write_history(
            settings.data_dir,
            settings.venue,
            settings.symbols,
            settings.seed,
            start_ns,
            duration_s,
            compression_level=settings.compression_level,
            max_bytes=settings.journal_max_mb * 2**20,
            on_hour=lambda symbol: bar.advance(tasks[symbol]),
            spool_dir=settings.spool_dir,
        )
    console.out.print(f"{', '.join(settings.symbols)}: {duration_s / 3600:g} h of history: {summary}")


def simulate(settings: Simulate) -> int:
    """Run `midas simulate`; gives the exit code. Raises UsageError, StorageError."""
    if not settings.symbols:
        raise UsageError("--symbols: expected at least one symbol such as btcusdt")
    if settings.history is not None:
        _write(settings, settings.history)
        return 0
    host, port = parse_listen(settings.listen)
    asyncio.run(_serve(settings, host, port))
    return 0
