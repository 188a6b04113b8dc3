"""Snapshots: each book's own, urgent ones first, none from before the stream was lost."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from midas_ray.capture.limits import IpLimits, Limits, Priority
from midas_ray.capture.rest import RestAnswer, RestClient
from midas_ray.capture.snapshots import SnapshotFetcher
from midas_ray.errors import GeoBlockedError
from midas_ray.venues import get_venue
from tests.capture.running import until
from tests.capture.scripted import ScriptedExchange

FUTURES = get_venue("binance-futures")
LOG = structlog.stdlib.get_logger()


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions at once: how long they wait is the backoff's business."""
    monkeypatch.setattr("midas_ray.capture.snapshots.full_jitter_s", lambda _attempt: 0.01)


class Gate(Limits):
    """Limits that note what is asked, and let it go when the test says so."""

    def __init__(self) -> None:
        super().__init__(2400, 300)
        self.asked: list[Priority] = []
        self.open = asyncio.Event()

    async def weight(self, weight: int, priority: Priority) -> None:
        assert weight == 20
        self.asked.append(priority)
        await self.open.wait()


class Fetching:
    """A fetcher that runs, and what it delivered."""

    def __init__(self, rest: RestClient, symbol: str = "btcusdt") -> None:
        self.delivered: list[tuple[RestAnswer, bool]] = []
        self.fetcher = SnapshotFetcher(rest, symbol, 1000, lambda *item: self.delivered.append(item), LOG)
        self.fetcher.flowing.set()
        self.task = asyncio.create_task(self.fetcher.run())

    async def came(self, n: int) -> None:
        """Wait until so many answers were delivered."""
        await until(lambda: len(self.delivered) >= n or self.task.done(), f"{n} answers")


@asynccontextmanager
async def fetching(
    exchange: ScriptedExchange, limits: IpLimits | None = None, symbol: str = "btcusdt"
) -> AsyncIterator[Fetching]:
    """A fetcher inside the block."""
    async with RestClient(FUTURES, exchange.url, limits) as rest:
        found = Fetching(rest, symbol)
        yield found
        found.task.cancel()
        await asyncio.gather(found.task, return_exceptions=True)


async def test_requests_made_while_one_is_on_its_way_become_one_more() -> None:
    gate = Gate()
    async with ScriptedExchange() as exchange, fetching(exchange, gate) as it:
        exchange.holds["BTCUSDT"] = asyncio.Event()
        it.fetcher.request("start")
        await until(lambda: len(gate.asked) == 1, "a request")
        for _ in range(5):
            it.fetcher.request("too-old")
        gate.open.set()
        await until(lambda: len(exchange.requests) == 1, "a request at the exchange")
        for _ in range(5):
            it.fetcher.request("too-old")
        exchange.holds["BTCUSDT"].set()
        await it.came(2)
        await asyncio.sleep(0.1)
        assert [usable for _, usable in it.delivered] == [True, True]
        assert it.fetcher.fetched == 2


async def test_an_answer_asked_before_the_stream_was_lost_is_not_used_and_fetched_anew() -> None:
    async with ScriptedExchange() as exchange, fetching(exchange) as it:
        exchange.holds["BTCUSDT"] = asyncio.Event()
        it.fetcher.request("start")
        await until(lambda: len(exchange.requests) == 1, "a request at the exchange")
        it.fetcher.new_epoch()
        assert not it.fetcher.flowing.is_set()
        it.fetcher.flowing.set()
        exchange.holds["BTCUSDT"].set()
        await it.came(2)
        (first, first_usable), (second, second_usable) = it.delivered
        assert (first.status, first_usable) == (200, False)
        assert (second.status, second_usable) == (200, True)
        assert first.sent_ns < first.recv_ns < second.sent_ns


async def test_a_request_that_waited_for_its_weight_while_the_stream_was_lost_is_of_the_new_epoch() -> None:
    gate = Gate()
    async with ScriptedExchange() as exchange, fetching(exchange, gate) as it:
        it.fetcher.request("start")
        await until(lambda: len(gate.asked) == 1, "a request")
        it.fetcher.new_epoch()
        it.fetcher.flowing.set()
        gate.open.set()
        await it.came(1)
        await asyncio.sleep(0.1)
        assert [usable for _, usable in it.delivered] == [True]


async def test_a_repetition_is_as_urgent_as_what_it_repeats() -> None:
    gate = Gate()
    gate.open.set()
    async with ScriptedExchange() as exchange, fetching(exchange, gate) as it:
        exchange.refusals = [(500, "down", {}), (500, "down", {})]
        it.fetcher.request("gap")
        await it.came(3)
        exchange.refusals = [(500, "down", {})]
        it.fetcher.request("thin")
        await it.came(5)
        it.fetcher.request("start")
        await it.came(6)
    gap, thin, start = Priority.SNAPSHOT_GAP, Priority.SNAPSHOT_THIN, Priority.SNAPSHOT_START
    assert gate.asked == [gap, gap, gap, thin, thin, start]
    assert [answer.status for answer, _ in it.delivered] == [500, 500, 200, 500, 200, 200]
    assert it.fetcher.last_error is None


async def test_a_more_urgent_reason_takes_the_place_of_a_waiting_request() -> None:
    gate = Gate()
    async with ScriptedExchange() as exchange, fetching(exchange, gate) as it:
        it.fetcher.request("thin")
        await until(lambda: len(gate.asked) == 1, "a request")
        it.fetcher.request("gap")
        await until(lambda: len(gate.asked) == 2, "a more urgent request")
        gate.open.set()
        await it.came(1)
        await asyncio.sleep(0.1)
        assert gate.asked == [Priority.SNAPSHOT_THIN, Priority.SNAPSHOT_GAP]
        assert len(it.delivered) == 1


async def test_refusals_are_delivered_and_a_geo_block_ends_it() -> None:
    async with ScriptedExchange() as exchange, fetching(exchange) as it:
        exchange.refusals = [(502, "<html>", {}), (451, "", {})]
        it.fetcher.request("start")
        await it.came(2)
        with pytest.raises(GeoBlockedError, match=r"/fapi/v1/depth: not served in this country \(HTTP 451\)"):
            await it.task
        assert [answer.status for answer, _ in it.delivered] == [502, 451]


async def test_one_symbols_trouble_does_not_delay_anothers() -> None:
    async with ScriptedExchange() as exchange, RestClient(FUTURES, exchange.url) as rest:
        exchange.holds["ETHUSDT"] = asyncio.Event()
        troubled, other = Fetching(rest, "ethusdt"), Fetching(rest, "btcusdt")
        troubled.fetcher.request("gap")
        await until(lambda: len(exchange.requests) == 1, "a request at the exchange")
        other.fetcher.request("start")
        await other.came(1)
        assert troubled.delivered == []
        exchange.holds["ETHUSDT"].set()
        await troubled.came(1)
        for it in (troubled, other):
            it.task.cancel()
        await asyncio.gather(troubled.task, other.task, return_exceptions=True)


async def test_the_stream_is_waited_for_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midas_ray.capture.snapshots.FLOW_WAIT_S", 0.2)
    async with ScriptedExchange() as exchange, fetching(exchange) as it:
        it.fetcher.new_epoch()
        before_ns = time.monotonic_ns()
        it.fetcher.request("start")
        await it.came(1)
        answer: Any = it.delivered[0][0]
        assert answer.sent_mono_ns - before_ns >= 190_000_000
