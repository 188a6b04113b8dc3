"""What an exchange counts per IP address: request weight, connection attempts, bans.

One `Limits` for each venue and address. In one process it is shared as an object; on a cluster through the actor of
`limits_actor`, whose `RemoteLimits` has the same interface, `IpLimits`.
"""

import asyncio
import heapq
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

SHARE = 0.8
"""Share of what the venue allows that is used: other programs behind the same address count too."""
SECOND_NS = 10**9
MINUTE_NS = 60 * SECOND_NS
CONNECTION_WINDOW_NS = 5 * MINUTE_NS


class Priority(IntEnum):
    """Who goes first when request weight is short: the lowest number. A hole in a book is being lost as time passes."""

    SNAPSHOT_GAP = 0
    SNAPSHOT_START = 1
    SNAPSHOT_THIN = 2
    CONTRACT = 3
    CLOCK = 4
    POLL = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsState:
    """What `status` tells of an address.

    used_weight of weight_limit: request weight of the last minute, ours and what the venue adds to it. connections of
    connection_limit: attempts of the last 5 minutes. waiting, waiting_connections: requests and connections that wait.
    blocked_until_ns: wall clock; None where requests may leave. reason: why not, in words.
    """

    used_weight: int
    weight_limit: int
    waiting: int
    connections: int
    connection_limit: int
    waiting_connections: int
    blocked_until_ns: int | None = None
    reason: str | None = None


class IpLimits(Protocol):
    """What asks before it calls the exchange, and tells what the exchange answered."""

    async def connection(self) -> None:
        """Return once one more connection attempt is allowed."""

    async def weight(self, weight: int, priority: Priority) -> None:
        """Return once a request of this weight may leave."""

    async def report(self, used: int) -> None:
        """The venue's own count of the running minute (X-MBX-USED-WEIGHT-1M)."""

    async def set_weight_limit(self, per_minute: int) -> None:
        """The venue's limit, as its exchangeInfo says."""

    async def block(self, until_ns: int, reason: str, *, sockets: bool = True) -> None:
        """Nothing may leave until then (wall clock, ns); sockets: connections neither."""

    async def state(self) -> LimitsState:
        """Counts for `status`."""


class Clock:
    """Time as the limits see it; tests have their own."""

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch: the venue counts by its minute."""
        return time.time_ns()

    def mono_ns(self) -> int:
        """Never steps."""
        return time.monotonic_ns()

    def call_later(self, delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Call on the running loop after so long."""
        return asyncio.get_running_loop().call_later(delay_s, call)


class SlidingWindow:
    """What was granted within the last `span_ns` of a monotonic clock, never more than `cap` at any moment.

    A window that slides holds whatever the venue's clock says and wherever its minute begins. Something heavier than
    `cap` goes when nothing else is in the window.
    """

    def __init__(self, span_ns: int, cap: int) -> None:
        self.cap = cap
        self._span_ns = span_ns
        self._granted: deque[tuple[int, int]] = deque()
        self._used = 0

    def used(self, mono_ns: int) -> int:
        """Sum of the window that ends now."""
        while self._granted and self._granted[0][0] <= mono_ns - self._span_ns:
            self._used -= self._granted.popleft()[1]
        return self._used

    def take(self, weight: int, mono_ns: int) -> None:
        """Count it."""
        self._granted.append((mono_ns, weight))
        self._used += weight

    def give_back(self, weight: int, mono_ns: int) -> None:
        """What was granted at `mono_ns` was not used."""
        if (mono_ns, weight) in self._granted:
            self._granted.remove((mono_ns, weight))
            self._used -= weight

    def wait_ns(self, weight: int, mono_ns: int) -> int:
        """How long until `weight` fits; 0 = now."""
        excess = self.used(mono_ns) + weight - self.cap
        wait_ns = 0
        for granted_ns, granted in self._granted:
            if excess <= 0:
                break
            excess -= granted
            wait_ns = granted_ns + self._span_ns - mono_ns
        return wait_ns


class VenueMinute:
    """Request weight of the running clock minute: what left from here, or more where the venue says so."""

    def __init__(self) -> None:
        self._minute = 0
        self._used = 0

    def used(self, wall_ns: int) -> int:
        """Weight used in the minute of `wall_ns`."""
        return self._used if wall_ns // MINUTE_NS == self._minute else 0

    def take(self, weight: int, wall_ns: int) -> None:
        """Count a request; a negative weight takes one back."""
        self._used, self._minute = max(self.used(wall_ns) + weight, 0), wall_ns // MINUTE_NS

    def report(self, used: int, wall_ns: int) -> None:
        """The venue's count. It does not hold what is still on its way there, so a lower one changes nothing."""
        self._used, self._minute = max(self.used(wall_ns), used), wall_ns // MINUTE_NS

    def wait_ns(self, weight: int, cap: int, wall_ns: int) -> int:
        """How long until `weight` fits; 0 = now."""
        used = self.used(wall_ns)
        return 0 if used == 0 or used + weight <= cap else MINUTE_NS - wall_ns % MINUTE_NS


class Queue:
    """Who waits for a grant: by priority, then in order of arrival. Only the first may go, so that a heavy one is not
    overtaken for ever by light ones.

    wait_ns: how long until a weight fits, 0 = now. take: count a grant; gives what undoes it.
    """

    def __init__(self, clock: Clock, wait_ns: Callable[[int], int], take: Callable[[int], Callable[[], None]]) -> None:
        self._clock = clock
        self._wait_ns = wait_ns
        self._take = take
        self._waiting: list[tuple[int, int, int, asyncio.Future[Callable[[], None]]]] = []
        self._arrivals = 0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return sum(not future.done() for *_, future in self._waiting)

    async def wait(self, weight: int, priority: int) -> None:
        """Return once granted. A caller that is cancelled takes nothing."""
        future: asyncio.Future[Callable[[], None]] = asyncio.get_running_loop().create_future()
        self._arrivals += 1
        heapq.heappush(self._waiting, (priority, self._arrivals, weight, future))
        self.pump()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():  # granted just before
                future.result()()
            self.pump()
            raise

    def pump(self) -> None:
        """Grant what may go now, and see to it that the next one goes in time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            _, _, weight, future = self._waiting[0]
            if not future.done():
                wait_ns = self._wait_ns(weight)
                if wait_ns > 0:
                    self._timer = self._clock.call_later(wait_ns / SECOND_NS, self.pump)
                    return
                future.set_result(self._take(weight))
            heapq.heappop(self._waiting)


class Limits:
    """The limits of one address at one venue; pure asyncio, for one event loop.

    weight_per_minute, connections_per_5_min: the venue's; SHARE of them is used. assumed_used: share of ours taken as
    used already, where what an earlier process used is unknown.
    """

    def __init__(
        self,
        weight_per_minute: int,
        connections_per_5_min: int,
        *,
        assumed_used: float = 0.0,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self._weights = SlidingWindow(MINUTE_NS, math.floor(SHARE * weight_per_minute))
        self._minute = VenueMinute()
        self._attempts = SlidingWindow(CONNECTION_WINDOW_NS, math.floor(SHARE * connections_per_5_min))
        self._blocked_ns = {"requests": 0, "sockets": 0}
        self._reason: str | None = None
        self._requests = Queue(self._clock, self._weight_wait_ns, self._take_weight)
        self._sockets = Queue(self._clock, self._connection_wait_ns, self._take_connection)
        if assumed_used:
            for window in (self._weights, self._attempts):
                window.take(math.ceil(assumed_used * window.cap), self._clock.mono_ns())

    async def connection(self) -> None:
        """Return once one more connection attempt is allowed, in order of arrival."""
        await self._sockets.wait(1, 0)

    async def weight(self, weight: int, priority: Priority) -> None:
        """Return once a request of this weight may leave: the first in priority, then in order of arrival."""
        await self._requests.wait(weight, priority)

    async def report(self, used: int) -> None:
        """The venue's own count of the running minute (X-MBX-USED-WEIGHT-1M)."""
        self._minute.report(used, self._clock.wall_ns())

    async def set_weight_limit(self, per_minute: int) -> None:
        """The venue's limit, as its exchangeInfo says."""
        self._weights.cap = math.floor(SHARE * per_minute)
        self._requests.pump()

    async def block(self, until_ns: int, reason: str, *, sockets: bool = True) -> None:
        """Nothing may leave until then (wall clock, ns); sockets: connections neither. An earlier block holds on."""
        # Kept by the monotonic clock: a step of the wall clock neither ends a ban nor makes it endless.
        until_mono_ns = self._clock.mono_ns() + until_ns - self._clock.wall_ns()
        if until_mono_ns > self._blocked_ns["requests"]:
            self._reason = reason
        for what in ("requests", "sockets") if sockets else ("requests",):
            self._blocked_ns[what] = max(self._blocked_ns[what], until_mono_ns)
        self._requests.pump()
        self._sockets.pump()

    async def state(self) -> LimitsState:
        """Counts for `status`."""
        mono_ns, wall_ns = self._clock.mono_ns(), self._clock.wall_ns()
        blocked_ns = self._blocked_ns["requests"] - mono_ns
        return LimitsState(
            used_weight=max(self._weights.used(mono_ns), self._minute.used(wall_ns)),
            weight_limit=self._weights.cap,
            waiting=len(self._requests),
            connections=self._attempts.used(mono_ns),
            connection_limit=self._attempts.cap,
            waiting_connections=len(self._sockets),
            blocked_until_ns=wall_ns + blocked_ns if blocked_ns > 0 else None,
            reason=self._reason if blocked_ns > 0 else None,
        )

    def _weight_wait_ns(self, weight: int) -> int:
        mono_ns = self._clock.mono_ns()
        return max(
            self._blocked_ns["requests"] - mono_ns,
            self._weights.wait_ns(weight, mono_ns),
            self._minute.wait_ns(weight, self._weights.cap, self._clock.wall_ns()),
        )

    def _take_weight(self, weight: int) -> Callable[[], None]:
        mono_ns, wall_ns = self._clock.mono_ns(), self._clock.wall_ns()
        self._weights.take(weight, mono_ns)
        self._minute.take(weight, wall_ns)

        def give_back() -> None:
            self._weights.give_back(weight, mono_ns)
            if self._clock.wall_ns() // MINUTE_NS == wall_ns // MINUTE_NS:
                self._minute.take(-weight, wall_ns)

        return give_back

    def _connection_wait_ns(self, weight: int) -> int:
        mono_ns = self._clock.mono_ns()
        return max(self._blocked_ns["sockets"] - mono_ns, self._attempts.wait_ns(weight, mono_ns))

    def _take_connection(self, weight: int) -> Callable[[], None]:
        mono_ns = self._clock.mono_ns()
        self._attempts.take(weight, mono_ns)
        return lambda: self._attempts.give_back(weight, mono_ns)
