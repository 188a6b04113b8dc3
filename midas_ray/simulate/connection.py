"""One client of the simulated exchange: its subscriptions, its route, and the frames that wait to be sent."""

import asyncio
import time
from typing import NamedTuple

from aiohttp import web

from midas_ray.simulate.faults_frames import Disturbance, Frame
from midas_ray.simulate.subscriptions import Subscriptions

QUEUE_FRAMES = 20_000
"""Frames a slow client may be behind before the exchange hangs up on it."""


class Close(NamedTuple):
    """The last thing in a connection's queue: its close frame."""

    code: int
    reason: str


class Connection:
    """A WebSocket connection, numbered in the order of acceptance from 1.

    windows: depth streams (by wire name) whose windows are this connection's own, with the feed's name for them.
    leaving: its end is near. closing: nothing more is sent.
    sound_since_s: since when nothing has been wrong with it (monotonic).
    """

    def __init__(
        self,
        number: int,
        socket: web.WebSocketResponse,
        transport: asyncio.WriteTransport,
        route: str,
        subscriptions: Subscriptions,
    ) -> None:
        self.number = number
        self.socket = socket
        self.route = route
        self.subscriptions = subscriptions
        self.queue: asyncio.Queue[Frame | Close] = asyncio.Queue(QUEUE_FRAMES)
        self.windows: dict[str, str] = {}
        self.last_pong_s = self.sound_since_s = time.monotonic()
        self.frozen = False
        self.leaving = self.closing = False
        self._transport = transport
        self._disturbances: list[Disturbance] = []
        self._recent_s: list[float] = []

    def offer(self, stream: str, payload: str) -> None:
        """Queue a message of a stream, or what the faults make of it."""
        frames: list[Frame] = [self._wrapped(stream, payload)]
        for disturbance in self._disturbances:
            frames = [made for frame in frames for made in disturbance.frames(stream, frame)]
        for frame in frames:
            self.say(frame)

    def announce(self, stream: str, payload: str) -> None:
        """Queue an event of the exchange itself, past all faults."""
        self.say(self._wrapped(stream, payload))

    def _wrapped(self, stream: str, payload: str) -> str:
        return f'{{"stream":"{stream}","data":{payload}}}' if self.subscriptions.combined else payload

    def say(self, frame: Frame) -> None:
        """Queue a frame; a client that is too far behind loses its connection, as on the venue."""
        if self.frozen or self.closing:
            return
        try:
            self.queue.put_nowait(frame)
        except asyncio.QueueFull:
            self._transport.abort()

    def write(self, frames: bytes) -> None:
        """Send whole WebSocket frames at once, past the queue."""
        self._transport.write(frames)

    @property
    def backlog_bytes(self) -> int:
        """Bytes that the client has not taken yet, as far as this side of the socket knows."""
        return self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        """Close the connection once everything before has been sent."""
        if self.queue.full():
            self.abort()
        elif not self.frozen and not self.closing:
            self.queue.put_nowait(Close(code, reason))
            self.leaving = self.closing = True

    def talks_too_much(self, per_second: int) -> bool:
        """Count an inbound message; true beyond the venue's limit."""
        now_s = time.monotonic()
        self._recent_s = [at_s for at_s in self._recent_s if now_s - at_s < 1.0] + [now_s]
        return len(self._recent_s) > per_second

    def is_sound(self, settled_s: float) -> bool:
        """Whether nothing is wrong with it, and has not been for `settled_s`."""
        troubled = self.frozen or self.leaving or bool(self._disturbances)
        return not troubled and time.monotonic() - self.sound_since_s >= settled_s

    def disturb(self, disturbance: Disturbance) -> None:
        """Let a fault have its frames."""
        self._disturbances.append(disturbance)

    def calm(self, disturbance: Disturbance) -> None:
        """The fault has ended."""
        self._disturbances.remove(disturbance)
        for frame in disturbance.left():
            self.say(frame)
        self.sound_since_s = time.monotonic()

    def freeze(self) -> None:
        """Nothing is sent, read or answered from now on, and the socket stays open."""
        self.frozen = True
        while not self.queue.empty():
            self.queue.get_nowait()
        if isinstance(self._transport, asyncio.ReadTransport):
            self._transport.pause_reading()

    def abort(self) -> None:
        """Break the connection off."""
        self.leaving = True
        self._transport.abort()
