"""A load of depth and trade frames for speed benchmarks: as many as asked for, cheap enough to come from one core.

    python -m midas_ray.simulate.load --symbols 20 --depth-hz 10 --levels 100 --trades 2000 --listen 127.0.0.1:0

Messages are put together from texts made beforehand; ids, times and chains (U, u, pu, trade ids) are right, every frame
is valid JSON, and REST depth answers with the book at the last event sent. Streams: `<symbol>@depth@100ms` and
`<symbol>@trade` of futures; others are acked and silent. GET /load says what was sent, and sets `depth_hz`, `trades`.
"""

import argparse
import asyncio
import contextlib
import signal
import ssl
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from aiohttp import web

from midas_ray.simulate.connection import Connection
from midas_ray.simulate.load_market import LoadMarket
from midas_ray.simulate.rest import RestApi
from midas_ray.simulate.run import parse_listen
from midas_ray.simulate.server import listen, load_certificate
from midas_ray.simulate.sockets import Sockets
from midas_ray.venues import get_venue

TICK_S = 0.005
"""How often due frames are sent: what falls due in between leaves in one write."""
MOST_BACKLOG_BYTES = 64 * 2**20
"""Bytes a client may be behind before the exchange hangs up on it."""


def text_frame(payload: bytes) -> bytes:
    """A whole WebSocket text message of a server (RFC 6455: not masked)."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x81, size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x81, 126, size)
    else:
        head = struct.pack("!BBQ", 0x81, 127, size)
    return head + payload


class LoadExchange:
    """Serves `symbols` at set rates on `host`:`port` (0 = any free one); with ssl_context over TLS.

    depth_hz: depth events of each symbol a second, with `levels` level changes each. trades_per_s: of all symbols
    together. Both may be changed at any time.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        *,
        depth_hz: float = 10.0,
        levels: int = 100,
        trades_per_s: float = 2000.0,
        seed: int = 0,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.depth_hz, self.trades_per_s = depth_hz, trades_per_s
        self.depth_sent = self.trades_sent = self.bytes_written = self.hung_up = 0
        self.latest_tick_s = 0.0
        self._venue = get_venue("binance-futures")
        self._markets = [
            LoadMarket(symbol, levels, np.random.default_rng([seed, index])) for index, symbol in enumerate(symbols)
        ]
        self._rest = RestApi(self._venue, {market.symbol: market for market in self._markets}, lambda: 0.0)
        self._sockets = Sockets(self._venue, lambda: time.time_ns() // 10**6)
        self._host, self._port, self._ssl_context = host, port, ssl_context
        self._runner: web.AppRunner | None = None
        self._pacer: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL of REST and WebSocket."""
        return f"{'http' if self._ssl_context is None else 'https'}://{self._host}:{self._port}"

    async def __aenter__(self) -> "LoadExchange":
        application = web.Application()
        self._sockets.add_routes(application)
        for path in self._rest.paths:
            application.router.add_get(path, self._get)
        application.router.add_get("/load", self._load)
        self._runner, self._port = await listen(application, self._host, self._port, self._ssl_context)
        self._pacer = asyncio.create_task(self._pace())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is None or self._pacer is None:
            return
        self._pacer.cancel()
        await self._sockets.close()
        await self._runner.cleanup()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pacer

    async def _pace(self) -> None:
        depth_due = trades_due = 0.0
        depth_at = trade_at = 0
        before_s = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = time.monotonic()
            self.latest_tick_s = max(self.latest_tick_s, now_s - before_s - TICK_S)
            depth_due += (now_s - before_s) * self.depth_hz * len(self._markets)
            trades_due += (now_s - before_s) * self.trades_per_s
            before_s = now_s
            now_ms = time.time_ns() // 10**6
            frames: list[tuple[str, bytes]] = []
            for _ in range(int(depth_due)):
                market = self._markets[depth_at % len(self._markets)]
                frames.append((market.depth_name, text_frame(market.next_depth(now_ms))))
                depth_at += 1
            for _ in range(int(trades_due)):
                market = self._markets[trade_at % len(self._markets)]
                frames.append((market.trade_name, text_frame(market.next_trade(now_ms))))
                trade_at += 1
            self.depth_sent, self.trades_sent = depth_at, trade_at
            depth_due %= 1.0
            trades_due %= 1.0
            self._write(frames)

    def _write(self, frames: list[tuple[str, bytes]]) -> None:
        for connection in list(self._sockets.connections):
            names = connection.subscriptions.names
            if connection.route != "public" or not names or connection.closing:
                continue
            batch = b"".join([frame for name, frame in frames if name in names])
            if batch:
                connection.write(batch)
                self.bytes_written += len(batch)
            if connection.backlog_bytes > MOST_BACKLOG_BYTES:
                self.hung_up += 1
                connection.abort()

    async def _get(self, request: web.Request) -> web.Response:
        answer = self._rest.answer(request.path, request.query, time.time_ns() // 10**6)
        return web.Response(
            text=answer.body, status=answer.status, headers=answer.headers, content_type="application/json"
        )

    async def _load(self, request: web.Request) -> web.Response:
        try:
            self.depth_hz = float(request.query.get("depth_hz", self.depth_hz))
            self.trades_per_s = float(request.query.get("trades", self.trades_per_s))
        except ValueError:
            return web.json_response({"error": "depth_hz, trades: expected numbers"}, status=400)
        return web.json_response(self.state())

    def state(self) -> dict[str, Any]:
        """What was sent so far: last ids by symbol, counts, backlog of each connection, the latest tick."""
        return {
            "depth_hz": self.depth_hz,
            "trades_per_s": self.trades_per_s,
            "depth_sent": self.depth_sent,
            "trades_sent": self.trades_sent,
            "bytes_written": self.bytes_written,
            "hung_up": self.hung_up,
            "latest_tick_ms": round(self.latest_tick_s * 1000, 2),
            "backlog_bytes": [connection.backlog_bytes for connection in self._by_number()],
            "last_ids": {market.symbol: [market.last_id, market.trade_id] for market in self._markets},
        }

    def _by_number(self) -> list[Connection]:
        return sorted(self._sockets.connections, key=lambda connection: connection.number)


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, port = parse_listen(arguments.listen)
    context = None if arguments.tls_cert is None else load_certificate(arguments.tls_cert, arguments.tls_key)
    exchange = LoadExchange(
        [f"load{index:02d}usdt" for index in range(arguments.symbols)],
        depth_hz=arguments.depth_hz,
        levels=arguments.levels,
        trades_per_s=arguments.trades,
        host=host,
        port=port,
        ssl_context=context,
    )
    async with exchange:
        print(f"listening on {exchange.url}", flush=True)  # the caller reads it
        await stop.wait()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--symbols", type=int, default=20, help="number of symbols: load00usdt, load01usdt, ... (20)")
    parser.add_argument("--depth-hz", type=float, default=10.0, help="depth events of each symbol a second (10)")
    parser.add_argument("--levels", type=int, default=100, help="level changes of each depth event (100)")
    parser.add_argument("--trades", type=float, default=2000.0, help="trades a second of all symbols together (2000)")
    parser.add_argument("--listen", default="127.0.0.1:0", help="address and port; 0 = any free one")
    parser.add_argument("--tls-cert", type=Path, help="certificate (PEM): serve https and wss")
    parser.add_argument("--tls-key", type=Path, help="its private key (PEM)")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
