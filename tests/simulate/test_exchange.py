"""The server over real sockets: routes, acks, silence, envelopes, pings, frames that replay to the true book."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from midas_ray.errors import UsageError
from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.simulate.feed import SymbolFeed
from midas_ray.simulate.market import Market
from midas_ray.simulate.symbols import spec_of
from tests.simulate.dict_book import DictBook

START_MS = 1_767_571_200_000


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with SimulatedExchange(["btcusdt", "ethusdt"], seed=7, start_ms=START_MS) as running:
        yield running


def ws_url(exchange: SimulatedExchange, path: str) -> str:
    return exchange.url.replace("http", "ws") + path


async def read(socket: ClientConnection, frames: int) -> list[dict[str, Any]]:
    return [json.loads(await asyncio.wait_for(socket.recv(), 10)) for _ in range(frames)]


async def get(exchange: SimulatedExchange, path: str) -> tuple[int, Any, Any]:
    async with aiohttp.ClientSession() as session, session.get(exchange.url + path) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_streams_and_snapshot_replay_to_the_referee(exchange: SimulatedExchange) -> None:
    path = "/public/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms"
    async with connect(ws_url(exchange, path)) as socket:
        frames = await read(socket, 6)
        status, snapshot, headers = await get(exchange, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000")
        frames += await read(socket, 8)
    assert (status, headers["X-MBX-USED-WEIGHT-1M"]) == (200, "20")
    assert {frame["stream"] for frame in frames} == {"btcusdt@depth@100ms", "ethusdt@depth@100ms"}
    book = DictBook(snapshot)
    messages = [frame["data"] for frame in frames if frame["data"]["s"] == "BTCUSDT"]
    applied = [message for message in messages if book.apply(message)]
    assert 0 < len(applied) < len(messages)
    bids, asks = exchange.referee["btcusdt"].book(book.last_id)
    assert book.top(100) == (sorted(bids.items(), reverse=True)[:100], sorted(asks.items())[:100])


@pytest.mark.parametrize("symbols", [["btcusdt"], ["solusdt", "btcusdt"]])
async def test_same_seed_and_start_send_the_same_bytes(symbols: list[str]) -> None:
    """What a client receives is a piece of what the seed says, whenever it connects and whatever stands around."""
    start_us = START_MS * 1000
    feed = SymbolFeed(Market(spec_of("btcusdt"), 7, start_us), start_us, spot=False)
    frames, _ = feed.advance(start_us + 60_000_000, {"depth@100ms"})
    expected = [frame.payload for frame in frames]
    async with (
        SimulatedExchange(symbols, seed=7, start_ms=START_MS) as running,
        connect(ws_url(running, "/public/ws/btcusdt@depth@100ms")) as socket,
    ):
        received = [await asyncio.wait_for(socket.recv(), 10) for _ in range(8)]
    first = expected.index(str(received[0]))
    assert received == expected[first : first + 8]


async def test_raw_mode_has_no_envelope(exchange: SimulatedExchange) -> None:
    async with connect(ws_url(exchange, "/public/ws/btcusdt@depth@0ms/ethusdt@bookTicker")) as socket:
        frames = await read(socket, 8)
    assert {frame["e"] for frame in frames} == {"depthUpdate", "bookTicker"}


async def test_wrong_route_is_acked_and_silent(exchange: SimulatedExchange) -> None:
    async with connect(ws_url(exchange, "/public/stream")) as socket:
        wrong = ["btcusdt@markPrice@1s", "btcusdt@kline_1m", "nosuch@depth", "BTCUSDT@depth@100ms"]
        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": wrong, "id": 1}))
        assert await read(socket, 1) == [{"result": None, "id": 1}]
        await asyncio.sleep(1.2)  # a mark price is due each second
        await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 2}))
        assert await read(socket, 1) == [{"result": wrong, "id": 2}]
    async with connect(ws_url(exchange, "/market/stream?streams=btcusdt@markPrice@1s")) as socket:
        assert (await read(socket, 1))[0]["stream"] == "btcusdt@markPrice@1s"


async def test_subscribe_and_unsubscribe(exchange: SimulatedExchange) -> None:
    async with connect(ws_url(exchange, "/ws")) as socket:  # unrouted is served as /public
        await socket.send('{"method":"SUBSCRIBE","params":["btcusdt@depth@0ms"],"id":1}')
        frames = await read(socket, 4)
        assert frames[0] == {"result": None, "id": 1}
        assert {frame["e"] for frame in frames[1:]} == {"depthUpdate"}
        await socket.send('{"method":"UNSUBSCRIBE","params":["btcusdt@depth@0ms"],"id":2}')
        while (await read(socket, 1))[0] != {"result": None, "id": 2}:
            pass
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.3)


async def test_server_pings_and_answers_pings() -> None:
    async with SimulatedExchange(["btcusdt"], ping_interval_s=0.05) as running, aiohttp.ClientSession() as session:
        url = ws_url(running, "/public/ws/btcusdt@trade")
        async with session.ws_connect(url, autoping=False) as socket:
            async with asyncio.timeout(5):
                while (await socket.receive()).type is not aiohttp.WSMsgType.PING:
                    pass
            await socket.ping(b"are you there")
            async with asyncio.timeout(5):
                while True:
                    message = await socket.receive()
                    if message.type is aiohttp.WSMsgType.PONG:
                        break
            assert message.data == b"are you there"


async def test_too_many_requests_end_the_connection(exchange: SimulatedExchange) -> None:
    async with connect(ws_url(exchange, "/public/ws")) as socket:
        for identity in range(30):
            await socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": identity}))
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await read(socket, 30)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_rest_over_http(exchange: SimulatedExchange) -> None:
    status, body, _ = await get(exchange, "/fapi/v1/depth?symbol=FOOUSDT")
    assert (status, body) == (400, {"code": -1121, "msg": "Invalid symbol."})
    status, body, headers = await get(exchange, "/fapi/v1/time")
    assert status == 200
    assert abs(body["serverTime"] - START_MS) < 60_000
    assert headers["X-MBX-USED-WEIGHT-1M"] == "2"
    async with aiohttp.ClientSession() as session, session.get(exchange.url + "/api/v3/time") as answer:
        assert answer.status == 404


async def test_weight_limit_over_http() -> None:
    async with SimulatedExchange(["btcusdt"], weight_limit=25) as running:
        answers = [await get(running, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000") for _ in range(2)]
    assert [status for status, _, _ in answers] == [200, 429]
    assert "Retry-After" in answers[1][2]


async def test_spot_speaks_spot() -> None:
    async with SimulatedExchange(["btcusdt"], seed=7, venue="binance-spot") as running:
        async with connect(ws_url(running, "/stream?streams=btcusdt@depth@100ms")) as socket:
            frames = await read(socket, 3)
            _, snapshot, _ = await get(running, "/api/v3/depth?symbol=BTCUSDT&limit=5000")
            frames += await read(socket, 5)
        book = DictBook(snapshot)
        applied = [frame for frame in frames if book.apply(frame["data"])]
        assert applied
        assert (book.bids, book.asks) == running.referee["btcusdt"].book(book.last_id)


async def test_port_in_use_is_one_line(exchange: SimulatedExchange) -> None:
    port = int(exchange.url.rpartition(":")[2])
    with pytest.raises(UsageError, match=rf"--listen 127\.0\.0\.1:{port}: cannot listen there \(.*in use.*\)"):
        async with SimulatedExchange(["btcusdt"], port=port):
            pass


async def test_ends_while_a_client_is_connected() -> None:
    async with SimulatedExchange(["btcusdt"]) as running:
        socket = await connect(ws_url(running, "/public/ws/btcusdt@depth@100ms"))
        await read(socket, 1)
    with pytest.raises(websockets.ConnectionClosed) as closed:
        await read(socket, 100)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


async def test_a_market_that_fails_is_not_served_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with SimulatedExchange(["btcusdt"]) as running:

        def broken(*_: object) -> None:
            raise RuntimeError("market is broken")

        monkeypatch.setattr(running, "_advance", broken)
        with pytest.raises(RuntimeError, match="market is broken"):
            await asyncio.wait_for(running.serve_until(asyncio.Event()), 5)
        monkeypatch.undo()
        monkeypatch.setattr(running, "_pacer", asyncio.create_task(asyncio.sleep(0)))
