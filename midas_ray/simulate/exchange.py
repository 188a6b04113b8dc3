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
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from aiohttp import web

from midas_ray.simulate.connection import Connection
from midas_ray.simulate.faults import FaultScript
from midas_ray.simulate.faults_director import SETTLED_S
from midas_ray.simulate.faults_log import FaultLog
from midas_ray.simulate.faults_server import Faults
from midas_ray.simulate.feed import ALL_FORCED, CONTRACTS, FUTURES_ROUTES, MARKET, SPOT_ROUTES, SymbolFeed
from midas_ray.simulate.market import Market, seed_of
from midas_ray.simulate.referee import SymbolReferee
from midas_ray.simulate.rest import Answer, RestApi
from midas_ray.simulate.server import listen
from midas_ray.simulate.sockets import Sockets
from midas_ray.simulate.symbols import spec_of
from midas_ray.simulate.truth_parts import FLUSH_S, SymbolTruth, TruthFolder
from midas_ray.venues import get_venue

TICK_S = 0.01
"""How often the markets are advanced to the present."""
COIN_M_EVERY_S = 3.0
"""Mean time between COIN-M rows on the all-market stream of forced orders, which carries both kinds of contract."""
_COIN_M = (
    '{"e":"forceOrder","E":%d,"o":{"s":"BTCUSD_PERP","S":"SELL","o":"LIMIT","f":"IOC","q":"%d","p":"94000.0",'
    '"ap":"94100.0","X":"FILLED","l":"%d","z":"%d","T":%d},"ps":"BTCUSD","st":2}'
)


class SimulatedExchange:
    """An exchange of `symbols` on `host`:`port` (0 = any free port), in real time from the moment it starts.

    venue: `binance-futures` or `binance-spot`. start_ms: the exchange's clock at the start (UTC; None = this
    machine's); with the same start and seed the frames are the same. keep_referee: remember the truth, in growing
    memory. level_changes: mean distinct level changes of a symbol in 100 ms. ping_interval_s, weight_limit, lifetime_s
    (of a connection): None = the venue's. ssl_context: serve https and wss. faults: what goes wrong (`fault_log` says
    what did). fault_settled_s: how long a connection must have been sound before a fault on another leans on it.
    truth: folder for the referee's record and the log of faults.
    Entering raises UsageError where the address cannot be listened on, StorageError where `truth` cannot be written.
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
        lifetime_s: float | None = None,
        ssl_context: ssl.SSLContext | None = None,
        faults: FaultScript | None = None,
        fault_settled_s: float = SETTLED_S,
        truth: Path | None = None,
    ) -> None:
        self._venue = get_venue(venue)
        self._host, self._port, self._ssl_context = host, port, ssl_context
        self._start_us = time.time_ns() // 1000 if start_ms is None else start_ms * 1000
        spot = not self._venue.has_previous_id
        self._routes = SPOT_ROUTES if spot else FUTURES_ROUTES
        self._feeds: dict[str, SymbolFeed] = {}
        self.referee: dict[str, SymbolReferee] = {}
        self._truths: dict[str, SymbolTruth] = {}
        for symbol in symbols:
            market = Market(spec_of(symbol), seed, self._start_us, futures=not spot, level_changes=level_changes)
            market.advance(self._start_us)  # compiles before the first client waits for it
            self._feeds[symbol] = SymbolFeed(market, self._start_us, spot=spot)
            if keep_referee:
                self.referee[symbol] = SymbolReferee(market.spec, market.snapshot(1 << 20))
            if truth is not None:
                first = market.snapshot(1 << 20)
                self._truths[symbol] = SymbolTruth(venue, market.spec, first, self._start_us)
        self._truth = None if truth is None else TruthFolder(truth, self._truths)
        self.fault_log = FaultLog(None if truth is None or faults is None else truth / "faults.jsonl")
        script = FaultScript([]) if faults is None else faults
        self._faults = Faults(script, self._feeds, self.fault_log, self.carried, self._now_ms, fault_settled_s)
        id_shares = random.Random(seed_of(seed, "rest", "id"))
        self._rest = RestApi(self._venue, self._feeds, id_shares.random, weight_limit, self._faults.book)
        self._sockets = Sockets(
            self._venue,
            self._now_ms,
            ping_interval_s=ping_interval_s,
            lifetime_s=lifetime_s,
            admit=self._faults.admit,
            accepted=self._faults.accepted,
            ended=self._faults.ended,
        )
        self._coin_m = random.Random(seed_of(seed, "coin-m", "forced"))
        self._next_coin_m_s = 0.0
        self._runner: web.AppRunner | None = None
        self._pacer: asyncio.Task[None] | None = None
        self._started_s = 0.0

    @property
    def url(self) -> str:
        """Base URL of REST and WebSocket."""
        return f"{'http' if self._ssl_context is None else 'https'}://{self._host}:{self._port}"

    @property
    def faults_done(self) -> bool:
        """Whether every fault of the script has been and gone."""
        return self._faults.director.done

    @property
    def connections(self) -> list[Connection]:
        """The clients' connections, in the order of acceptance."""
        return sorted(self._sockets.connections, key=lambda connection: connection.number)

    def now_us(self) -> int:
        """The exchange's clock, microseconds since the epoch."""
        return self._start_us + int(self._now_s() * 1e6)

    def _now_s(self) -> float:
        return time.monotonic() - self._started_s

    def _now_ms(self) -> int:
        return self.now_us() // 1000

    def carried(self, connection: Connection) -> set[str]:
        """Names of the streams that a connection is sent: subscribed on their own route, of symbols that are listed."""
        return {
            name
            for name in connection.subscriptions.names
            if name.partition("@")[0] in self._feeds and self._routes.get(name.partition("@")[2]) == connection.route
        }

    async def __aenter__(self) -> "SimulatedExchange":
        application = web.Application()
        self._sockets.add_routes(application)
        for path in self._rest.paths:
            application.router.add_get(path, self._get)
        self._runner, self._port = await listen(application, self._host, self._port, self._ssl_context)
        self._started_s = time.monotonic()
        self._pacer = asyncio.create_task(self._run())
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
        if self._truth is not None:
            self._truth.write(self._truth.take())
        self.fault_log.close()

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

    async def _run(self) -> None:
        if self._truth is None:
            await self._pace()
        else:
            tasks = [asyncio.create_task(self._pace()), asyncio.create_task(self._keep_truth(self._truth))]
            try:
                await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()

    async def _pace(self) -> None:
        while True:
            self._faults.advance(self._now_s(), self._sockets.connections)
            self._rest.settling = self._faults.delisted()
            self._rest.finer = self._faults.finer()
            self._advance_all()
            self._announce()
            await asyncio.sleep(TICK_S)

    async def _keep_truth(self, truth: TruthFolder) -> None:
        while True:
            parts = truth.take()
            await asyncio.shield(asyncio.to_thread(truth.write, parts))
            await asyncio.sleep(FLUSH_S)

    def _advance_all(self) -> None:
        now_us = self.now_us()
        for symbol, feed in self._feeds.items():
            if not self._faults.stands_still(symbol):
                self._advance(symbol, feed, now_us)

    def _advance(self, symbol: str, feed: SymbolFeed, until_us: int) -> None:
        """Run one market to `until_us`; where faults want the moments of its flushes, stop at each."""
        while self._faults.wants_boundaries(symbol) and feed.market.next_step_us <= until_us:
            flush_us = feed.market.next_step_us
            self._send(symbol, feed, flush_us)
            self._faults.at_boundary(symbol)
            self._send(symbol, feed, flush_us + 1)
        self._send(symbol, feed, until_us)

    def _send(self, symbol: str, feed: SymbolFeed, until_us: int) -> None:
        """Hand a market's frames up to `until_us` to whoever listens on the stream's route."""
        listeners = self._listeners(symbol)
        frames, logs = feed.advance(until_us, listeners.keys())
        for frame in frames:
            if not self._faults.loses(symbol, frame):
                for connection, name in listeners[frame.stream]:
                    connection.offer(name, frame.payload)
                    self._faults.offered(symbol, frame, connection)
        for log in logs:
            if symbol in self.referee:
                self.referee[symbol].record(log)
            if symbol in self._truths:
                self._truths[symbol].record(log)

    def _listeners(self, symbol: str) -> dict[str, list[tuple[Connection, str]]]:
        """By the feed's name of a stream: who gets it, and under what name."""
        found: dict[str, list[tuple[Connection, str]]] = {}
        if symbol.upper() in self._rest.settling:
            return found
        for connection in self.connections:
            names = connection.subscriptions.names
            for stream, route in self._routes.items():
                name = f"{symbol}@{stream}"
                if connection.route == route and name in names:
                    found.setdefault(connection.windows.get(name, stream), []).append((connection, name))
            if connection.route == MARKET and ALL_FORCED in names:
                found.setdefault("forceOrder", []).append((connection, ALL_FORCED))
        return found

    def _announce(self) -> None:
        """What the exchange says of itself: rows of other contracts, changes of contracts."""
        now_s, now_ms = self._now_s(), self._now_ms()
        notices = [(CONTRACTS, text) for text in self._faults.take_notices()]
        if now_s >= self._next_coin_m_s:
            self._next_coin_m_s = now_s + self._coin_m.expovariate(1 / COIN_M_EVERY_S)
            lots = self._coin_m.randrange(1, 100)
            notices.append((ALL_FORCED, _COIN_M % (now_ms, lots, lots, lots, now_ms)))
        for name, text in notices:
            for connection in self.connections:
                if connection.route == MARKET and name in connection.subscriptions.names:
                    connection.offer(name, text)

    async def _get(self, request: web.Request) -> web.Response:
        refused = await self._faults.meet_request(request.path, request.query)
        answer = self._answer(request) if refused is None else refused
        await self._faults.delay_answer(request.path, request.query)
        return web.Response(
            text=answer.body, status=answer.status, headers=answer.headers, content_type="application/json"
        )

    def _answer(self, request: web.Request) -> Answer:
        self._advance_all()
        return self._rest.answer(request.path, request.query, self._now_ms() + self._faults.clock_offset_ms())
