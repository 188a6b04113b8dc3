"""One WebSocket connection to the exchange, kept up: arrivals stamped as the bytes come in, own reconnect loop."""

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event

from midas_ray.capture.backoff import full_jitter_s
from midas_ray.capture.inbox import Arrival, Inbox, Note
from midas_ray.venues.base import Endpoint

MAX_MESSAGE_BYTES = 64 * 2**20
"""Largest message taken; the library's default of 1 MiB is below some snapshots."""
OPEN_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
STABLE_S = 60.0
"""A connection that lived so long starts the backoff anew. Shorter ones count as failures: a server that accepts and
closes would else be called without a pause."""


class StampedConnection(ClientConnection):
    """A connection that hands each message to the inbox at once, stamped when its last bytes came in.

    The library's own queue is passed by: a time taken at `recv()` is the dequeue's, and its bound of 16 frames stops
    reading, so that pongs go unread and the connection closes itself.
    """

    def __init__(self, *args: Any, inbox: Inbox, name: str, opened: Callable[[], None], **options: Any) -> None:
        super().__init__(*args, **options)
        self._inbox = inbox
        self._name = name
        self._opened = opened
        self._parts: list[bytes] = []
        self._recv_ns = 0
        self._mono_ns = 0

    def data_received(self, data: bytes) -> None:
        """Stamp the arrival, then let the protocol take the bytes apart."""
        self._recv_ns, self._mono_ns = time.time_ns(), time.monotonic_ns()
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        """Handshake and control frames go the library's way, messages into the inbox."""
        if self.response is None:
            super().process_event(event)
            if self.protocol.handshake_exc is None:
                self._inbox.attach(self.transport)
                self._opened()
        elif isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            self._parts.append(bytes(event.data))
            if event.fin:
                payload = b"".join(self._parts)
                self._parts.clear()
                self._inbox.put(Arrival(self._recv_ns, self._mono_ns, self._name, payload))
        else:
            super().process_event(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._inbox.detach(self.transport)
        super().connection_lost(exc)


class Link:
    """Keeps a connection to one endpoint up until cancelled.

    Messages and the events `connect` and `disconnect` go into `inbox`. new_name: names each connection (`a-17`).
    use_proxy: obey the proxy settings of the environment.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        inbox: Inbox,
        log: structlog.stdlib.BoundLogger,
        *,
        new_name: Callable[[], str],
        use_proxy: bool,
    ) -> None:
        self.endpoint = endpoint
        self.connected = False
        self.connects = 0
        self.last_error: str | None = None
        self._inbox = inbox
        self._log = log
        self._new_name = new_name
        self._use_proxy = use_proxy

    @property
    def kinds(self) -> list[str]:
        """Kinds of the streams this connection carries."""
        return sorted(stream.kind for stream in self.endpoint.streams)

    async def run(self) -> None:
        """Connect, read, reconnect; ends when cancelled, with the connection closed."""
        attempt = 0
        while True:
            started_s = time.monotonic()
            reason = await self._once(self._new_name())
            attempt = 0 if time.monotonic() - started_s >= STABLE_S else attempt + 1
            wait_s = full_jitter_s(attempt)
            self.last_error = reason
            self._log.warning("disconnected", url=self.endpoint.url, reason=reason, retry_in_s=round(wait_s, 2))
            await asyncio.sleep(wait_s)

    async def _once(self, name: str) -> str:
        """One connection from its opening to its end; gives why it ended."""

        def opened() -> None:
            self.connected = True
            self.connects += 1
            self._note(name, "connect", url=self.endpoint.url)
            self._log.info("connected", conn=name, url=self.endpoint.url)

        connection = functools.partial(StampedConnection, inbox=self._inbox, name=name, opened=opened)
        reason = "stopped"
        try:
            async with connect(
                self.endpoint.url,
                create_connection=connection,  # type: ignore[arg-type]
                max_size=MAX_MESSAGE_BYTES,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=CLOSE_TIMEOUT_S,
                proxy=True if self._use_proxy else None,
            ) as socket:
                await socket.wait_closed()
                reason = f"closed by the exchange: {socket.close_code} {socket.close_reason}".rstrip()
        except InvalidStatus as error:
            reason = f"refused with HTTP {error.response.status_code}"
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError) as error:
            reason = str(error) or type(error).__name__
        finally:
            if self.connected:
                self.connected = False
                self._note(name, "disconnect", reason=reason)
        return reason

    def _note(self, name: str, event: str, **fields: Any) -> None:
        self._inbox.put(Note(time.time_ns(), time.monotonic_ns(), name, event, {"streams": self.kinds, **fields}))
