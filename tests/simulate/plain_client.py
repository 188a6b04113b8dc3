"""A plain client that keeps what it gets: two of them judge what the exchange's faults do to a stream."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.simulate.faults import Fault, FaultScript
from tests.simulate.dict_book import DictBook

START_MS = 1_767_571_200_000
STREAMS = "btcusdt@depth@100ms/btcusdt@bookTicker"


@dataclass
class Session:
    """One connection: what came, and how it ended (`status` where the handshake was refused)."""

    frames: list[str | bytes] = field(default_factory=list)
    status: int | None = None
    body: str = ""
    code: int | None = None

    def messages(self, stream: str = "btcusdt@depth@100ms") -> list[dict[str, Any]]:
        """The whole messages of a stream."""
        found = []
        for frame in self.frames:
            with contextlib.suppress(ValueError):
                message = json.loads(frame)
                if isinstance(message, dict) and message.get("stream") == stream and message.get("data"):
                    found.append(message["data"])
        return [message for message in found if "u" in message or "t" in message or "E" in message]


class PlainClient:
    """Connects, reads, reconnects at once; `subscribe`: by request instead of in the URL.

    patience_s: a connection on which a stream is silent for so long is given up.
    """

    def __init__(
        self,
        url: str,
        streams: str = STREAMS,
        *,
        route: str = "/public",
        subscribe: bool = False,
        patience_s: float | None = None,
    ) -> None:
        self._patience_s = patience_s
        self._streams = streams.split("/")
        base = url.replace("http", "ws", 1) + route + "/stream"
        self.sessions: list[Session] = []
        self._names = streams.split("/") if subscribe else []
        self._url = base if subscribe else f"{base}?streams={streams}"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            session = Session()
            self.sessions.append(session)
            try:
                async with connect(self._url, max_queue=None, ping_interval=None, close_timeout=0.1) as socket:
                    if self._names:
                        await socket.send(json.dumps({"method": "SUBSCRIBE", "params": self._names, "id": 1}))
                    await self._read(socket, session)
                    session.code = socket.close_code
            except InvalidStatus as error:
                session.status = error.response.status_code
                session.body = error.response.body.decode()
            except ConnectionClosed as error:
                session.code = 1006 if error.rcvd is None else error.rcvd.code
            await asyncio.sleep(0.02)

    async def _read(self, socket: ClientConnection, session: Session) -> None:
        """Until the connection ends or is given up."""
        seen_s = dict.fromkeys(self._streams, time.monotonic())
        while self._patience_s is None or time.monotonic() - min(seen_s.values()) < self._patience_s:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s):
                    frame = await socket.recv()
                session.frames.append(frame)
                name = str(frame)[11:].partition('"')[0]
                if name in seen_s:
                    seen_s[name] = time.monotonic()

    def messages(self, stream: str = "btcusdt@depth@100ms") -> list[dict[str, Any]]:
        """The whole messages of a stream on all its connections."""
        return [message for session in self.sessions for message in session.messages(stream)]


@asynccontextmanager
async def faulty(
    *faults: Fault, clients: int = 2, streams: str = STREAMS, symbols: Iterable[str] = ("btcusdt",), **options: Any
) -> AsyncIterator[tuple[SimulatedExchange, list[PlainClient]]]:
    """An exchange with a script, and clients of it."""
    script = options.pop("script", None) or FaultScript(faults, seed=1)
    client_options = {key: options.pop(key) for key in ("route", "subscribe", "patience_s") if key in options}
    async with SimulatedExchange(
        symbols, seed=7, start_ms=START_MS, faults=script, fault_settled_s=0.2, **options
    ) as exchange:
        plain = [PlainClient(exchange.url, streams, **client_options) for _ in range(clients)]
        tasks = [asyncio.create_task(client.run()) for client in plain]
        try:
            yield exchange, plain
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def get(exchange: SimulatedExchange, path: str) -> tuple[int, Any, Any]:
    """(status, body, headers): the body as JSON where it is."""
    async with aiohttp.ClientSession() as session, session.get(exchange.url + path) as answer:
        text = await answer.text()
        try:
            return answer.status, json.loads(text), answer.headers
        except ValueError:
            return answer.status, text, answer.headers


async def snapshot(exchange: SimulatedExchange, symbol: str = "BTCUSDT") -> dict[str, Any]:
    """The exchange's depth snapshot."""
    status, body, _ = await get(exchange, f"/fapi/v1/depth?symbol={symbol}&limit=1000")
    assert status == 200, body
    found: dict[str, Any] = body
    return found


async def until(exchange: SimulatedExchange, *actions: str, more_s: float = 0.35) -> None:
    """Wait until the script's faults have done each of `actions`, and somewhat longer."""
    async with asyncio.timeout(20):
        while {entry["action"] for entry in exchange.fault_log.entries} & set(actions) != set(actions):
            await asyncio.sleep(0.02)
    await asyncio.sleep(more_s)


def chain_is_whole(messages: list[dict[str, Any]]) -> bool:
    """Whether each event continues the one before."""
    return all(after["pu"] == before["u"] for before, after in pairwise(messages))


def check_nothing_lost(exchange: SimulatedExchange, clients: list[PlainClient], first: dict[str, Any]) -> None:
    """All connections' events together, each once, continue the snapshot without a gap to the true book."""
    book = DictBook(first)
    for message in sorted((m for client in clients for m in client.messages()), key=lambda m: (m["u"], m["U"])):
        book.apply(message)
    assert book.applied > 1
    bids, asks = exchange.referee["btcusdt"].book(book.last_id)
    assert book.top(50) == (sorted(bids.items(), reverse=True)[:50], sorted(asks.items())[:50])
