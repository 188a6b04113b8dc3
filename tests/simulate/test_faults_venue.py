"""Faults of REST, of snapshots and of the exchange as a whole, met by plain clients."""

import asyncio
import json
import time
from itertools import pairwise
from typing import Any

import pytest

from midas_ray.simulate.faults import Fault, Kind
from tests.simulate.dict_book import DictBook
from tests.simulate.plain_client import chain_is_whole, check_nothing_lost, faulty, get, snapshot, until

TRADES = "btcusdt@depth@100ms/btcusdt@trade"


async def test_ban_says_until_when() -> None:
    fault = Fault(kind=Kind.REST_REFUSED, at_s=0, duration_s=1.0, status=418)
    async with faulty(fault, clients=0) as (exchange, _):
        await until(exchange, "start", more_s=0)
        status, body, headers = await get(exchange, "/fapi/v1/depth?symbol=BTCUSDT")
        until_ms = int(body["msg"].split("banned until ")[1][:13])
        assert (status, body["code"], headers["Retry-After"]) == (418, -1003, "1")
        assert 0 < until_ms - exchange.now_us() // 1000 <= 1000
        await until(exchange, "end", more_s=0)
        await snapshot(exchange)
    assert exchange.fault_log.count("hit") == {"rest-refused": 1}


@pytest.mark.parametrize("status", [429, 451, 403, 500, 503])
async def test_refusals(status: int) -> None:
    fault = Fault(kind=Kind.REST_REFUSED, at_s=0, duration_s=9, status=status)
    async with faulty(fault, clients=0) as (exchange, _):
        await until(exchange, "start", more_s=0)
        for path in ("/fapi/v1/time", "/fapi/v1/exchangeInfo", "/fapi/v1/depth?symbol=BTCUSDT"):
            found, _, headers = await get(exchange, path)
            assert found == status
            assert ("Retry-After" in headers) == (status == 429)


async def test_rest_timeout_holds_the_answer() -> None:
    async with faulty(Fault(kind=Kind.REST_TIMEOUT, at_s=0, duration_s=0.8), clients=0) as (exchange, _):
        await until(exchange, "start", more_s=0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(get(exchange, "/fapi/v1/time"), 0.3)
        await until(exchange, "end", more_s=0)
        assert (await get(exchange, "/fapi/v1/time"))[0] == 200


async def test_slow_snapshot_is_of_the_time_asked_and_late() -> None:
    fault = Fault(kind=Kind.SLOW_SNAPSHOT, at_s=0.3, duration_s=9, delay_s=0.6)
    async with faulty(fault, clients=1) as (exchange, plain):
        await until(exchange, "start", more_s=0.2)
        asked_s = time.monotonic()
        first = await snapshot(exchange)
        assert time.monotonic() - asked_s >= 0.6
        assert plain[0].messages()[-1]["pu"] > first["lastUpdateId"]
        await asyncio.sleep(0.3)
    check_nothing_lost(exchange, plain, first)


async def test_stale_snapshot_is_true_but_does_not_join() -> None:
    fault = Fault(kind=Kind.STALE_SNAPSHOT, at_s=0.3, duration_s=1.0, provoke=True)
    async with faulty(fault) as (exchange, plain):
        await until(exchange, "lost", more_s=0.3)
        stale = await snapshot(exchange)
        await until(exchange, "end", more_s=0)
        fresh = await snapshot(exchange)
        await asyncio.sleep(0.4)
    book = DictBook(stale)
    assert (book.bids, book.asks) == cut(exchange.referee["btcusdt"].book(stale["lastUpdateId"]), stale)
    (lost, *_) = [entry for entry in exchange.fault_log.entries if entry["action"] == "lost"]
    assert stale["lastUpdateId"] < lost["u"] < fresh["lastUpdateId"]
    with pytest.raises(AssertionError, match="gap"):
        check_nothing_lost(exchange, plain, stale)
    check_nothing_lost(exchange, plain, fresh)


def cut(book: tuple[dict[Any, Any], dict[Any, Any]], shown: dict[str, Any]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The book's best levels, as many as a snapshot shows."""
    bids, asks = book
    return (
        dict(sorted(bids.items(), reverse=True)[: len(shown["bids"])]),
        dict(sorted(asks.items())[: len(shown["asks"])]),
    )


@pytest.mark.parametrize("kind", [Kind.SNAPSHOT_AT_U, Kind.SNAPSHOT_AT_PU, Kind.SNAPSHOT_BETWEEN])
async def test_snapshot_ids_at_hard_moments(kind: Kind) -> None:
    fault = Fault(kind=kind, at_s=0.6, duration_s=1.5, provoke=kind is Kind.SNAPSHOT_AT_PU)
    async with faulty(fault) as (exchange, plain):
        await until(exchange, "start", *(["lost"] if fault.provoke else []), more_s=0.35)
        first = await snapshot(exchange)
        await asyncio.sleep(0.5)
    book = DictBook(first)
    last_id = first["lastUpdateId"]
    assert (book.bids, book.asks) == cut(exchange.referee["btcusdt"].book(last_id), first)
    messages = plain[0].messages()
    after = next(m for m in messages if m["u"] > last_id)
    if kind is Kind.SNAPSHOT_AT_U:
        assert last_id in {m["u"] for m in messages}
    if kind is Kind.SNAPSHOT_AT_PU:
        assert last_id not in {m["u"] for m in messages}  # the event that ends there is the one that was lost
        jump = next(b for a, b in pairwise(messages) if b["pu"] != a["u"])
        assert jump == after
    if kind is Kind.SNAPSHOT_BETWEEN:
        assert after["pu"] < last_id < after["U"]
    else:
        assert after["pu"] == last_id
    check_nothing_lost(exchange, plain, first)


async def test_snapshot_at_the_pu_of_a_new_connections_first_event() -> None:
    async with faulty(Fault(kind=Kind.SNAPSHOT_AT_PU, at_s=0, duration_s=5), clients=1) as (exchange, plain):
        await asyncio.sleep(0.5)
        first = await snapshot(exchange)
        await asyncio.sleep(0.3)
    assert plain[0].messages()[0]["pu"] == first["lastUpdateId"]
    check_nothing_lost(exchange, plain, first)


@pytest.mark.parametrize("stream", ["depth", "trade"])
async def test_venue_gap_is_the_same_for_all(stream: str) -> None:
    fault = Fault(kind=Kind.VENUE_GAP, at_s=0.6, duration_s=0.2, stream=stream)
    async with faulty(fault, streams=TRADES, level_changes=100.0) as (exchange, plain):
        await until(exchange, "lost", "end", more_s=1.0)
    lost = [entry for entry in exchange.fault_log.entries if entry["action"] == "lost"]
    depth = [client.messages() for client in plain]
    trades = [[m["t"] for m in client.messages("btcusdt@trade")] for client in plain]
    if stream == "depth":
        jumps = [[(a["u"], b["pu"]) for a, b in pairwise(messages) if b["pu"] != a["u"]] for messages in depth]
        assert jumps == [[(lost[0]["pu"], lost[-1]["u"])]] * 2
        assert all(b == a + 1 for a, b in pairwise(trades[0]))
    else:
        assert chain_is_whole(depth[0])
        missing = {entry["t"] for entry in lost}
        received = set(trades[0]) | set(trades[1])
        assert missing
        assert not missing & received
        assert missing | received == set(range(min(missing | received), max(missing | received) + 1))


async def test_burst_comes_at_once_and_whole() -> None:
    async with faulty(Fault(kind=Kind.BURST, at_s=0.6, duration_s=0.8)) as (exchange, plain):
        await asyncio.sleep(0.3)
        first = await snapshot(exchange)
        await until(exchange, "start", more_s=0.2)
        count = len(plain[0].messages())
        await asyncio.sleep(0.3)
        assert len(plain[0].messages()) == count
        await until(exchange, "end", more_s=0.15)
        assert len(plain[0].messages()) >= count + 7
    check_nothing_lost(exchange, plain, first)


async def test_clock_step_moves_reported_times_only() -> None:
    async with faulty(Fault(kind=Kind.CLOCK_STEP, at_s=0.5, duration_s=1.5, offset_ms=-4000)) as (exchange, plain):
        await until(exchange, "start", more_s=0.2)
        _, body, _ = await get(exchange, "/fapi/v1/time")
        assert abs(body["serverTime"] + 4000 - exchange.now_us() // 1000) < 500
        await until(exchange, "end")
        _, body, _ = await get(exchange, "/fapi/v1/time")
        assert abs(body["serverTime"] - exchange.now_us() // 1000) < 500
    messages = plain[0].messages()
    assert [m["T"] for m in messages] == sorted(m["T"] for m in messages)
    offsets = [m["E"] - m["T"] for m in messages]
    assert {offset < -3000 for offset in offsets} == {True, False}
    assert all(-4000 <= offset <= -3800 or 0 <= offset <= 200 for offset in offsets)


async def test_delisting_ends_streams_and_shows_in_exchange_info() -> None:
    fault = Fault(kind=Kind.DELIST, at_s=0.6, duration_s=0, symbol="btcusdt")
    streams = "btcusdt@depth@100ms/ethusdt@depth@100ms"
    async with faulty(fault, streams=streams, symbols=("btcusdt", "ethusdt")) as (exchange, plain):
        await until(exchange, "start", more_s=0.1)
        count = len(plain[0].messages())
        others = len(plain[0].messages("ethusdt@depth@100ms"))
        await asyncio.sleep(0.5)
        assert len(plain[0].messages()) == count > 0
        assert len(plain[0].messages("ethusdt@depth@100ms")) > others
        assert len(plain[0].sessions) == 1
        _, info, _ = await get(exchange, "/fapi/v1/exchangeInfo")
    assert [symbol["status"] for symbol in info["symbols"]] == ["SETTLING", "TRADING"]


async def test_contract_change_shows_in_exchange_info_and_on_its_stream() -> None:
    fault = Fault(kind=Kind.CONTRACT_CHANGE, at_s=0.5, duration_s=0.5, symbol="btcusdt")
    async with faulty(fault, clients=1, streams="!contractInfo", route="/market") as (exchange, (client,)):
        shown = [await tick_and_lot(exchange)]
        for action in ("start", "end"):
            await until(exchange, action, more_s=0.1)
            shown.append(await tick_and_lot(exchange))
    assert shown == [("0.10", "0.001"), ("0.010", "0.0001"), ("0.10", "0.001")]
    (event,) = (json.loads(frame)["data"] for frame in client.sessions[0].frames)
    assert (event["e"], event["s"], event["cs"]) == ("contractInfo", "BTCUSDT", "TRADING")


async def tick_and_lot(exchange: Any) -> tuple[str, str]:
    _, info, _ = await get(exchange, "/fapi/v1/exchangeInfo")
    filters = {entry["filterType"]: entry for entry in info["symbols"][0]["filters"]}
    assert info["symbols"][0]["contractType"] == "PERPETUAL"
    return filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]


async def test_all_market_forced_orders_mix_both_kinds_of_contract() -> None:
    async with faulty(clients=1, streams="!forceOrder@arr", route="/market", subscribe=True) as (_, (client,)):
        async with asyncio.timeout(30):
            while not client.messages("!forceOrder@arr"):
                await asyncio.sleep(0.05)
    (first, *_) = client.messages("!forceOrder@arr")
    assert first["e"] == "forceOrder"
    assert (first["o"]["s"], first["st"]) in (("BTCUSD_PERP", 2), ("BTCUSDT", 1))


@pytest.mark.parametrize(
    ("venue", "path", "weight"),
    [
        ("binance-futures", "/fapi/v1/ticker/24hr", "40"),
        ("binance-spot", "/api/v3/ticker/24hr", "80"),
    ],
)
async def test_tickers_rank_the_symbols(venue: str, path: str, weight: str) -> None:
    symbols = ("ethusdt", "btcusdt", "solusdt")
    async with faulty(clients=0, symbols=symbols, venue=venue) as (exchange, _):
        status, tickers, headers = await get(exchange, path)
        _, one, _ = await get(exchange, path + "?symbol=SOLUSDT")
        unknown, _, _ = await get(exchange, path + "?symbol=FOO")
    assert (status, headers["X-MBX-USED-WEIGHT-1M"], unknown) == (200, weight, 400)
    ranked = sorted(tickers, key=lambda ticker: -float(ticker["quoteVolume"]))
    assert [ticker["symbol"] for ticker in ranked] == ["ETHUSDT", "BTCUSDT", "SOLUSDT"]
    assert one["symbol"] == "SOLUSDT"
    assert float(one["lastPrice"]) > 0
