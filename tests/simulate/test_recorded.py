"""A real capture served as a venue: every client gets the capture's frames, in its order, byte for byte."""

import asyncio
import gzip
import json
from pathlib import Path

import aiohttp
import pytest
from websockets.asyncio.client import connect

from midas_ray.errors import DataError
from midas_ray.simulate import recorded
from midas_ray.simulate.recorded import RecordedExchange
from tests.simulate.dict_book import DictBook


def lines_of(path: Path, first_s: float) -> list[tuple[int, bytes]]:
    """(receive time, payload) of the first seconds of a capture."""
    found: list[tuple[int, bytes]] = []
    with gzip.open(path, "rb") as stream:
        for line in stream:
            stamp, _, payload = line.rstrip().partition(b" ")
            if found and int(stamp) > found[0][0] + first_s * 1e9:
                break
            found.append((int(stamp), payload))
    return found


async def play(exchange: RecordedExchange, streams: str, count: int) -> tuple[list[list[str]], str]:
    """What two connections got, `count` frames each, and the snapshot."""

    async def receive(socket: object) -> list[str]:
        return [str(await asyncio.wait_for(socket.recv(), 30)) for _ in range(count)]  # type: ignore[attr-defined]

    url = exchange.url.replace("http", "ws") + f"/public/stream?streams={streams}"
    snapshot_url = exchange.url + "/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    async with (
        connect(url, max_queue=None) as first,
        connect(url, max_queue=None) as second,
        aiohttp.ClientSession() as session,
        session.get(snapshot_url) as answer,
    ):
        assert answer.status == 200
        snapshot = await answer.text()
        frames = await asyncio.gather(receive(first), receive(second))
        await asyncio.wait_for(exchange.wait_finished(), 30)
        async with session.get(snapshot_url) as further:
            assert further.status == 503
    return list(frames), snapshot


@pytest.mark.real
async def test_every_frame_in_order_to_both(real_data: Path) -> None:
    path = real_data / "binance-futures-raw" / "btcusdt_20240808.gz"
    captured = lines_of(path, 20.0)
    frames = [payload.decode() for _, payload in captured if b'"stream"' in payload[:12]]
    async with RecordedExchange([path], connections=2, first_s=20.0) as exchange:
        assert exchange.symbols == ["btcusdt"]
        streams = "btcusdt@depth@0ms/btcusdt@trade/btcusdt@bookTicker"
        received, snapshot = await play(exchange, streams, len(frames))
    assert received == [frames, frames]
    assert [snapshot] == [payload.decode() for _, payload in captured if payload.startswith(b'{"lastUpdateId"')]
    book = DictBook(json.loads(snapshot))
    for frame in frames:
        message = json.loads(frame)
        if "@depth" in message["stream"]:
            book.apply(message["data"])
    assert book.applied > 300


def small_capture(folder: Path) -> Path:
    """Three depth events, one trade, and a snapshot after the first event."""
    start_ns = 1_723_161_255_000_000_000
    start_ms = start_ns // 10**6
    events = [
        {"stream": "btcusdt@depth@100ms", "data": {
            "e": "depthUpdate", "E": start_ms + at, "T": start_ms + at, "s": "BTCUSDT", "U": at + 1, "u": at + 100,
            "pu": at, "b": [["100.10", "1.5"]], "a": []}}
        for at in (100, 200, 300)
    ]  # fmt: skip
    trade = {"stream": "btcusdt@trade", "data": {
        "e": "trade", "E": start_ms, "T": start_ms, "s": "BTCUSDT", "t": 7, "p": "100.1", "q": "1", "X": "MARKET",
        "m": True}}  # fmt: skip
    snapshot = {
        "lastUpdateId": 150,
        "E": start_ms,
        "T": start_ms,
        "bids": [["100.10", "1.5"]],
        "asks": [["100.20", "2.0"]],
    }
    lines = [events[0], snapshot, trade, *events[1:]]
    path = folder / "btcusdt.txt"
    path.write_text("".join(f"{start_ns + at * 10**8} {json.dumps(line)}\n" for at, line in enumerate(lines)))
    return path


async def test_only_what_is_subscribed_and_at_the_capture_s_pace(tmp_path: Path) -> None:
    async with RecordedExchange([small_capture(tmp_path)], connections=2, speed=2.0) as exchange:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        received, snapshot = await play(exchange, "btcusdt@depth@100ms", 3)
        assert loop.time() - began_s >= 0.2
        async with aiohttp.ClientSession() as session:
            async with session.get(exchange.url + "/fapi/v1/exchangeInfo") as answer:
                info = await answer.json()
            async with session.get(exchange.url + "/fapi/v1/depth?symbol=FOO") as answer:
                assert answer.status == 400
            async with session.get(exchange.url + "/fapi/v1/time") as answer:
                assert (await answer.json())["serverTime"] == 1_723_161_255_400
    assert [[json.loads(frame)["data"]["u"] for frame in frames] for frames in received] == [[200, 300, 400]] * 2
    assert json.loads(snapshot)["lastUpdateId"] == 150
    filters = {entry["filterType"]: entry for entry in info["symbols"][0]["filters"]}
    assert (filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]) == ("0.01", "0.1")


async def test_a_snapshot_that_nobody_asked_for_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "REQUEST_WAIT_S", 0.05)
    async with RecordedExchange([small_capture(tmp_path)]) as exchange:
        url = exchange.url.replace("http", "ws") + "/public/ws/btcusdt@depth@100ms/btcusdt@trade"
        async with connect(url) as socket, aiohttp.ClientSession() as session:
            raw = [json.loads(await asyncio.wait_for(socket.recv(), 10)) for _ in range(4)]
            path = exchange.url + "/fapi/v1/depth?symbol=BTCUSDT"
            async with session.get(path) as answer, session.get(path) as further:
                assert (answer.status, further.status) == (200, 503)
                assert (await answer.json())["lastUpdateId"] == 150
    assert [message["e"] for message in raw] == ["depthUpdate", "trade", "depthUpdate", "depthUpdate"]


async def test_frames_without_their_streams_name_are_refused(tmp_path: Path) -> None:
    path = small_capture(tmp_path)
    lines = path.read_text().splitlines()
    stamp, _, text = lines[0].partition(" ")
    path.write_text("\n".join([f"{stamp} {json.dumps(json.loads(text)['data'])}", *lines[1:]]) + "\n")
    with pytest.raises(DataError, match="expected combined frames"):
        RecordedExchange([path])


def test_a_file_that_is_no_capture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("hello\n")
    with pytest.raises(DataError, match="expected lines of"):
        RecordedExchange([tmp_path / "x"])
