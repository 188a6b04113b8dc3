"""Depth snapshots when the book asks for them: one at a time, never a storm."""

import asyncio
import contextlib
import time

import structlog

from midas_ray.capture.backoff import full_jitter_s
from midas_ray.capture.inbox import Inbox
from midas_ray.capture.rest import RestClient
from midas_ray.errors import VenueError

QUIET_S = 60.0
"""So long without a request, and the next one is not delayed."""
FLOW_WAIT_S = 2.0
"""How long to wait for the depth stream before asking: a snapshot taken before the stream flows is too old for it."""


class SnapshotFetcher:
    """Puts the REST answers to the book's requests into the inbox. The first goes at once, repetitions back off."""

    def __init__(
        self, rest: RestClient, symbol: str, limit: int, inbox: Inbox, log: structlog.stdlib.BoundLogger
    ) -> None:
        self.flowing = asyncio.Event()
        self.fetched = 0
        self.last_error: str | None = None
        self._rest = rest
        self._symbol = symbol
        self._limit = limit
        self._inbox = inbox
        self._log = log
        self._wanted = asyncio.Event()
        self._reason = ""
        self._in_a_row = 0
        self._last_s = -QUIET_S

    def request(self, reason: str) -> None:
        """The book wants a snapshot; requests made while one is on its way become one more."""
        self._reason = reason
        self._wanted.set()

    async def run(self) -> None:
        """Fetch whenever one is wanted; ends when cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if time.monotonic() - self._last_s >= QUIET_S:
                self._in_a_row = 0
            elif self._reason != "thin":  # the book itself spaces those out
                await asyncio.sleep(full_jitter_s(self._in_a_row))
                self._in_a_row += 1
            # Not wait_for: in Python 3.11 it can swallow a cancellation that comes as the event is set.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLOW_WAIT_S):
                    await self.flowing.wait()
            await self._fetch(self._reason)
            self._last_s = time.monotonic()

    async def _fetch(self, reason: str) -> None:
        try:
            answer = await self._rest.depth(self._symbol, self._limit)
        except VenueError as error:
            self._failed(str(error))
            return
        self._inbox.put(answer)
        self.fetched += 1
        refusal = self._rest.refusal(answer)
        if refusal is not None:
            self._failed(refusal)
            return
        self.last_error = None
        self._log.info("snapshot", reason=reason, bytes=len(answer.payload))

    def _failed(self, error: str) -> None:
        self.last_error = error
        self._log.warning("no snapshot", error=error)
        self.request("failed")
