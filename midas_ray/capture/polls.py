"""What is asked of the exchange's REST again and again: open interest, contract terms, its clock.

Each has `run()`, which ends when cancelled and goes on after a refusal: it says so in the log and in `last_error`.
Only a geo-block ends it, with GeoBlockedError.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import structlog

from midas_ray.capture.contracts import UNLISTED, Contract
from midas_ray.capture.limits import Priority
from midas_ray.capture.rest import ClockSample, RestAnswer, RestClient
from midas_ray.errors import GeoBlockedError, VenueError

OPEN_INTEREST_S = 60.0
CONTRACT_S = 600.0
CONFIRM_S = 60.0
"""A symbol that no longer trades is looked at again so soon, before its end is told."""
CLOCK_S = 600.0
CLOCK_SAMPLES = 5
CLOCK_PAUSE_S = 0.2
"""Between samples: one hiccup of the network is not to spoil all of them."""
STEP_CHECK_S = 5.0
STEP_MS = 20.0
"""The wall clock was set when it moved so much against the monotonic one between two looks."""


class Poll:
    """What the polls share: refusals are counted and said, a geo-block ends them."""

    def __init__(self, rest: RestClient, log: structlog.stdlib.BoundLogger) -> None:
        self.failures = 0
        self.last_error: str | None = None
        self._rest = rest
        self._log = log

    def _failed(self, what: str, error: VenueError) -> None:
        if isinstance(error, GeoBlockedError):
            raise error
        self.failures += 1
        self.last_error = str(error)
        self._log.warning(what, error=str(error))


class OpenInterest(Poll):
    """Open interest of each symbol once a minute, spread over it. Without end and effect where the venue has none.

    symbols: those of the moment, lower case. deliver: gets each symbol's answer, refusals too.
    """

    def __init__(
        self,
        rest: RestClient,
        symbols: Callable[[], Iterable[str]],
        deliver: Callable[[str, RestAnswer], None],
        log: structlog.stdlib.BoundLogger,
        *,
        period_s: float = OPEN_INTEREST_S,
    ) -> None:
        super().__init__(rest, log)
        self._symbols = symbols
        self._deliver = deliver
        self._period_s = period_s
        self._running: set[str] = set()

    async def run(self) -> None:
        """Poll until cancelled. Raises GeoBlockedError."""
        path = self._rest.venue.open_interest_path
        if path is None:
            await asyncio.Event().wait()
            return
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._round(path, group)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _round(self, path: str, group: asyncio.TaskGroup) -> None:
        """Each symbol at its place in the period; one that still waits for its last answer is passed by."""
        loop = asyncio.get_running_loop()
        start_s, symbols = loop.time(), list(self._symbols())
        for place, symbol in enumerate(symbols):
            await asyncio.sleep(start_s + place * self._period_s / len(symbols) - loop.time())
            if symbol not in self._running:
                self._running.add(symbol)
                group.create_task(self._poll(path, symbol))
        await asyncio.sleep(start_s + self._period_s - loop.time())

    async def _poll(self, path: str, symbol: str) -> None:
        try:
            answer = await self._rest.get(path, 1, Priority.POLL, symbol=symbol.upper())
            self._deliver(symbol, answer)
            answer.check()
            self.last_error = None
        except VenueError as error:
            self._failed("no open interest", error)
        finally:
            self._running.discard(symbol)


class ContractWatch(Poll):
    """Watches the terms of the symbols of the moment.

    deliver(symbol, now, before): at first sight (before is None) and on each change. That a symbol trades no more
    (status not TRADING, or not listed: UNLISTED) is delivered once two answers in a row, a minute apart, say so.
    """

    def __init__(
        self,
        rest: RestClient,
        symbols: Callable[[], Iterable[str]],
        deliver: Callable[[str, Contract, Contract | None], None],
        log: structlog.stdlib.BoundLogger,
        *,
        period_s: float = CONTRACT_S,
        confirm_s: float = CONFIRM_S,
    ) -> None:
        super().__init__(rest, log)
        self._symbols = symbols
        self._deliver = deliver
        self._period_s = period_s
        self._confirm_s = confirm_s
        self._known: dict[str, Contract] = {}
        self._suspect: set[str] = set()

    async def run(self) -> None:
        """Watch until cancelled. Raises GeoBlockedError."""
        while True:
            try:
                await self.look()
                self.last_error = None
            except VenueError as error:
                self._failed("contract terms unknown", error)
            await asyncio.sleep(self._confirm_s if self._suspect else self._period_s)

    async def look(self) -> None:
        """Ask once and deliver what changed. Raises VenueError."""
        symbols = tuple(self._symbols())
        self._known = {symbol: terms for symbol, terms in self._known.items() if symbol in symbols}
        self._suspect.intersection_update(symbols)
        if not symbols:
            return
        listed = await self._rest.contracts(symbols)
        for symbol in symbols:
            self._compare(symbol, listed.get(symbol))

    def _compare(self, symbol: str, now: Contract | None) -> None:
        before = self._known.get(symbol)
        if now is None:
            now = replace(before or Contract(status=UNLISTED, tick_size=None, step_size=None), status=UNLISTED)
        if before is not None and before.trading and not now.trading and symbol not in self._suspect:
            self._suspect.add(symbol)
            self._log.warning("contract seems to have ended; looking again", symbol=symbol, status=now.status)
            return
        self._suspect.discard(symbol)
        if now != before:
            self._known[symbol] = now
            self._deliver(symbol, now, before)


class ClockMeter(Poll):
    """The exchange's clock against this machine's: of several round trips the shortest, whose error is the least.

    Taken anew each 10 minutes, and when this machine's clock was set. deliver: gets each new estimate, right to half of
    its round trip.
    """

    def __init__(
        self,
        rest: RestClient,
        deliver: Callable[[ClockSample], None],
        log: structlog.stdlib.BoundLogger,
        *,
        period_s: float = CLOCK_S,
        pause_s: float = CLOCK_PAUSE_S,
        step_check_s: float = STEP_CHECK_S,
    ) -> None:
        super().__init__(rest, log)
        self.offset_ms: float | None = None
        self.round_trip_ms: float | None = None
        self._deliver = deliver
        self._period_s = period_s
        self._pause_s = pause_s
        self._step_check_s = step_check_s

    async def run(self) -> None:
        """Measure until cancelled. Raises GeoBlockedError."""
        while True:
            try:
                await self.measure()
            except VenueError as error:
                self._failed("clock offset unknown", error)
            await self._wait()

    async def measure(self) -> None:
        """Estimate once and deliver it. Raises VenueError where no sample came."""
        best: ClockSample | None = None
        failure: VenueError | None = None
        for number in range(CLOCK_SAMPLES):
            if number:
                await asyncio.sleep(self._pause_s)
            try:
                sample = await self._rest.clock()
            except VenueError as error:
                failure = error
                if isinstance(error, GeoBlockedError):
                    break
                continue
            if best is None or sample.round_trip_ms < best.round_trip_ms:
                best = sample
        if best is None:
            raise failure or VenueError("no clock sample")
        self.offset_ms, self.round_trip_ms = best.offset_ms, best.round_trip_ms
        self.last_error = None
        self._deliver(best)

    async def _wait(self) -> None:
        """Return after the period, or soon after this machine's clock was set."""
        until_s = time.monotonic() + self._period_s
        before_ms = _wall_over_mono_ms()
        while (left_s := until_s - time.monotonic()) > 0:
            await asyncio.sleep(min(left_s, self._step_check_s))
            now_ms = _wall_over_mono_ms()
            if abs(now_ms - before_ms) > STEP_MS:
                self._log.warning("this machine's clock was set", step_ms=round(now_ms - before_ms, 1))
                return
            before_ms = now_ms


def _wall_over_mono_ms() -> float:
    return (time.time_ns() - time.monotonic_ns()) / 1e6
