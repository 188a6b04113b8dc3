"""Open interest, contract terms, the exchange's clock: asked again and again, whatever comes in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog
from aiohttp import web

from midas_ray.capture.contracts import Contract
from midas_ray.capture.polls import ClockMeter, ContractWatch, OpenInterest
from midas_ray.capture.rest import ClockSample, RestAnswer, RestClient
from midas_ray.errors import GeoBlockedError, VenueError
from midas_ray.venues import get_venue
from tests.capture.running import until
from tests.capture.test_rest import listing, serving

FUTURES = get_venue("binance-futures")
LOG = structlog.stdlib.get_logger()
INTEREST = str(FUTURES.open_interest_path)


@asynccontextmanager
async def polling(poll: OpenInterest | ContractWatch | ClockMeter) -> AsyncIterator["asyncio.Task[None]"]:
    """`run()` inside the block."""
    task = asyncio.create_task(poll.run())
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


class Interest:
    """A server of open interest, that holds back or refuses some symbols."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, str]] = []
        self.status: dict[str, int] = {}

    def __call__(self, request: web.Request) -> web.Response:
        symbol = request.query["symbol"]
        self.asked.append((time.monotonic(), symbol))
        return web.json_response({"openInterest": "1.5", "symbol": symbol}, status=self.status.get(symbol, 200))


async def test_open_interest_of_each_symbol_is_asked_spread_over_the_period() -> None:
    server, got, symbols = Interest(), list[tuple[str, RestAnswer]](), ["btcusdt", "ethusdt"]
    server.status["ETHUSDT"] = 502
    async with serving({INTEREST: server}) as url, RestClient(FUTURES, url) as rest:
        poll = OpenInterest(rest, lambda: symbols, lambda *item: got.append(item), LOG, period_s=0.4)
        before_s = time.monotonic()
        async with polling(poll):
            await until(lambda: len(got) >= 4, "two rounds")
            symbols.append("solusdt")  # added while it runs
            await until(lambda: any(symbol == "solusdt" for symbol, _ in got), "the new symbol")
    assert [name for _, name in server.asked[:4]] == ["BTCUSDT", "ETHUSDT"] * 2
    assert [place for place, (at_s, _) in enumerate(server.asked[:4]) if at_s < before_s + 0.2 * place] == []
    symbol, answer = got[0]
    assert (symbol, answer.status, answer.path) == ("btcusdt", 200, f"{INTEREST}?symbol=BTCUSDT")
    assert b'"openInterest": "1.5"' in answer.payload
    assert (got[1][0], got[1][1].status) == ("ethusdt", 502)  # kept, too
    assert poll.failures >= 2


async def test_open_interest_goes_on_where_the_exchange_is_away() -> None:
    async with serving({}) as url:
        pass
    async with RestClient(FUTURES, url) as rest:
        poll = OpenInterest(rest, lambda: ["btcusdt"], lambda *_: None, LOG, period_s=0.02)
        async with polling(poll) as task:
            await until(lambda: poll.failures >= 3, "three failures")
            assert not task.done()
            assert "cannot reach the exchange" in str(poll.last_error)


async def test_an_answer_that_does_not_come_delays_no_other_symbol() -> None:
    held, got, sent = asyncio.Event(), list[str](), list[str]()

    class Slow(RestClient):
        async def send(self, path: str, **query: str | int) -> RestAnswer:
            sent.append(str(query["symbol"]))
            if query["symbol"] == "BTCUSDT":
                await held.wait()
            return await super().send(path, **query)

    server = Interest()
    async with serving({INTEREST: server}) as url, Slow(FUTURES, url) as rest:
        poll = OpenInterest(
            rest, lambda: ["btcusdt", "ethusdt"], lambda symbol, _: got.append(symbol), LOG, period_s=0.05
        )
        async with polling(poll):
            await until(lambda: len(got) >= 3, "answers")
            assert set(got) == {"ethusdt"}
            assert sent.count("BTCUSDT") == 1  # not asked again while it is on its way
            held.set()
            await until(lambda: "btcusdt" in got, "the answer that was late")


async def test_a_venue_without_open_interest_is_not_asked() -> None:
    spot = get_venue("binance-spot")
    rest = RestClient(spot, "http://127.0.0.1:9")
    poll = OpenInterest(rest, lambda: ["btcusdt"], lambda *_: None, LOG, period_s=0.01)
    async with rest, polling(poll) as task:
        await asyncio.sleep(0.05)
        assert not task.done()
        assert poll.failures == 0


def _poll_of(name: str, rest: RestClient) -> OpenInterest | ContractWatch | ClockMeter:
    match name:
        case "interest":
            return OpenInterest(rest, lambda: ["btcusdt"], lambda *_: None, LOG, period_s=0.02)
        case "contracts":
            return ContractWatch(rest, lambda: ["btcusdt"], lambda *_: None, LOG, period_s=0.02)
    return ClockMeter(rest, lambda _: None, LOG, period_s=0.02, pause_s=0.0)


@pytest.mark.parametrize("name", ["interest", "contracts", "clock"])
async def test_a_geo_block_ends_each_with_one_line(name: str) -> None:
    paths = (INTEREST, FUTURES.exchange_info_path, FUTURES.time_path)
    async with (
        serving({path: lambda _: web.Response(status=451) for path in paths}) as url,
        RestClient(FUTURES, url) as rest,
    ):
        with pytest.raises(GeoBlockedError, match=r"not served in this country \(HTTP 451\)"):
            async with asyncio.timeout(10):
                await _poll_of(name, rest).run()


@pytest.mark.parametrize("name", ["interest", "contracts", "clock"])
async def test_each_ends_when_cancelled_and_goes_on_after_errors(name: str) -> None:
    answer: Callable[[web.Request], web.Response] = lambda _: web.Response(text="<html>")  # noqa: E731
    paths = (FUTURES.exchange_info_path, FUTURES.time_path)
    routes = {path: answer for path in paths} | {INTEREST: lambda _: web.Response(status=404)}
    async with serving(routes) as url, RestClient(FUTURES, url) as rest:
        poll = _poll_of(name, rest)
        async with polling(poll) as task:
            await until(lambda: poll.failures >= 2, "two failures")
            assert poll.last_error is not None
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


class Listed:
    """exchangeInfo that changes."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.entries = {entry["symbol"]: entry for entry in entries}

    def __call__(self, _request: web.Request) -> web.Response:
        return web.json_response({"rateLimits": [], "symbols": list(self.entries.values())})


Told = list[tuple[str, Contract, Contract | None]]


@asynccontextmanager
async def watching(server: Listed, symbols: list[str]) -> AsyncIterator[tuple[ContractWatch, Told]]:
    """A watch that is told when to look, and what it delivered."""
    told: Told = []
    async with serving({FUTURES.exchange_info_path: server}) as url, RestClient(FUTURES, url) as rest:
        yield ContractWatch(rest, lambda: symbols, lambda *item: told.append(item), LOG), told


async def test_changes_of_terms_are_told_once_with_what_was_before() -> None:
    server = Listed(listing("BTCUSDT"), listing("ETHUSDT"))
    async with watching(server, ["btcusdt", "ethusdt"]) as (watch, told):
        await watch.look()
        assert [(symbol, now.tick_size, before) for symbol, now, before in told] == [
            ("btcusdt", "0.10", None),
            ("ethusdt", "0.10", None),
        ]
        told.clear()
        await watch.look()
        assert told == []
        server.entries["ETHUSDT"]["filters"][3]["tickSize"] = "0.01"
        await watch.look()
        await watch.look()
    ((symbol, now, before),) = told
    assert before is not None
    assert (symbol, now.tick_size, before.tick_size) == ("ethusdt", "0.01", "0.10")


@pytest.mark.parametrize(("how", "status"), [("gone", "UNLISTED"), ("settling", "SETTLING")])
async def test_the_end_of_a_contract_is_told_once_two_answers_in_a_row_say_so(how: str, status: str) -> None:
    server = Listed(listing("BTCUSDT"), listing("OLDUSDT"))
    async with watching(server, ["btcusdt", "oldusdt"]) as (watch, told):

        def end() -> None:
            if how == "gone":
                server.entries.pop("OLDUSDT")
            else:
                server.entries["OLDUSDT"] = listing("OLDUSDT", "SETTLING")

        await watch.look()
        told.clear()
        end()
        await watch.look()
        server.entries["OLDUSDT"] = listing("OLDUSDT")
        await watch.look()
        end()
        await watch.look()
        assert told == []  # never twice in a row
        await watch.look()
        await watch.look()
        ((symbol, now, before),) = told
        assert before is not None
        assert (symbol, now.status, now.trading, before.trading) == ("oldusdt", status, False, True)
        assert now.tick_size == "0.10"
        server.entries["OLDUSDT"] = listing("OLDUSDT")
        await watch.look()
        assert [(symbol, now.trading) for symbol, now, _ in told[1:]] == [("oldusdt", True)]


async def test_a_symbol_that_left_and_came_again_is_seen_anew() -> None:
    symbols = ["btcusdt"]
    async with watching(Listed(listing("BTCUSDT")), symbols) as (watch, told):
        await watch.look()
        symbols.clear()
        await watch.look()
        symbols.append("btcusdt")
        await watch.look()
    assert [before for _, _, before in told] == [None, None]


async def test_an_end_is_confirmed_soon_and_the_watch_goes_on() -> None:
    server, told = Listed(listing("OLDUSDT")), list[Any]()
    async with serving({FUTURES.exchange_info_path: server}) as url, RestClient(FUTURES, url) as rest:
        watch = ContractWatch(
            rest, lambda: ["oldusdt"], lambda *item: told.append(item), LOG, period_s=0.2, confirm_s=0.01
        )
        async with polling(watch):
            await until(lambda: len(told) == 1, "the first sight")
            server.entries.clear()
            await until(lambda: len(told) == 2, "the end")
    assert told[1][1].status == "UNLISTED"


class Clocks(RestClient):
    """Clock samples as told; None: no answer."""

    samples: list[ClockSample | None]

    async def clock(self) -> ClockSample:
        sample = self.samples.pop(0)
        if sample is None:
            raise VenueError("no answer")
        return sample


async def test_of_several_samples_the_one_of_the_shortest_round_trip_counts() -> None:
    told: list[ClockSample] = []
    rest = Clocks(FUTURES)
    meter = ClockMeter(rest, told.append, LOG, pause_s=0.0)
    rest.samples = [ClockSample(9.0, 40.0), None, ClockSample(3.5, 12.0), ClockSample(7.0, 30.0), None]
    await meter.measure()
    assert told == [ClockSample(3.5, 12.0)]
    assert (meter.offset_ms, meter.round_trip_ms) == (3.5, 12.0)
    rest.samples = [None] * 5
    with pytest.raises(VenueError, match="no answer"):
        await meter.measure()
    assert (meter.offset_ms, len(told)) == (3.5, 1)  # the last one known stays


async def test_the_clock_is_measured_again_when_this_machines_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[ClockSample] = []
    rest = Clocks(FUTURES)
    rest.samples = [ClockSample(0.0, 1.0)] * 5 + [ClockSample(-500.0, 1.0)] * 100
    wall_over_mono_ms = [0.0]
    monkeypatch.setattr("midas_ray.capture.polls._wall_over_mono_ms", lambda: wall_over_mono_ms[0])
    meter = ClockMeter(rest, told.append, LOG, period_s=600, pause_s=0.0, step_check_s=0.01)
    async with polling(meter):
        await until(lambda: len(told) == 1, "a measure")
        await asyncio.sleep(0.1)
        assert len(told) == 1
        wall_over_mono_ms[0] = 500.0
        await until(lambda: len(told) == 2, "another one")
    assert meter.offset_ms == -500.0


async def test_the_clock_is_measured_again_each_period() -> None:
    told: list[ClockSample] = []
    rest = Clocks(FUTURES)
    rest.samples = [ClockSample(float(number), 1.0) for number in range(1000)]
    async with polling(ClockMeter(rest, told.append, LOG, period_s=0.02, pause_s=0.0)):
        await until(lambda: len(told) >= 3, "three measures")
    assert [sample.offset_ms for sample in told[:3]] == [0.0, 5.0, 10.0]
