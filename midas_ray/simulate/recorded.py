"""A recorded venue: a real capture served as the exchange it was taken from, frame by frame in its order.

    async with RecordedExchange([path], "binance-futures", connections=2) as exchange:
        ...                              # a collector with --exchange-url exchange.url
        await exchange.wait_finished()

It begins once every symbol's depth stream has been subscribed by `connections` connections. Each frame of a stream
goes, byte for byte, to all that subscribed it. The capture's REST snapshot is the answer to the first who asks for one:
the frames wait for the request at the place where the capture has it, REQUEST_WAIT_S at most. What the capture lacks
(exchangeInfo, time) is made up.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import msgspec
from aiohttp import web

from midas_ray.errors import DataError
from midas_ray.importers.entries import LINES
from midas_ray.importers.journals import captures
from midas_ray.importers.merge import merged
from midas_ray.importers.survey import Frame, survey_file
from midas_ray.simulate.rest import error_body
from midas_ray.simulate.server import listen
from midas_ray.simulate.sockets import Sockets
from midas_ray.venues import get_venue
from midas_ray.venues.base import open_frame
from midas_ray.venues.messages import DepthSnapshot

FRAMES_AT_ONCE = 256
"""Frames sent before all clients must have taken what they were sent."""
DRAIN_S = 0.001
REQUEST_WAIT_S = 5.0
"""How long the frames wait for a client to ask for the snapshot that comes next; it is kept for whoever asks later."""
TAKEN_S = 0.05
"""Pause after a snapshot was answered, so that the client has it before the frames that followed it."""


class RecordedExchange:
    """Serves captures in lines of `<timestamp> <combined frame>` (FORMAT `lines` of the importer), plain or in gzip.

    speed: 1 = as fast as recorded, None = as fast as the clients take it, without loss. first_s: only so many seconds.
    Raises DataError, CorruptFileError where the files are no such captures; entering, UsageError for the address.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        venue: str = "binance-futures",
        *,
        connections: int = 1,
        speed: float | None = None,
        first_s: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._venue = get_venue(venue)
        self._files = [survey_file(path, LINES, self._venue) for path in paths]
        self._captures = captures(self._files)
        self._started_ns = min(file.first_ns for file in self._files)
        self._connections, self._speed, self._first_s = connections, speed, first_s
        self._host, self._port, self._ssl_context = host, port, ssl_context
        self._clock_ms = self._started_ns // 10**6
        self._sockets = Sockets(self._venue, lambda: self._clock_ms)
        self._decimals = {symbol: (8, 8) for symbol in self._captures}
        self._look_ahead()
        self._waiting: dict[str, asyncio.Queue[asyncio.Future[bytes]]] = {
            symbol: asyncio.Queue() for symbol in self._captures
        }
        self._snapshots_left = {symbol: capture.snapshots for symbol, capture in self._captures.items()}
        self._unasked: dict[str, bytes] = {}
        self.finished = asyncio.Event()
        self.frames_sent = 0
        self._runner: web.AppRunner | None = None
        self._player: asyncio.Task[None] | None = None

    @property
    def symbols(self) -> list[str]:
        """The symbols of the captures."""
        return list(self._captures)

    @property
    def url(self) -> str:
        """Base URL of REST and WebSocket."""
        return f"{'http' if self._ssl_context is None else 'https'}://{self._host}:{self._port}"

    async def __aenter__(self) -> "RecordedExchange":
        application = web.Application()
        self._sockets.add_routes(application)
        application.router.add_get(self._venue.depth_path, self._depth)
        application.router.add_get(self._venue.exchange_info_path, self._exchange_info)
        application.router.add_get(self._venue.time_path, self._time)
        self._runner, self._port = await listen(application, self._host, self._port, self._ssl_context)
        self._player = asyncio.create_task(self._play())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is None or self._player is None:
            return
        self._player.cancel()
        await self._sockets.close()
        await self._runner.cleanup()
        with contextlib.suppress(asyncio.CancelledError):
            await self._player

    async def wait_finished(self) -> None:
        """Until the last frame has been taken; raises what stopped the capture from being read."""
        if self._player is None:
            raise RuntimeError("the exchange has not been started: use `async with`")
        await asyncio.shield(self._player)

    async def _play(self) -> None:
        while not self._is_attended():
            await asyncio.sleep(0.01)
        began_s = time.monotonic()
        for index, frame in self._frames():
            if self._speed is not None:
                due_s = began_s + (frame.recv_ns - self._started_ns) / 1e9 / self._speed
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            if frame.entry.kind == "rest":
                await self._drained()
                await self._give_snapshot(index, frame)
            else:
                self._send(frame)
                if self.frames_sent % FRAMES_AT_ONCE == 0:
                    await self._drained()
        await self._drained()
        self.finished.set()

    def _frames(self) -> Iterator[tuple[int, Frame]]:
        last_ns = None if self._first_s is None else self._started_ns + int(self._first_s * 1e9)
        for index, frame in merged(self._files, LINES):
            if last_ns is not None and frame.recv_ns > last_ns:
                return
            yield index, frame

    def _look_ahead(self) -> None:
        """Find each symbol's decimals in its first snapshot. Raises DataError where frames do not name their stream."""
        unseen = {symbol for symbol, capture in self._captures.items() if capture.snapshots}
        for index, frame in self._frames():
            payload = frame.entry.payload
            if frame.address is not None and open_frame(payload)[0] is None:
                raise DataError(
                    f'{self._files[index].path}: expected combined frames, {{"stream":...,"data":...}}, '
                    f"found {payload[:80].decode(errors='replace')}"
                )
            if frame.entry.kind == "rest" and self._owner(index) in unseen:
                px, qty = msgspec.json.decode(payload, type=DepthSnapshot).bids[0]
                self._decimals[self._owner(index)] = (len(px.partition(".")[2]), len(qty.partition(".")[2]))
                unseen.discard(self._owner(index))
            if not unseen:
                return

    def _owner(self, index: int) -> str:
        """Whose the snapshots of a file are."""
        return next(symbol for symbol, capture in self._captures.items() if index in capture.owned)

    def _is_attended(self) -> bool:
        names = [set(connection.subscriptions.names) for connection in self._sockets.connections]
        return all(
            sum(any(name.startswith(f"{symbol}@depth") for name in each) for each in names) >= self._connections
            for symbol in self._captures
        )

    def _send(self, frame: Frame) -> None:
        payload = frame.entry.payload
        name, message = open_frame(payload)
        if name is None:
            return  # an ack
        text, plain = payload.decode(), bytes(message).decode()
        for connection in self._sockets.connections:
            if name in connection.subscriptions.names:
                connection.say(text if connection.subscriptions.combined else plain)
        self.frames_sent += 1
        self._clock_ms = frame.recv_ns // 10**6

    async def _drained(self) -> None:
        """Until every client has taken all that it was sent."""
        while any(each.queue.qsize() or each.backlog_bytes for each in self._sockets.connections):
            await asyncio.sleep(DRAIN_S)

    async def _give_snapshot(self, index: int, frame: Frame) -> None:
        symbol = self._owner(index)
        body = frame.entry.payload
        try:
            async with asyncio.timeout(REQUEST_WAIT_S):
                request = await self._waiting[symbol].get()
                while request.done():
                    request = await self._waiting[symbol].get()
        except TimeoutError:
            self._unasked[symbol] = body
            return
        finally:
            self._snapshots_left[symbol] -= 1
        request.set_result(body)
        await asyncio.sleep(TAKEN_S)

    async def _depth(self, request: web.Request) -> web.Response:
        symbol = request.query.get("symbol", "").lower()
        if symbol not in self._captures:
            return _json(error_body(-1121, "Invalid symbol.").encode(), 400)
        if symbol in self._unasked:
            return _json(self._unasked.pop(symbol))
        if not self._snapshots_left[symbol]:
            return _json(error_body(-1001, "The capture holds no further snapshot.").encode(), 503)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[symbol].put_nowait(answer)
        return _json(await answer)

    async def _time(self, _: web.Request) -> web.Response:
        return _json(msgspec.json.encode({"serverTime": self._clock_ms}))

    async def _exchange_info(self, _: web.Request) -> web.Response:
        limit = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        body = {
            "rateLimits": [limit | {"limit": self._venue.weight_per_minute}],
            "symbols": [self._symbol_info(symbol) for symbol in self._captures],
        }
        return _json(msgspec.json.encode(body))

    def _symbol_info(self, symbol: str) -> dict[str, object]:
        px_decimals, sz_decimals = self._decimals[symbol]
        return {
            "symbol": symbol.upper(),
            "status": "TRADING",
            "contractType": "PERPETUAL",
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": f"{10.0**-px_decimals:.{px_decimals}f}"},
                {"filterType": "LOT_SIZE", "stepSize": f"{10.0**-sz_decimals:.{sz_decimals}f}"},
            ],
        }


def _json(body: bytes, status: int = 200) -> web.Response:
    used = {"X-MBX-USED-WEIGHT-1M": "1"}
    return web.Response(body=body, status=status, headers=used, content_type="application/json")
