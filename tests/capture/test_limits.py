"""The limits of an address: never over a budget, in order of priority, nobody starved, nothing lost by cancelling."""

import asyncio
import heapq
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.capture.limits import CONNECTION_WINDOW_NS, MINUTE_NS, Clock, Limits, Priority

SECOND_NS = 10**9


class FakeTimer(asyncio.TimerHandle):
    """Only knows whether it was cancelled."""

    def __init__(self) -> None:
        self._off = False

    def cancel(self) -> None:
        self._off = True

    def cancelled(self) -> bool:
        return self._off


class FakeClock(Clock):
    """Time that goes on only when told; the wall clock can be set."""

    def __init__(self, wall_ns: int = 7 * MINUTE_NS) -> None:
        self.now_ns = 10**15
        self.wall_offset_ns = wall_ns - self.now_ns
        self._timers: list[tuple[int, int, FakeTimer, Callable[[], None]]] = []
        self._made = 0

    def wall_ns(self) -> int:
        return self.now_ns + self.wall_offset_ns

    def mono_ns(self) -> int:
        return self.now_ns

    def call_later(self, delay_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        timer = FakeTimer()
        self._made += 1
        heapq.heappush(self._timers, (self.now_ns + round(delay_s * 1e9), self._made, timer, call))
        return timer

    async def go(self, seconds: float) -> None:
        """Let so much time pass, calling what is due at its moment."""
        end_ns = self.now_ns + round(seconds * 1e9)
        await _settle()
        while self._timers and self._timers[0][0] <= end_ns:
            due_ns, _, timer, call = heapq.heappop(self._timers)
            self.now_ns = max(due_ns, self.now_ns)
            if not timer.cancelled():
                call()
                await _settle()
        self.now_ns = end_ns


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@dataclass
class Run:
    """Waiters of one `Limits`, and when each was granted."""

    limits: Limits
    clock: FakeClock
    granted: list[tuple[int, int, str]] = field(default_factory=list)
    tasks: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)

    async def ask(self, name: str, weight: int, priority: Priority = Priority.POLL) -> None:
        """Ask, and come back once the waiter is in the queue."""

        async def wait() -> None:
            await self.limits.weight(weight, priority)
            self.granted.append((self.clock.now_ns, weight, name))

        self.tasks[name] = asyncio.create_task(wait())
        await _settle()

    async def connect(self, name: str) -> None:
        """Ask for a connection."""

        async def wait() -> None:
            await self.limits.connection()
            self.granted.append((self.clock.now_ns, 1, name))

        self.tasks[name] = asyncio.create_task(wait())
        await _settle()

    async def cancel(self, name: str) -> None:
        """Cancel a waiter."""
        self.tasks[name].cancel()
        await _settle()

    @property
    def order(self) -> list[str]:
        """Names in the order they were granted."""
        return [name for _, _, name in self.granted]

    async def end(self) -> None:
        """Cancel who still waits."""
        for task in self.tasks.values():
            task.cancel()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


def play(scenario: Callable[[Run], Coroutine[Any, Any, None]], weight_limit: int = 100, connections: int = 10) -> Run:
    """Run a scenario on a clock of its own."""

    async def main() -> Run:
        clock = FakeClock()
        run = Run(Limits(weight_limit, connections, clock=clock), clock)
        await scenario(run)
        await run.end()
        return run

    return asyncio.run(main())


def heaviest_window(granted: list[tuple[int, int, str]], span_ns: int) -> int:
    """The most that any window of `span_ns` holds."""
    return max(
        (sum(weight for at_ns, weight, _ in granted if start_ns <= at_ns < start_ns + span_ns))
        for start_ns, _, _ in granted
    )


asks = st.lists(
    st.tuples(
        st.integers(0, 30_000),  # ms since the one before
        st.integers(1, 80),
        st.sampled_from(Priority),
        st.sampled_from(["stay", "stay", "cancel"]),
        st.integers(-90_000, 90_000),  # ms by which the wall clock is set
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(asks)
def test_no_window_of_a_minute_is_ever_over_the_budget_and_all_are_served(
    asked: list[tuple[int, int, Priority, str, int]],
) -> None:
    async def scenario(run: Run) -> None:
        for number, (after_ms, weight, priority, fate, step_ms) in enumerate(asked):
            await run.clock.go(after_ms / 1000)
            run.clock.wall_offset_ns += step_ms * 10**6
            await run.ask(str(number), weight, priority)
            if fate == "cancel":
                await run.cancel(str(number))
        await run.clock.go(60 * (2 * len(asked) + 1))
        stayed = {str(number) for number, (*_, fate, _) in enumerate(asked) if fate == "stay"}
        assert stayed <= set(run.order)
        assert (await run.limits.state()).waiting == 0

    run = play(scenario)
    if run.granted:
        assert heaviest_window(run.granted, MINUTE_NS) <= 80


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 80), st.sampled_from(Priority)), min_size=1, max_size=25))
def test_those_that_wait_go_by_priority_then_in_order_of_arrival(asked: list[tuple[int, Priority]]) -> None:
    async def scenario(run: Run) -> None:
        await run.ask("first", 80)  # takes all, so that the others wait
        for number, (weight, priority) in enumerate(asked):
            await run.ask(str(number), weight, priority)
        await run.clock.go(60 * (2 * len(asked) + 2))

    run = play(scenario)
    ranked = sorted(range(len(asked)), key=lambda number: (asked[number][1], number))
    assert run.order == ["first", *map(str, ranked)]


def test_a_heavy_one_is_not_starved_by_light_ones_of_lower_priority() -> None:
    async def scenario(run: Run) -> None:
        await run.ask("before", 30)
        await run.clock.go(1)
        await run.ask("heavy", 80, Priority.SNAPSHOT_START)
        for second in range(70):
            await run.ask(f"light {second}", 1, Priority.POLL)
            await run.clock.go(1)

    run = play(scenario)
    assert run.order[:2] == ["before", "heavy"]
    assert (run.granted[1][0] - run.granted[0][0]) == MINUTE_NS


def test_who_waits_goes_as_soon_as_enough_has_left_the_window() -> None:
    async def scenario(run: Run) -> None:
        for name in ("first", "second"):
            await run.ask(name, 40)
            await run.clock.go(10)
        await run.ask("waits", 30)
        await run.clock.go(100)

    run = play(scenario)
    assert run.granted[2][0] - run.granted[0][0] == MINUTE_NS


def test_the_venues_own_count_holds_until_its_minute_ends() -> None:
    async def scenario(run: Run) -> None:
        await run.clock.go(20)
        await run.limits.report(75)  # another program's
        await run.limits.report(60)  # an answer that was overtaken
        await run.ask("fits", 5)
        await run.ask("waits", 1)
        assert run.order == ["fits"]
        assert (await run.limits.state()).used_weight == 80
        await run.clock.go(39)
        assert run.order == ["fits"]
        await run.clock.go(1)
        assert run.order == ["fits", "waits"]
        await run.limits.report(0)
        assert (await run.limits.state()).used_weight == 6  # what is on its way is not in the venue's count

    play(scenario)


def test_a_new_limit_counts_at_once() -> None:
    async def scenario(run: Run) -> None:
        await run.ask("a", 80)
        await run.ask("b", 40)
        await run.limits.set_weight_limit(150)
        await _settle()
        assert run.order == ["a", "b"]
        await run.limits.set_weight_limit(10)
        await run.ask("heavier than all that is left to us", 20)
        await run.clock.go(60)
        assert len(run.order) == 3  # alone, else it would wait for ever

    play(scenario)


@pytest.mark.parametrize("step_s", [0, 3600, -3600])
def test_nothing_leaves_during_a_ban_whatever_becomes_of_the_wall_clock(step_s: int) -> None:
    async def scenario(run: Run) -> None:
        await run.limits.block(run.clock.wall_ns() + 100 * SECOND_NS, "banned")
        await run.limits.block(run.clock.wall_ns() + 30 * SECOND_NS, "called too often", sockets=False)
        await run.ask("request", 1)
        await run.connect("socket")
        run.clock.wall_offset_ns += step_s * SECOND_NS
        state = await run.limits.state()
        assert (state.waiting, state.waiting_connections, state.reason) == (1, 1, "banned")
        assert state.blocked_until_ns == run.clock.wall_ns() + 100 * SECOND_NS
        await run.clock.go(99.9)
        assert run.order == []
        await run.clock.go(0.1)
        assert run.order == ["request", "socket"]
        assert (await run.limits.state()).blocked_until_ns is None

    play(scenario)


def test_too_many_requests_stop_no_sockets() -> None:
    async def scenario(run: Run) -> None:
        await run.limits.block(run.clock.wall_ns() + 30 * SECOND_NS, "called too often", sockets=False)
        await run.connect("socket")
        await run.ask("request", 1)
        assert run.order == ["socket"]
        await run.clock.go(30)
        assert run.order == ["socket", "request"]

    play(scenario)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 90_000), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_connections_are_within_the_window_first_come_first_served(pauses_ms: list[int], chance: random.Random) -> None:
    kept: list[str] = []

    async def scenario(run: Run) -> None:
        for number, pause_ms in enumerate(pauses_ms):
            await run.clock.go(pause_ms / 1000)
            await run.connect(str(number))
            if chance.random() < 0.2:
                await run.cancel(str(number))
            else:
                kept.append(str(number))
        await run.clock.go(300 * len(pauses_ms))
        assert (await run.limits.state()).waiting_connections == 0

    run = play(scenario)
    assert [name for name in run.order if name in kept] == kept
    if run.granted:
        assert heaviest_window(run.granted, CONNECTION_WINDOW_NS) <= 8


def test_who_is_cancelled_gives_back_what_was_granted_and_lets_the_next_go() -> None:
    async def scenario(run: Run) -> None:
        clock, limits = run.clock, run.limits
        await run.ask("all", 80)
        task = asyncio.create_task(limits.weight(80, Priority.CLOCK))
        await run.ask("next", 80, Priority.POLL)
        clock.now_ns += MINUTE_NS
        limits._requests.pump()  # grants to `task`, which is cancelled before it has run again
        assert (await limits.state()).used_weight == 80
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        await _settle()
        assert run.order == ["all", "next"]
        assert (await limits.state()).used_weight == 80

        for number in range(8):
            await run.connect(f"socket {number}")
        attempt = asyncio.create_task(limits.connection())
        await _settle()
        clock.now_ns += CONNECTION_WINDOW_NS
        limits._sockets.pump()
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        assert (await limits.state()).connections == 0

    play(scenario)


def test_half_may_be_taken_as_used() -> None:
    async def main() -> None:
        clock = FakeClock()
        limits = Limits(100, 10, assumed_used=0.5, clock=clock)
        run = Run(limits, clock)
        await run.ask("fits", 40)
        await run.ask("waits", 1)
        for number in range(5):
            await run.connect(f"socket {number}")
        assert run.order == ["fits", "socket 0", "socket 1", "socket 2", "socket 3"]
        await clock.go(300)
        assert len(run.order) == 7

    asyncio.run(main())


async def test_on_the_real_clock_a_wait_ends() -> None:
    limits = Limits(2400, 300)
    clock = Clock()
    await limits.block(clock.wall_ns() + 50_000_000, "banned")
    before_ns = clock.mono_ns()
    await asyncio.gather(limits.weight(20, Priority.POLL), limits.connection())
    assert clock.mono_ns() - before_ns >= 49_000_000
