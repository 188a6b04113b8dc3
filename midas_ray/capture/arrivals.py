"""The one queue between the sockets and the writer: bounded by pausing the sockets, never by dropping."""

import asyncio
from collections import deque
from typing import Any, NamedTuple

from midas_ray.capture.rest import RestAnswer

PAUSE_BYTES = 64 * 2**20
"""Bytes that wait before the sockets are paused."""
RESUME_BYTES = 16 * 2**20
ITEM_BYTES = 256
"""What an item takes besides its payload, roughly."""


class Arrival(NamedTuple):
    """A WebSocket message and when its last byte arrived: wall clock and monotonic clock, ns.

    conn: the connection's name (`a-17`). stream: name of the combined frame's stream, empty for any other message.
    """

    recv_ns: int
    mono_ns: int
    conn: str
    stream: bytes
    payload: bytes


class Note(NamedTuple):
    """Something that happened to a connection, with what the journal is to say of it.

    event: `connect`, `disconnect` or `silent`. streams: names of the streams that it concerns.
    """

    recv_ns: int
    mono_ns: int
    conn: str
    event: str
    streams: tuple[bytes, ...]
    fields: dict[str, Any]


class Answer(NamedTuple):
    """A REST answer for a symbol. used: False where the book must not take it (asked for before a reconnect)."""

    symbol: str
    answer: RestAnswer
    used: bool


class Leave(NamedTuple):
    """A symbol is not collected any more: everything before this item still is."""

    symbol: str
    reason: str
    done: "asyncio.Future[None]"


class Stop(NamedTuple):
    """The last item: nothing follows."""

    reason: str


Item = Arrival | Note | Answer | Leave | Stop


class Inbox:
    """Items in order of arrival. `put` never waits: where too much waits, the sockets are paused.

    pauses: how often that was so: the exchange may have given up on a connection that did not read.
    """

    def __init__(self, pause_bytes: int = PAUSE_BYTES, resume_bytes: int = RESUME_BYTES) -> None:
        self._items: deque[Item] = deque()
        self._filled = asyncio.Event()
        self._sockets: set[asyncio.ReadTransport] = set()
        self._pause_bytes = pause_bytes
        self._resume_bytes = resume_bytes
        self.bytes = 0
        self.paused = False
        self.pauses = 0

    def __len__(self) -> int:
        return len(self._items)

    def attach(self, socket: asyncio.ReadTransport) -> None:
        """`socket` feeds this inbox from now on."""
        self._sockets.add(socket)
        if self.paused:
            socket.pause_reading()

    def detach(self, socket: asyncio.ReadTransport) -> None:
        """`socket` is closed."""
        self._sockets.discard(socket)

    def put(self, item: Item) -> None:
        """Append an item."""
        self._items.append(item)
        self.bytes += _size(item)
        self._filled.set()
        if not self.paused and self.bytes >= self._pause_bytes:
            self.paused = True
            self.pauses += 1
            for socket in self._sockets:
                if not socket.is_closing():
                    socket.pause_reading()

    async def wait(self, timeout_s: float) -> None:
        """Return once an item is there or the time has passed."""
        if not self._items:
            self._filled.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._filled.wait()
            except TimeoutError:
                return

    def take(self, most: int) -> list[Item]:
        """At most so many items that are there, oldest first."""
        taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
        self.bytes -= sum(map(_size, taken))
        if self.paused and self.bytes <= self._resume_bytes:
            self.paused = False
            for socket in self._sockets:
                if not socket.is_closing():
                    socket.resume_reading()
        return taken


def _size(item: Item) -> int:
    if isinstance(item, Arrival):
        return ITEM_BYTES + len(item.payload)
    if isinstance(item, Answer):
        return ITEM_BYTES + len(item.answer.payload)
    return ITEM_BYTES
