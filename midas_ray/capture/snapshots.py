"""Depth snapshots when the book asks for them: one at a time for a symbol, never a storm, never a stale one."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from midas_ray.capture.backoff import full_jitter_s
from midas_ray.capture.limits import Priority
from midas_ray.capture.rest import RestAnswer, RestClient
from midas_ray.errors import GeoBlockedError, VenueError

QUIET_S = 60.0
"""So long without a request, and the next one is not delayed."""
SPACED_S = 5.0
"""The same where the last one made the book live: what is asked now is a need of its own, not a repetition."""
FLOW_WAIT_S = 2.0
"""How long to wait for the depth stream before asking: a snapshot taken before the stream flows is too old for it."""

_PRIORITIES = {"gap": Priority.SNAPSHOT_GAP, "thin": Priority.SNAPSHOT_THIN}


class SnapshotFetcher:
    """Delivers the REST answers to one book's requests. The first goes at once, repetitions back off.

    deliver: gets every answer, refusals too, and whether the book may use it: not where the request left before the
    depth stream was lost the last time. Such a one is fetched anew. flowing: set by the caller while depth comes in.
    """

    def __init__(
        self,
        rest: RestClient,
        symbol: str,
        limit: int,
        deliver: Callable[[RestAnswer, bool], None],
        log: structlog.stdlib.BoundLogger,
    ) -> None:
        self.flowing = asyncio.Event()
        self.fetched = 0
        self.last_error: str | None = None
        self._rest = rest
        self._symbol = symbol
        self._limit = limit
        self._deliver = deliver
        self._log = log
        self._wanted = asyncio.Event()
        self._reason = ""
        self._priority = Priority.SNAPSHOT_THIN
        self._epoch_mono_ns = 0
        self._turn: asyncio.Task[None] | None = None
        self._in_a_row = 0
        self._has_served = False
        self._last_s = -QUIET_S

    def request(self, reason: str) -> None:
        """The book wants a snapshot; requests made while one is on its way become one more.

        The most urgent reason gives the priority, until a snapshot has come: also to a request that still waits for its
        turn.
        """
        priority = _PRIORITIES.get(reason, Priority.SNAPSHOT_START)
        if priority < self._priority:
            self._priority = priority
            if self._turn is not None:
                self._turn.cancel()
        self._reason = reason
        self._wanted.set()

    def served(self) -> None:
        """The book is live."""
        self._has_served = True

    def new_epoch(self) -> None:
        """The depth stream was lost wholly: what is asked from now on is of the stream that comes next."""
        self._epoch_mono_ns = time.monotonic_ns()
        self.flowing.clear()

    async def run(self) -> None:
        """Fetch whenever one is wanted; ends when cancelled. Raises GeoBlockedError."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            since_s = time.monotonic() - self._last_s
            if since_s >= QUIET_S or (self._has_served and since_s >= SPACED_S):
                self._in_a_row = 0
            elif self._reason not in ("thin", "epoch"):  # the book itself spaces those out; these are of a new stream
                await asyncio.sleep(full_jitter_s(self._in_a_row))
                self._in_a_row += 1
            self._has_served = False
            # Not wait_for: in Python 3.11 it can swallow a cancellation that comes as the event is set.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLOW_WAIT_S):
                    await self.flowing.wait()
            await self._wait_for_turn()
            self._wanted.clear()  # what was asked until now, this one answers
            await self._fetch(self._reason)
            self._last_s = time.monotonic()

    async def _wait_for_turn(self) -> None:
        weight = self._rest.venue.depth_weight(self._limit)
        while True:
            self._turn = asyncio.create_task(self._rest.limits.weight(weight, self._priority))
            try:
                await asyncio.wait([self._turn])
            finally:
                self._turn.cancel()
            if not self._turn.cancelled():
                return self._turn.result()

    async def _fetch(self, reason: str) -> None:
        try:
            answer = await self._rest.send(self._rest.venue.depth_path, symbol=self._symbol.upper(), limit=self._limit)
        except VenueError as error:
            self._failed(str(error))
            return
        usable = answer.sent_mono_ns >= self._epoch_mono_ns
        self._deliver(answer, usable)
        self.fetched += 1
        if answer.refusal is not None:
            if answer.refusal.kind == "geo":
                raise GeoBlockedError(answer.refusal.text)
            self._failed(answer.refusal.text)
            return
        self.last_error = None
        if not usable:
            self._log.info("snapshot from before the stream was lost; fetching anew", reason=reason)
            self._again("epoch")
            return
        self._log.info("snapshot", reason=reason, bytes=len(answer.payload))
        if not self._wanted.is_set():
            self._priority = Priority.SNAPSHOT_THIN

    def _failed(self, error: str) -> None:
        self.last_error = error
        self._log.warning("no snapshot", error=error)
        self._again("failed")

    def _again(self, reason: str) -> None:
        """One more, as urgent as the one that did not do."""
        self._reason = reason
        self._wanted.set()
