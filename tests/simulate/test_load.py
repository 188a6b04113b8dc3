"""The load generator: valid frames, unbroken chains, a snapshot that joins them, over TLS."""

import asyncio
import json
import ssl
import sys
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
import trustme
from websockets.asyncio.client import connect

from midas_ray.simulate.load import LoadExchange, text_frame
from tests.simulate.dict_book import DictBook


@pytest.fixture
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server's, client's)."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


def last_id(frames: list[dict[str, Any]]) -> int:
    """Of the first symbol's depth."""
    return max(frame["data"]["u"] for frame in frames if frame["stream"] == "aausdt@depth@100ms")


async def test_two_connections_get_the_same_chains_and_the_snapshot_joins(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    names = [f"{symbol}@{stream}" for symbol in ("aausdt", "bbusdt") for stream in ("depth@100ms", "trade")]
    async with (
        LoadExchange(["aausdt", "bbusdt"], depth_hz=50, levels=40, trades_per_s=400, ssl_context=tls[0]) as exchange,
        aiohttp.ClientSession() as session,
    ):
        url = exchange.url.replace("https", "wss") + "/public/stream"
        async with (
            connect(f"{url}?streams={'/'.join(names)}", ssl=tls[1], max_queue=None) as first,
            connect(url, ssl=tls[1], max_queue=None) as second,
        ):
            await second.send(json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1}))
            frames = [json.loads(await asyncio.wait_for(first.recv(), 10)) for _ in range(300)]
            async with session.get(exchange.url + "/fapi/v1/depth?symbol=AAUSDT&limit=1000", ssl=tls[1]) as answer:
                snapshot: dict[str, Any] = await answer.json()
            frames += [json.loads(await asyncio.wait_for(first.recv(), 10)) for _ in range(300)]
            others = [json.loads(await asyncio.wait_for(second.recv(), 10)) for _ in range(300)]
            async with session.get(exchange.url + "/load?depth_hz=1", ssl=tls[1]) as answer:
                state = await answer.json()
            async with session.get(exchange.url + "/fapi/v1/depth?symbol=AAUSDT&limit=1000", ssl=tls[1]) as answer:
                final: dict[str, Any] = await answer.json()
            while last_id(frames) < final["lastUpdateId"]:
                frames.append(json.loads(await asyncio.wait_for(first.recv(), 10)))
    assert state["depth_hz"] == 1
    assert state["hung_up"] == 0
    for name in names:
        events = [frame["data"] for frame in frames if frame["stream"] == name]
        if name.endswith("trade"):
            assert all(after["t"] == before["t"] + 1 for before, after in pairwise(events))
        else:
            assert all(after["pu"] == before["u"] < after["U"] <= after["u"] for before, after in pairwise(events))
            assert {len(event["b"]) + len(event["a"]) for event in events} == {40}
    seen = {json.dumps(frame) for frame in frames}
    shared = [frame for frame in others if "stream" in frame and json.dumps(frame) in seen]
    assert len(shared) > 200
    book = DictBook(snapshot)
    for frame in frames:
        if frame["stream"] == "aausdt@depth@100ms" and frame["data"]["u"] <= final["lastUpdateId"]:
            book.apply(frame["data"])
    assert book.applied > 5
    truth = DictBook(final)
    assert book.last_id == truth.last_id
    assert (book.bids, book.asks) == (truth.bids, truth.asks)


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frames_are_as_the_protocol_says(size: int) -> None:
    frame = text_frame(b"x" * size)
    assert frame[0] == 0x81
    head = 2 if size < 126 else 4 if size < 65536 else 10
    assert len(frame) == head + size
    assert int.from_bytes(frame[2:head], "big") == (size if size >= 126 else 0)


async def test_command_serves_until_it_is_told_to_stop() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "midas_ray.simulate.load", "--symbols", "2", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    assert line.startswith("listening on http://127.0.0.1:")
    async with aiohttp.ClientSession() as session, session.get(line.split()[-1] + "/fapi/v1/exchangeInfo") as answer:
        info = await answer.json()
    assert [symbol["symbol"] for symbol in info["symbols"]] == ["LOAD00USDT", "LOAD01USDT"]
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 20) == 0
