"""A connection to the exchange that is kept up: own reconnect loop, renewal before anything is lost.

A connection that is to be renewed (a silent stream, the exchange's shutdown notice, its age) is replaced: the successor
has to flow before the old one is closed, so that nothing is missed even where it is the only one.
"""

import asyncio
import time
from collections.abc import Callable, Iterable

from midas_ray.capture.backoff import full_jitter_s
from midas_ray.capture.connection import CLOSE_TIMEOUT_S, Session, Wiring
from midas_ray.capture.refusal import Refusal
from midas_ray.venues.base import Stream

STABLE_S = 10.0
"""A connection that lived so long starts the backoff anew. Shorter ones count as failures: a server that accepts and
closes would else be called without a pause."""
FLOW_S = 10.0
"""How long a successor may take until its steady streams flow; the old connection is then given up anyway."""


class Link:
    """Keeps one connection that carries `streams` up until cancelled.

    letter: `a` or `b`, the first letter of its connections' names. first_age_s, age_s: age at which the first, and
    every later one is renewed, before the exchange cuts it.
    Messages and the events `connect`, `disconnect` go into `inbox`.
    """

    def __init__(
        self,
        wiring: Wiring,
        route: str,
        streams: Iterable[Stream],
        letter: str,
        *,
        new_name: Callable[[], str],
        first_age_s: float,
        age_s: float,
    ) -> None:
        self.route = route
        self.streams = list(streams)
        self.connects = 0
        self.last_error: str | None = None
        self.renewals = 0
        self._wiring = wiring
        self._log = wiring.log.bind(link=letter, route=route)
        self._new_name = new_name
        self._age_s, self._next_age_s = age_s, first_age_s
        self._renewal = asyncio.Event()
        self._reason = ""
        self._session: Session | None = None
        self._successor: Session | None = None
        self._refused = 0

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
                session.carry(self.streams)

    def renew(self, reason: str) -> None:
        """Replace the connection."""
        self._reason = reason
        self._renewal.set()

    async def run(self) -> None:
        """Connect, read, reconnect, renew. Ends when cancelled, with the connections closed. Raises GeoBlockedError."""
        attempt = 0
        while True:
            started_s = time.monotonic()
            reason, refusal = await self._keep()
            attempt = 0 if time.monotonic() - started_s >= STABLE_S else attempt + 1
            wait_s = self._wait_s(attempt, refusal)
            self.last_error = reason
            self._log.warning("disconnected", reason=reason, retry_in_s=round(wait_s, 2))
            await asyncio.sleep(wait_s)

    def _wait_s(self, attempt: int, refusal: Refusal | None) -> float:
        """Seconds until the next attempt: as the exchange asks where it refused, else by the number of failures."""
        self._refused = 0 if refusal is None else self._refused + 1
        asked_s = None if refusal is None else refusal.wait_again_s(self._refused)
        return full_jitter_s(attempt) if asked_s is None else asked_s + full_jitter_s(0)

    async def _keep(self) -> tuple[str, Refusal | None]:
        """One connection and its successors, until the present one ends unasked; gives why, and how it was refused."""
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
                    return task.result(), session.refusal
                if not self._renewal.is_set():
                    self._reason = f"{self._next_age_s:.0f} s old: renewed before the exchange cuts it"
                self._log.info("renewing", conn=session.name, reason=self._reason)
                self._next_age_s = self._age_s
                self.renewals += 1
                session, task = await self._replace(session, task, self._reason)
        finally:
            self._session = None
            await self._end(task)

    def _start(self) -> tuple[Session, "asyncio.Task[str]"]:
        session = Session(
            *(self._wiring, self.route, self._new_name(), self.streams), opened=self._opened, leave=self._leave
        )
        return session, asyncio.create_task(session.run())

    def _opened(self) -> None:
        self.connects += 1

    def _leave(self, session: Session, reason: str) -> None:
        if session is self._session:
            self.renew(reason)

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
                self._log.warning("successor failed", conn=successor.name, reason=self.last_error)
                await asyncio.wait({old_task}, timeout=self._wait_s(2, successor.refusal))
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
                if self._wiring.watch.flows(session.name) or time.monotonic() - opened_s > FLOW_S:
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
