"""One socket to the exchange: arrivals stamped as the bytes come in, subscriptions, why it ended."""

import asyncio
import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event

from midas_ray.capture.arrivals import Arrival, Inbox, Note
from midas_ray.capture.limits import IpLimits
from midas_ray.capture.refusal import Refusal, refusal_of
from midas_ray.capture.watch import Watch
from midas_ray.errors import GeoBlockedError
from midas_ray.venues.base import Stream, Venue

MAX_MESSAGE_BYTES = 64 * 2**20
"""Largest message taken; the library's default of 1 MiB is below some snapshots."""
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
URL_STREAMS = 100
"""Streams named in the URL; the others are subscribed once connected: servers bound the length of a request line."""
REQUEST_PAUSE_S = 0.4
"""Between two requests on a connection: spot allows 5 messages a second, pongs included."""

STOPPED = "stopped"
"""Why a connection ended that the collector itself ended, because it ends."""

_STREAM_HEAD = b'{"stream":"'
_SHUTDOWN = b'"serverShutdown"'


class StampedConnection(ClientConnection):
    """A connection that hands each message on at once, stamped when its last bytes came in.

    The library's own queue is passed by: a time taken at `recv()` is the dequeue's, and its bound of 16 frames stops
    reading, so that pongs go unread and the connection closes itself.
    """

    def __init__(self, *args: Any, session: "Session", **options: Any) -> None:
        super().__init__(*args, **options)
        self._session = session
        self._parts: list[bytes] = []
        self._recv_ns = 0
        self._mono_ns = 0

    def data_received(self, data: bytes) -> None:
        """Stamp the arrival, then let the protocol take the bytes apart."""
        self._recv_ns, self._mono_ns = time.time_ns(), time.monotonic_ns()
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        """Handshake and control frames go the library's way, messages to the session."""
        if self.response is None:
            super().process_event(event)
            if self.protocol.handshake_exc is None:
                self._session.opened(self)
        elif isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            self._parts.append(bytes(event.data))
            if event.fin:
                payload = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
                self._parts.clear()
                self._session.arrived(self._recv_ns, self._mono_ns, payload)
        else:
            super().process_event(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._session.detached(self)
        super().connection_lost(exc)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What the connections of a collector share. exchange_url: base of a simulated exchange; None = the venue's own."""

    venue: Venue
    inbox: Inbox
    watch: Watch
    limits: IpLimits
    log: structlog.stdlib.BoundLogger
    exchange_url: str | None


class Session:
    """One connection, from its opening to its end.

    name: the connection's in the journal. opened, leave: called when it is open, and when the exchange says that it is
    about to close it. Messages and the events `connect`, `disconnect` go into the inbox.
    """

    def __init__(
        self,
        wiring: Wiring,
        route: str,
        name: str,
        streams: list[Stream],
        *,
        opened: Callable[[], None],
        leave: Callable[["Session", str], None],
    ) -> None:
        self.name = name
        self.connected = False
        self.refusal: Refusal | None = None
        self._wiring, self._route = wiring, route
        self._streams = self._wanted = streams
        self._when_open, self._leave = opened, leave
        self._changed = asyncio.Event()
        self._request_id = 0
        self._closing: str | None = None
        self._socket: ClientConnection | None = None

    async def run(self) -> str:
        """Connect and read until the connection ends; gives why it did.

        Raises GeoBlockedError. `refusal` says then what the exchange answered, where it refused the handshake.
        """
        wiring = self._wiring
        await wiring.limits.connection()
        url = wiring.venue.connection_url(self._route, self._streams[:URL_STREAMS], wiring.exchange_url)
        reason = STOPPED
        try:
            async with connect(
                url,
                create_connection=functools.partial(StampedConnection, session=self),  # type: ignore[arg-type]
                max_size=MAX_MESSAGE_BYTES,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                proxy=True if wiring.exchange_url is None else None,
            ) as socket:
                self._socket = socket
                reason = await self._talk(socket)
        except InvalidStatus as error:
            reason = await self._refused(error)
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError, ConnectionClosed) as error:
            reason = str(error) or type(error).__name__
        finally:
            if self.connected:
                self.connected = False
                wiring.watch.closed(self.name)
                self._note("disconnect", self._streams, reason=self._closing or reason)
        return self._closing or reason

    async def close(self, reason: str) -> None:
        """End the connection in good order; `run` then returns."""
        self._closing = reason
        if self._socket is not None:
            await self._socket.close()

    def abort(self, reason: str) -> None:
        """End the connection at once, without waiting for the exchange."""
        self._closing = reason
        if self._socket is not None:
            self._socket.transport.abort()

    def carry(self, streams: list[Stream]) -> None:
        """Carry these from now on: the exchange is told."""
        self._wanted = streams
        self._changed.set()

    def opened(self, socket: ClientConnection) -> None:
        """The handshake is done."""
        self.connected = True
        self._wiring.inbox.attach(socket.transport)
        now_s = time.monotonic()
        for stream in self._streams:
            self._wiring.watch.subscribed(self.name, stream, now_s)
        self._when_open()
        self._note("connect", self._streams, route=self._route)
        self._wiring.log.info("connected", conn=self.name, route=self._route, streams=len(self._streams))

    def detached(self, socket: ClientConnection) -> None:
        """The socket is gone."""
        self._wiring.inbox.detach(socket.transport)

    def arrived(self, recv_ns: int, mono_ns: int, payload: bytes) -> None:
        """A message."""
        stream = b""
        if payload.startswith(_STREAM_HEAD):
            stream = payload[len(_STREAM_HEAD) : payload.find(b'"', len(_STREAM_HEAD))]
            self._wiring.watch.seen(self.name, stream, mono_ns / 1e9)
        if (not stream or stream.startswith(b"!")) and _SHUTDOWN in payload:
            self._leave(self, "the exchange shuts this server down")
        self._wiring.inbox.put(Arrival(recv_ns, mono_ns, self.name, stream, payload))

    async def _talk(self, socket: ClientConnection) -> str:
        """Keep the subscriptions what they are to be until the connection ends."""
        ending = asyncio.create_task(socket.wait_closed())
        try:
            await self._subscribe(socket, "SUBSCRIBE", self._streams[URL_STREAMS:])
            while not ending.done():
                changing = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.wait({ending, changing}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    changing.cancel()
                if not ending.done():
                    await self._adapt(socket)
        finally:
            ending.cancel()
        return f"closed by the exchange: {socket.close_code} {socket.close_reason}".rstrip()

    async def _adapt(self, socket: ClientConnection) -> None:
        self._changed.clear()
        wanted, had = self._wanted, set(self._streams)
        gone = [stream for stream in self._streams if stream not in set(wanted)]
        new = [stream for stream in wanted if stream not in had]
        self._streams = wanted
        for stream in gone:
            self._wiring.watch.unsubscribed(self.name, stream)
        now_s = time.monotonic()
        for stream in new:
            self._wiring.watch.subscribed(self.name, stream, now_s)
        await self._subscribe(socket, "UNSUBSCRIBE", gone)
        if new:
            self._note("connect", new, route=self._route)
        await self._subscribe(socket, "SUBSCRIBE", new)

    async def _subscribe(self, socket: ClientConnection, method: str, streams: Iterable[Stream]) -> None:
        names = [stream.name for stream in streams]
        for start in range(0, len(names), URL_STREAMS):
            self._request_id += 1
            request = {"method": method, "params": names[start : start + URL_STREAMS], "id": self._request_id}
            await socket.send(msgspec.json.encode(request).decode())
            await asyncio.sleep(REQUEST_PAUSE_S)

    async def _refused(self, error: InvalidStatus) -> str:
        """The exchange refused the handshake: wait as it says. Raises GeoBlockedError."""
        response = error.response
        refusal = refusal_of(response.status_code, response.headers, bytes(response.body or b""), self._route)
        if refusal.kind == "geo":
            raise GeoBlockedError(refusal.text) from None
        self.refusal = refusal
        if refusal.kind in ("ban", "limit") and refusal.wait_s is not None:
            await self._wiring.limits.block(time.time_ns() + int(refusal.wait_s * 1e9), refusal.text)
        return refusal.text

    def _note(self, event: str, streams: Iterable[Stream], **fields: Any) -> None:
        names = tuple(stream.name.encode() for stream in streams)
        self._wiring.inbox.put(Note(time.time_ns(), time.monotonic_ns(), self.name, event, names, fields))
