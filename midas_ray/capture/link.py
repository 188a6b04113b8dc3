"""Connections to the exchange that are kept up, each on its own: arrivals stamped at the socket, own reconnect loop.

A `Session` is one socket; a `Link` keeps one session up for good. A connection that is to be renewed (a silent stream,
the exchange's shutdown notice, its age) is replaced: the successor has to flow before the old one is closed, so that
nothing is missed even where it is the only one.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event

from midas_ray.capture.arrivals import Arrival, Inbox, Note
from midas_ray.capture.backoff import full_jitter_s
from midas_ray.capture.limits import IpLimits
from midas_ray.capture.refusal import refusal_of
from midas_ray.capture.watch import Watch
from midas_ray.errors import GeoBlockedError
from midas_ray.venues.base import Stream, Venue

MAX_MESSAGE_BYTES = 64 * 2**20
"""Largest message taken; the library's default of 1 MiB is below some snapshots."""
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
STABLE_S = 10.0
"""A connection that lived so long starts the backoff anew. Shorter ones count as failures: a server that accepts and
closes would else be called without a pause."""
FLOW_S = 10.0
"""How long a successor may take until its steady streams flow; the old connection is then given up anyway."""
URL_STREAMS = 100
"""Streams named in the URL; the others are subscribed once connected: servers bound the length of a request line."""
REQUEST_PAUSE_S = 0.4
"""Between two requests on a connection: spot allows 5 messages a second, pongs included."""

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


class Session:
    """One connection, from its opening to its end. `name` is the connection's in the journal."""

    def __init__(self, link: "Link", name: str) -> None:
        self.name = name
        self.connected = False
        self.retry_s: float | None = None
        self._link = link
        self._streams = link.streams
        self._changed = asyncio.Event()
        self._request_id = 0
        self._closing: str | None = None
        self._socket: ClientConnection | None = None

    async def run(self) -> str:
        """Connect and read until the connection ends; gives why it did.

        Raises GeoBlockedError. `retry_s` is then how long the exchange wants no connection, where it says so.
        """
        link = self._link
        await link.limits.connection()
        url = link.venue.connection_url(link.route, self._streams[:URL_STREAMS], link.exchange_url)
        reason = "stopped"
        try:
            async with connect(
                url,
                create_connection=functools.partial(StampedConnection, session=self),  # type: ignore[arg-type]
                max_size=MAX_MESSAGE_BYTES,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                proxy=True if link.exchange_url is None else None,
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
                link.watch.closed(self.name)
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

    def changed(self) -> None:
        """The link's streams are others now: tell the exchange."""
        self._changed.set()

    def opened(self, socket: ClientConnection) -> None:
        """The handshake is done."""
        self.connected = True
        self._link.inbox.attach(socket.transport)
        now_s = time.monotonic()
        for stream in self._streams:
            self._link.watch.subscribed(self.name, stream, now_s)
        self._link.connects += 1
        self._note("connect", self._streams, route=self._link.route)
        self._link.log.info("connected", conn=self.name, route=self._link.route, streams=len(self._streams))

    def detached(self, socket: ClientConnection) -> None:
        """The socket is gone."""
        self._link.inbox.detach(socket.transport)

    def arrived(self, recv_ns: int, mono_ns: int, payload: bytes) -> None:
        """A message."""
        stream = b""
        if payload.startswith(_STREAM_HEAD):
            stream = payload[len(_STREAM_HEAD) : payload.find(b'"', len(_STREAM_HEAD))]
            self._link.watch.seen(self.name, stream, mono_ns / 1e9)
        if (not stream or stream.startswith(b"!")) and _SHUTDOWN in payload:
            self._link.renew("the exchange shuts this server down", self)
        self._link.inbox.put(Arrival(recv_ns, mono_ns, self.name, stream, payload))

    async def _talk(self, socket: ClientConnection) -> str:
        """Keep the subscriptions what they are to be until the connection ends."""
        ending = asyncio.create_task(socket.wait_closed())
        try:
            await self._subscribe(socket, "SUBSCRIBE", self._streams[URL_STREAMS:])
            while not ending.done():
                changing = asyncio.create_task(self._changed.wait())
                await asyncio.wait({ending, changing}, return_when=asyncio.FIRST_COMPLETED)
                changing.cancel()
                if not ending.done():
                    await self._adapt(socket)
        finally:
            ending.cancel()
        return f"closed by the exchange: {socket.close_code} {socket.close_reason}".rstrip()

    async def _adapt(self, socket: ClientConnection) -> None:
        self._changed.clear()
        wanted, had = self._link.streams, set(self._streams)
        gone = [stream for stream in self._streams if stream not in set(wanted)]
        new = [stream for stream in wanted if stream not in had]
        self._streams = wanted
        for stream in gone:
            self._link.watch.unsubscribed(self.name, stream)
        now_s = time.monotonic()
        for stream in new:
            self._link.watch.subscribed(self.name, stream, now_s)
        await self._subscribe(socket, "UNSUBSCRIBE", gone)
        if new:
            self._note("connect", new, route=self._link.route)
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
        refusal = refusal_of(response.status_code, response.headers, bytes(response.body or b""), self._link.route)
        if refusal.kind == "geo":
            raise GeoBlockedError(refusal.text) from None
        self.retry_s = refusal.wait_s
        if refusal.kind in ("ban", "limit") and refusal.wait_s is not None:
            await self._link.limits.block(time.time_ns() + int(refusal.wait_s * 1e9), refusal.text)
        return refusal.text

    def _note(self, event: str, streams: Iterable[Stream], **fields: Any) -> None:
        names = tuple(stream.name.encode() for stream in streams)
        self._link.inbox.put(Note(time.time_ns(), time.monotonic_ns(), self.name, event, names, fields))


class Link:
    """Keeps one connection that carries `streams` up until cancelled.

    letter: `a` or `b`, the first letter of its connections' names. first_age_s, age_s: age at which the first, and
    every later one is renewed, before the exchange cuts it.
    Messages and the events `connect`, `disconnect` go into `inbox`.
    """

    def __init__(
        self,
        venue: Venue,
        route: str,
        streams: Iterable[Stream],
        letter: str,
        *,
        inbox: Inbox,
        watch: Watch,
        limits: IpLimits,
        log: structlog.stdlib.BoundLogger,
        new_name: Callable[[], str],
        exchange_url: str | None,
        first_age_s: float,
        age_s: float,
    ) -> None:
        self.venue, self.route, self.letter = venue, route, letter
        self.streams = list(streams)
        self.inbox, self.watch, self.limits, self.log = inbox, watch, limits, log
        self.exchange_url = exchange_url
        self.connects = 0
        self.last_error: str | None = None
        self.renewals = 0
        self._new_name = new_name
        self._age_s, self._next_age_s = age_s, first_age_s
        self._renewal = asyncio.Event()
        self._reason = ""
        self._session: Session | None = None
        self._successor: Session | None = None

    @property
    def connected(self) -> bool:
        return any(session.connected for session in (self._session, self._successor) if session is not None)

    @property
    def renewing(self) -> bool:
        """Whether it is being replaced, or comes up."""
        return self._successor is not None or self._session is None or not self._session.connected

    def carries(self, conn: str) -> bool:
        """Whether `conn` is one of its connections now."""
        return any(session is not None and session.name == conn for session in (self._session, self._successor))

    def set_streams(self, streams: Iterable[Stream]) -> None:
        """Carry these from now on; the exchange is told."""
        self.streams = list(streams)
        for session in (self._session, self._successor):
            if session is not None:
                session.changed()

    def renew(self, reason: str, session: Session | None = None) -> None:
        """Replace the connection; where `session` is given, only if that is still the one in use."""
        if session is None or session is self._session:
            self._reason = reason
            self._renewal.set()

    async def run(self) -> None:
        """Connect, read, reconnect, renew. Ends when cancelled, with the connections closed. Raises GeoBlockedError."""
        attempt = 0
        while True:
            started_s = time.monotonic()
            reason, retry_s = await self._keep()
            attempt = 0 if time.monotonic() - started_s >= STABLE_S else attempt + 1
            wait_s = full_jitter_s(attempt) if retry_s is None else retry_s + full_jitter_s(0)
            self.last_error = reason
            self.log.warning(
                "disconnected", link=self.letter, route=self.route, reason=reason, retry_in_s=round(wait_s, 2)
            )
            await asyncio.sleep(wait_s)

    async def _keep(self) -> tuple[str, float | None]:
        """One connection and its successors, until the present one ends unasked; gives why, and the wait asked for."""
        session, task = self._start()
        self._session = session
        try:
            while True:
                self._renewal.clear()
                asked = asyncio.create_task(self._renewal.wait())
                try:
                    await asyncio.wait({task, asked}, timeout=self._next_age_s, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    asked.cancel()
                if task.done():
                    return task.result(), session.retry_s
                if not self._renewal.is_set():
                    self._reason = f"{self._next_age_s:.0f} s old: renewed before the exchange cuts it"
                self.log.info("renewing", conn=session.name, reason=self._reason)
                self._next_age_s = self._age_s
                self.renewals += 1
                session, task = await self._replace(session, task, self._reason)
        finally:
            self._session = None
            await self._end(task)

    def _start(self) -> tuple[Session, "asyncio.Task[str]"]:
        session = Session(self, self._new_name())
        return session, asyncio.create_task(session.run())

    async def _replace(
        self, old: Session, old_task: "asyncio.Task[str]", reason: str
    ) -> tuple[Session, "asyncio.Task[str]"]:
        """Bring a successor up and close `old` once that flows. Where it does not come up, `old` stays."""
        successor, task = self._start()
        self._successor = successor
        try:
            await self._flowing(successor, task)
            if task.done():
                self.last_error = task.result()
                self.log.warning("successor failed", conn=successor.name, reason=self.last_error)
                wait_s = full_jitter_s(2) if successor.retry_s is None else successor.retry_s
                await asyncio.wait({old_task}, timeout=wait_s)
                return old, old_task
            self._session = successor
            await self._close(old, old_task, reason)
        except BaseException:
            await self._end(task)
            raise
        finally:
            self._successor = None
        return successor, task

    async def _flowing(self, session: Session, task: "asyncio.Task[str]") -> None:
        """Return once the connection's steady streams flow, it has had its time to, or it has failed."""
        opened_s: float | None = None
        while not task.done():
            await asyncio.wait({task}, timeout=0.05)
            if session.connected:
                opened_s = opened_s or time.monotonic()
                if self.watch.flows(session.name) or time.monotonic() - opened_s > FLOW_S:
                    return

    async def _close(self, session: Session, task: "asyncio.Task[str]", reason: str) -> None:
        closing = asyncio.create_task(session.close(reason))
        await asyncio.wait({closing, task}, timeout=CLOSE_TIMEOUT_S + 1.0)
        if not task.done():
            session.abort(reason)
            await asyncio.wait({task}, timeout=1.0)
        closing.cancel()
        await self._end(task)

    async def _end(self, task: "asyncio.Task[str]") -> None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
