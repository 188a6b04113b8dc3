"""The simulated exchange: seeded markets behind a server on this machine that speaks the venue's own protocol.

One port serves REST and WebSocket, as `--exchange-url` of the collector expects:

    async with SimulatedExchange(["btcusdt"], seed=7) as exchange:
        print(exchange.url)              # http://127.0.0.1:40213
        ...
        bids, asks = exchange.referee["btcusdt"].book(update_id)
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable
from types import TracebackType

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from midas_ray.errors import UsageError
from midas_ray.simulate.feed import FUTURES_ROUTES, PUBLIC, SPOT_ROUTES, SymbolFeed
from midas_ray.simulate.market import Market, seed_of
from midas_ray.simulate.referee import SymbolReferee
from midas_ray.simulate.rest import RestApi
from midas_ray.simulate.subscriptions import Subscriptions
from midas_ray.simulate.symbols import spec_of
from midas_ray.venues import get_venue

TICK_S = 0.01
"""How often the markets are advanced to the present."""
QUEUE_FRAMES = 20_000
"""Frames a slow client may be behind before the exchange hangs up on it."""
PINGS = {"binance-futures": (180.0, 600.0), "binance-spot": (20.0, 60.0)}
"""Seconds between server pings, and seconds without a pong after which the exchange hangs up."""
INBOUND_PER_SECOND = {"binance-futures": 10, "binance-spot": 5}
CONNECTION_LIFETIME_S = 86_400.0


class _Connection:
    """One client: its subscriptions, its route, and the frames that wait to be sent."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.WriteTransport,
        route: str,
        subscriptions: Subscriptions,
    ) -> None:
        self.socket = socket
        self._transport = transport
        self.route = route
        self.subscriptions = subscriptions
        self.queue: asyncio.Queue[str] = asyncio.Queue(QUEUE_FRAMES)
        self.last_pong_s = time.monotonic()
        self._recent_s: list[float] = []

    def offer(self, stream: str, payload: str) -> None:
        """Queue a frame; a client that is too far behind loses its connection, as on the venue."""
        self.say(f'{{"stream":"{stream}","data":{payload}}}' if self.subscriptions.combined else payload)

    def say(self, text: str) -> None:
        """Queue a text."""
        try:
            self.queue.put_nowait(text)
        except asyncio.QueueFull:
            self._transport.abort()

    def talks_too_much(self, per_second: int) -> bool:
        """Count an inbound message; true beyond the venue's limit."""
        now_s = time.monotonic()
        self._recent_s = [at_s for at_s in self._recent_s if now_s - at_s < 1.0] + [now_s]
        return len(self._recent_s) > per_second


class SimulatedExchange:
    """An exchange of `symbols` on `host`:`port` (0 = any free port), in real time from the moment it starts.

    venue: `binance-futures` or `binance-spot`. start_ms: the exchange's clock at the start (UTC; None = this
    machine's); with the same start and seed the frames are the same. keep_referee: remember the truth, in growing
    memory. level_changes: mean distinct level changes of a symbol in 100 ms. ping_interval_s, weight_limit: None = the
    venue's.
    Entering raises UsageError where the address cannot be listened on.
    """

    def __init__(
        self,
        symbols: Iterable[str],
        seed: int = 0,
        venue: str = "binance-futures",
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        start_ms: int | None = None,
        keep_referee: bool = True,
        level_changes: float = 20.0,
        ping_interval_s: float | None = None,
        weight_limit: int | None = None,
    ) -> None:
        self._venue = get_venue(venue)
        self._host, self._port = host, port
        self._start_us = time.time_ns() // 1000 if start_ms is None else start_ms * 1000
        spot = not self._venue.has_previous_id
        self._routes = SPOT_ROUTES if spot else FUTURES_ROUTES
        self._routed = not spot
        self._feeds: dict[str, SymbolFeed] = {}
        self.referee: dict[str, SymbolReferee] = {}
        for symbol in symbols:
            market = Market(spec_of(symbol), seed, self._start_us, futures=not spot, level_changes=level_changes)
            market.advance(self._start_us)  # compiles before the first client waits for it
            self._feeds[symbol] = SymbolFeed(market, self._start_us, spot=spot)
            if keep_referee:
                self.referee[symbol] = SymbolReferee(market.spec, market.snapshot(1 << 20))
        id_shares = random.Random(seed_of(seed, "rest", "id"))
        self._rest = RestApi(self._venue, self._feeds, id_shares.random, weight_limit)
        self._ping_s, self._pong_s = PINGS[venue]
        if ping_interval_s is not None:
            self._ping_s = ping_interval_s
        self._connections: set[_Connection] = set()
        self._runner: web.AppRunner | None = None
        self._pacer: asyncio.Task[None] | None = None
        self._started_s = 0.0

    @property
    def url(self) -> str:
        """Base URL of REST and WebSocket."""
        return f"http://{self._host}:{self._port}"

    def now_us(self) -> int:
        """The exchange's clock, microseconds since the epoch."""
        return self._start_us + int((time.monotonic() - self._started_s) * 1e6)

    async def __aenter__(self) -> "SimulatedExchange":
        application = web.Application()
        for prefix in ("/{route:public|market}", "") if self._routed else ("",):
            application.router.add_get(prefix + "/ws", self._socket)
            application.router.add_get(prefix + "/ws/{names:.+}", self._socket)
            application.router.add_get(prefix + "/stream", self._socket)
        for path in self._rest.paths:
            application.router.add_get(path, self._get)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            reason = (error.strerror or str(error)).lower()
            raise UsageError(
                f"--listen {self._host}:{self._port}: cannot listen there ({reason}); "
                "stop what uses it, or choose another port (0 = any free one)"
            ) from None
        self._port = self._runner.addresses[0][1]
        self._started_s = time.monotonic()
        self._pacer = asyncio.create_task(self._pace())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is None or self._pacer is None:
            return
        self._pacer.cancel()
        for connection in list(self._connections):
            await connection.socket.close(code=WSCloseCode.GOING_AWAY, message=b"server shutdown")
        await self._runner.cleanup()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pacer

    async def serve_until(self, stop: asyncio.Event) -> None:
        """Returns once `stop` is set; raises what stopped the markets, if something did."""
        if self._pacer is None:
            raise RuntimeError("the exchange has not been started: use `async with`")
        waiting = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait({waiting, self._pacer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._pacer in done:
            await self._pacer

    async def _pace(self) -> None:
        while True:
            now_us = self.now_us()
            for symbol, feed in self._feeds.items():
                self._advance(symbol, feed, now_us)
            await asyncio.sleep(TICK_S)

    def _advance(self, symbol: str, feed: SymbolFeed, until_us: int) -> None:
        """Run one market to `until_us` and hand its frames to whoever listens on the stream's route."""
        listeners: dict[str, list[_Connection]] = {}
        for stream, route in self._routes.items():
            name = f"{symbol}@{stream}"
            for connection in self._connections:
                if connection.route == route and name in connection.subscriptions.names:
                    listeners.setdefault(stream, []).append(connection)
        frames, logs = feed.advance(until_us, listeners.keys())
        for frame in frames:
            name = f"{symbol}@{frame.stream}"
            for connection in listeners[frame.stream]:
                connection.offer(name, frame.payload)
        if symbol in self.referee:
            for log in logs:
                self.referee[symbol].record(log)

    async def _get(self, request: web.Request) -> web.Response:
        now_us = self.now_us()
        for symbol, feed in self._feeds.items():
            self._advance(symbol, feed, now_us)
        answer = self._rest.answer(request.path, request.query, now_us // 1000)
        return web.Response(
            text=answer.body, status=answer.status, headers=answer.headers, content_type="application/json"
        )

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False, compress=False, timeout=1.0)
        await socket.prepare(request)
        subscriptions = Subscriptions(combined=request.path.endswith("/stream"))
        subscriptions.add(request.query.get("streams", "").split("/"))
        subscriptions.add(request.match_info.get("names", "").split("/"))
        # An unrouted connection is served as /public.
        route = request.match_info.get("route", PUBLIC if self._routed else "")
        if request.transport is None:
            return socket  # the client has gone already
        connection = _Connection(socket, request.transport, route, subscriptions)
        self._connections.add(connection)
        helpers = [asyncio.create_task(self._send(connection)), asyncio.create_task(self._keep_alive(connection))]
        try:
            async with asyncio.timeout(CONNECTION_LIFETIME_S):
                await self._receive(connection)
        except TimeoutError:
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"connection lifetime is over")
        finally:
            self._connections.discard(connection)
            for helper in helpers:
                helper.cancel()
            for ended in await asyncio.gather(*helpers, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended
        return socket

    async def _receive(self, connection: _Connection) -> None:
        message: WSMessage
        async for message in connection.socket:
            if message.type == WSMsgType.PONG:
                connection.last_pong_s = time.monotonic()
                continue
            if connection.talks_too_much(INBOUND_PER_SECOND[self._venue.name]):
                await connection.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Too many requests")
                return
            if message.type == WSMsgType.PING:
                await connection.socket.pong(message.data)
            elif message.type == WSMsgType.TEXT:
                answer = connection.subscriptions.request(message.data)
                connection.say(answer)

    async def _send(self, connection: _Connection) -> None:
        with contextlib.suppress(ConnectionError):  # the client has gone; the receiving side sees it too
            while True:
                await connection.socket.send_str(await connection.queue.get())

    async def _keep_alive(self, connection: _Connection) -> None:
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - connection.last_pong_s < self._pong_s:
                await asyncio.sleep(self._ping_s)
                await connection.socket.ping(str(self.now_us() // 1000).encode())
            await connection.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Pong timeout")
