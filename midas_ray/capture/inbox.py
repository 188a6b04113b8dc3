"""The one queue between the sockets and the writer: bounded by pausing the sockets, never by dropping."""

import asyncio
from collections import deque
from typing import Any, NamedTuple

from midas_ray.capture.rest import RestAnswer

PAUSE_AT = 20_000
"""Items that wait (some 100 MB of depth messages) before the sockets are paused."""
RESUME_AT = 5_000


class Arrival(NamedTuple):
    """A WebSocket message and when its last byte arrived: wall clock and monotonic clock, ns."""

    recv_ns: int
    mono_ns: int
    conn: str
    payload: bytes


class Note(NamedTuple):
    """Something that happened to a connection: `connect` or `disconnect`, with what the journal is to say of it."""

    recv_ns: int
    mono_ns: int
    conn: str
    event: str
    fields: dict[str, Any]


class Stop(NamedTuple):
    """The last item: nothing follows."""

    reason: str


Item = Arrival | Note | RestAnswer | Stop


class Inbox:
    """Items in order of arrival. `put` never waits: where too many items do, the sockets are paused."""

    def __init__(self, pause_at: int = PAUSE_AT, resume_at: int = RESUME_AT) -> None:
        self._items: deque[Item] = deque()
        self._filled = asyncio.Event()
        self._sockets: set[asyncio.ReadTransport] = set()
        self._pause_at = pause_at
        self._resume_at = resume_at
        self.paused = False

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
        self._filled.set()
        if not self.paused and len(self._items) >= self._pause_at:
            self.paused = True
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
        if self.paused and len(self._items) <= self._resume_at:
            self.paused = False
            for socket in self._sockets:
                if not socket.is_closing():
                    socket.resume_reading()
        return taken
