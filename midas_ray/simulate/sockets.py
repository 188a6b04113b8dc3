"""The WebSocket side of an exchange on this machine: routes, handshakes, requests, pings, connection lifetimes."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web

from midas_ray.simulate.connection import Close, Connection
from midas_ray.simulate.feed import PUBLIC
from midas_ray.simulate.subscriptions import Subscriptions
from midas_ray.venues import Venue

PINGS = {"binance-futures": (180.0, 600.0), "binance-spot": (20.0, 60.0)}
"""Seconds between server pings, and seconds without a pong after which the exchange hangs up."""
INBOUND_PER_SECOND = {"binance-futures": 10, "binance-spot": 5}
CONNECTION_LIFETIME_S = 86_400.0


def _admit_all() -> None:
    return None


def _pass_by(_: Connection) -> None:
    return None


class Sockets:
    """The connections of a venue's clients.

    now_ms: the exchange's clock. admit: the answer to a handshake that is refused, None = come in. accepted, ended:
    told of each connection as it comes and goes.
    """

    def __init__(
        self,
        venue: Venue,
        now_ms: Callable[[], int],
        *,
        ping_interval_s: float | None = None,
        lifetime_s: float | None = None,
        admit: Callable[[], web.Response | None] = _admit_all,
        accepted: Callable[[Connection], None] = _pass_by,
        ended: Callable[[Connection], None] = _pass_by,
    ) -> None:
        self.connections: set[Connection] = set()
        self._venue = venue
        self._now_ms = now_ms
        self._ping_s, self._pong_s = PINGS[venue.name]
        if ping_interval_s is not None:
            self._ping_s = ping_interval_s
        self._lifetime_s = CONNECTION_LIFETIME_S if lifetime_s is None else lifetime_s
        self._admit, self._accepted, self._ended = admit, accepted, ended
        self._numbers = itertools.count(1)

    def add_routes(self, application: web.Application) -> None:
        """Serve the venue's WebSocket paths."""
        for prefix in ("/{route:public|market}", "") if self._venue.routed_urls else ("",):
            application.router.add_get(prefix + "/ws", self._serve)
            application.router.add_get(prefix + "/ws/{names:.+}", self._serve)
            application.router.add_get(prefix + "/stream", self._serve)

    async def close(self) -> None:
        """Say goodbye to every client."""
        for connection in list(self.connections):
            if connection.frozen:
                connection.abort()
            else:
                await connection.socket.close(code=WSCloseCode.GOING_AWAY, message=b"server shutdown")

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        refusal = self._admit()
        if refusal is not None:
            return refusal
        socket = web.WebSocketResponse(autoping=False, compress=False, timeout=1.0)
        await socket.prepare(request)
        subscriptions = Subscriptions(combined=request.path.endswith("/stream"))
        subscriptions.add(request.query.get("streams", "").split("/"))
        subscriptions.add(request.match_info.get("names", "").split("/"))
        # An unrouted connection is served as /public.
        route = request.match_info.get("route", PUBLIC if self._venue.routed_urls else "")
        if request.transport is None:
            return socket  # the client has gone already
        connection = Connection(next(self._numbers), socket, request.transport, route, subscriptions)
        self.connections.add(connection)
        self._accepted(connection)
        helpers = [asyncio.create_task(self._send(connection)), asyncio.create_task(self._keep_alive(connection))]
        try:
            async with asyncio.timeout(self._lifetime_s):
                await self._receive(connection)
        except TimeoutError:
            connection.leaving = True
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"connection lifetime is over")
        finally:
            self.connections.discard(connection)
            self._ended(connection)
            for helper in helpers:
                helper.cancel()
            for ended in await asyncio.gather(*helpers, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended
        return socket

    async def _receive(self, connection: Connection) -> None:
        message: WSMessage
        async for message in connection.socket:
            if connection.frozen:
                continue
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

    async def _send(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionError):  # the client has gone; the receiving side sees it too
            while True:
                frame = await connection.queue.get()
                if isinstance(frame, Close):
                    await connection.socket.close(code=frame.code, message=frame.reason.encode())
                    return
                if isinstance(frame, bytes):
                    await connection.socket.send_bytes(frame)
                else:
                    await connection.socket.send_str(frame)

    async def _keep_alive(self, connection: Connection) -> None:
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - connection.last_pong_s < self._pong_s:
                await asyncio.sleep(self._ping_s)
                if connection.closing:
                    return
                if not connection.frozen:
                    await connection.socket.ping(str(self._now_ms()).encode())
            await connection.socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"Pong timeout")
