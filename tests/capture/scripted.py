"""A tiny exchange that does exactly what a test tells it: one symbol, Binance futures' routes and REST."""

import asyncio
import json
import time
from types import TracebackType
from typing import Any

from aiohttp import web

SYMBOL = "btcusdt"


class ScriptedExchange:
    """Serves `btcusdt`. Books grow by `depth`; whatever else a test wants said goes through `say`.

    refusals: answers (status, body, headers) given to the next depth requests, before the true ones. stale: so many
    depth answers are the first book ever, at its old id. holds: depth answers of these symbols (upper case) leave once
    their event is set; they are of the book at the request. handshakes: answers (status, headers) given to the next
    WebSocket handshakes. status: the contract's. `only` in what follows: the place of one connection to /public, in the
    order of their opening.
    """

    def __init__(self) -> None:
        self.last_id = 1000
        self.bids = {"100.0": "1", "99.9": "2", "99.8": "3"}
        self.asks = {"100.1": "1", "100.2": "2", "100.3": "3"}
        self.refusals: list[tuple[int, Any, dict[str, str]]] = []
        self.stale = 0
        self.handshakes: list[tuple[int, dict[str, str]]] = []
        self.status = "TRADING"
        self.tick = "0.1"
        self.last_trade = 0
        self.holds: dict[str, asyncio.Event] = {}
        self.requests: list[str] = []
        self.connections = 0
        self.url = ""
        self._first = self._snapshot()
        self._public: list[web.WebSocketResponse] = []
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "ScriptedExchange":
        application = web.Application()
        application.router.add_get("/{route:public|market}/stream", self._socket)
        application.router.add_get("/fapi/v1/depth", self._depth)
        application.router.add_get("/fapi/v1/exchangeInfo", self._info)
        application.router.add_get("/fapi/v1/time", self._time)
        application.router.add_get("/fapi/v1/ticker/24hr", self._ticker)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self.drop()
        await self._runner.cleanup()

    @property
    def listeners(self) -> int:
        """Connections to /public."""
        return len(self._public)

    async def say(self, text: str, only: int | None = None) -> None:
        """Send a text to every connection of /public, or to one of them."""
        for socket in self._public if only is None else [self._public[only]]:
            await socket.send_str(text)

    async def depth(
        self, bids: dict[str, str], asks: dict[str, str], *, lose: bool = False, only: int | None = None
    ) -> str:
        """Change levels (`0` removes) and tell it, or lose the message on the way."""
        previous, first = self.last_id, self.last_id + 3
        self.last_id += 5
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            side.update(changes)
            for px in [px for px, size in side.items() if float(size) == 0]:
                del side[px]
        now_ms = time.time_ns() // 10**6
        data = {
            **{"e": "depthUpdate", "E": now_ms, "T": now_ms, "s": "BTCUSDT", "U": first, "u": self.last_id},
            **{"pu": previous, "b": list(bids.items()), "a": list(asks.items())},
        }
        text = json.dumps({"stream": f"{SYMBOL}@depth@100ms", "data": data}, separators=(",", ":"))
        if not lose:
            await self.say(text, only)
        return text

    async def trade(self, kind: str = "trade") -> None:
        """Say a print on /public."""
        self.last_trade += 1
        now_ms = time.time_ns() // 10**6
        data = {"e": kind, "E": now_ms, "T": now_ms, "s": "BTCUSDT", "t": self.last_trade, "p": "100.0", "q": "1"}
        data |= {"X": "MARKET", "m": False}
        await self.say(json.dumps({"stream": f"{SYMBOL}@{kind}", "data": data}, separators=(",", ":")))

    async def drop(self, only: int | None = None) -> None:
        """Cut every connection of /public without a word, or one of them."""
        for socket in list(self._public) if only is None else [self._public[only]]:
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()
            self._public.remove(socket)

    def _snapshot(self, limit: int = 1000) -> str:
        bids = sorted(self.bids.items(), key=lambda level: -float(level[0]))[:limit]
        asks = sorted(self.asks.items(), key=lambda level: float(level[0]))[:limit]
        sides = {"bids": bids, "asks": asks}
        return json.dumps({"lastUpdateId": self.last_id, **sides})

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        self.connections += 1
        if self.handshakes:
            status, headers = self.handshakes.pop(0)
            return web.Response(status=status, headers=headers)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if request.match_info["route"] == "public":
            self._public.append(socket)
        async for _message in socket:
            pass
        if socket in self._public:
            self._public.remove(socket)
        return socket

    async def _depth(self, request: web.Request) -> web.Response:
        self.requests.append(request.path_qs)
        if self.refusals:
            status, body, headers = self.refusals.pop(0)
            text = body if isinstance(body, str) else json.dumps(body)
            return web.Response(status=status, text=text, headers=headers, content_type="application/json")
        if self.stale:
            self.stale -= 1
            return web.Response(text=self._first, content_type="application/json")
        headers = {"X-MBX-USED-WEIGHT-1M": "21"}
        text = self._snapshot(int(request.query["limit"]))
        if request.query["symbol"] in self.holds:
            await self.holds[request.query["symbol"]].wait()
        return web.Response(text=text, content_type="application/json", headers=headers)

    async def _info(self, request: web.Request) -> web.Response:
        self.requests.append(request.path_qs)
        filters = [{"filterType": "PRICE_FILTER", "tickSize": self.tick}]
        limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1200}]
        symbols = [{"symbol": "BTCUSDT", "status": self.status, "filters": filters}]
        return web.json_response({"rateLimits": limits, "symbols": symbols})

    async def _ticker(self, _request: web.Request) -> web.Response:
        return web.json_response({"symbol": "BTCUSDT", "quoteVolume": "1", "lastId": self.last_trade})

    async def _time(self, _request: web.Request) -> web.Response:
        return web.json_response({"serverTime": time.time_ns() // 10**6})
