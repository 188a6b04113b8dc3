"""Running a collector in a test, and reading what it wrote."""

import asyncio
import contextlib
import io
import os
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from midas_ray.book.events import decode_depth
from midas_ray.book.scale import ScaleTooSmallError
from midas_ray.book.sync import BookSync
from midas_ray.capture.describe import health_of, top_of_book
from midas_ray.capture.group import Group
from midas_ray.capture.health import Health, TopOfBook
from midas_ray.capture.journal import decode_line, read_blocks
from midas_ray.capture.recorder import Recorder, apply_snapshot
from midas_ray.capture.rest import RestClient
from midas_ray.capture.symbol import SymbolCapture
from midas_ray.log import stage_logger
from midas_ray.settings import Collect
from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.venues import Venue, get_venue
from midas_ray.venues.base import frame_address
from midas_ray.venues.messages import DepthUpdate, Level

SETTINGS = ("SYMBOLS", "SYMBOL", "DATA_DIR")
PLAIN_ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in SETTINGS and not name.startswith("RAY_")
}
"""What a user has who set nothing, but that no token is written to the home folder of who runs the tests."""
PLAIN_ENVIRONMENT["RAY_AUTH_TOKEN_PATH"] = str(Path(tempfile.gettempdir()) / f"midas-test-token-{os.getuid()}")
MIDAS = str(Path(sys.executable).with_name("midas"))
Book = tuple[list[Level], list[Level]]


class Collecting:
    """A running group, and its first symbol."""

    def __init__(self, group: Group, symbol: str) -> None:
        self.group = group
        self.symbol = symbol
        self._capture = group.capture_of(symbol)

    @property
    def capture(self) -> SymbolCapture:
        return self._capture

    @property
    def recorder(self) -> Recorder:
        return self._capture.recorder

    @property
    def state(self) -> str:
        return self._capture.state

    @property
    def fetched(self) -> int:
        """Snapshots that were answered."""
        return self._capture.snapshots.fetched

    def health(self) -> Health:
        return health_of(self._capture, pid=0, reconnects=self.group.links.reconnects)

    def top(self, levels: int) -> TopOfBook:
        return top_of_book(self._capture, levels)


@contextlib.asynccontextmanager
async def collecting(
    url: str, root: Path, symbol: str = "btcusdt", *, connections: int = 1, others: Sequence[str] = (), **settings: Any
) -> AsyncIterator[Collecting]:
    """A collector inside the block; it is stopped, and its files sealed, at its end."""
    symbols = (symbol, *others)
    values = Collect(exchange_url=url, data_dir=str(root), symbols=symbols, connections=connections, **settings)
    async with RestClient(get_venue(values.venue), url) as rest:
        group = Group(values, root, rest, stage_logger(root, "collector"))
        for each in symbols:
            await group.add(each)
        run = asyncio.create_task(group.run())
        started = asyncio.create_task(group.started.wait())
        try:
            await asyncio.wait([run, started], return_when=asyncio.FIRST_COMPLETED)
            yield Collecting(group, symbol)
        finally:
            started.cancel()
            group.stop("the test is over")
            await run


@contextlib.contextmanager
def serving_exchange(symbols: Sequence[str]) -> Iterator[str]:
    """A simulated exchange on a thread of its own, so that a test can wait for processes; gives its URL."""
    ready, stop, url = threading.Event(), threading.Event(), list[str]()

    async def serve() -> None:
        async with SimulatedExchange(symbols, seed=2, keep_referee=False) as exchange:
            url.append(exchange.url)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert ready.wait(60)
        yield url[0]
    finally:
        stop.set()
        thread.join()


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not within {timeout_s} s: {what}") from None


def journals(root: Path, symbol: str = "btcusdt") -> list[Path]:
    """The symbol's sealed files, in order."""
    return sorted((root / "raw").glob(f"venue=*/symbol={symbol}/date=*/[!.]*.jsonl.zst"))


def raw_lines(path: Path) -> list[dict[str, Any]]:
    """Every line of a sealed file."""
    with path.open("rb") as stream:
        text = b"".join(read_blocks(stream, str(path)))
    return [msgspec.json.decode(line) for line in io.BytesIO(text)]


def frame_numbers(lines: list[dict[str, Any]]) -> list[int]:
    """`n` of the lines that hold a frame or an answer."""
    return [line["n"] for line in lines if line["kind"] in ("ws", "rest")]


def replayed(path: Path, venue: Venue) -> BookSync:
    """The book that a file alone comes to."""
    book = BookSync()
    with path.open("rb") as stream:
        text = b"".join(read_blocks(stream, str(path)))
    for raw in io.BytesIO(text):
        line = decode_line(raw)
        if line.kind == "rest" and line.status == 200 and "/depth?" in (line.path or ""):
            apply_snapshot(book, bytes(line.payload), line.path or "")
        elif line.kind == "event" and line.event == "open":
            book.opened()
        elif line.event == "abandoned":
            book.abandoned()
        elif line.kind == "ws" and line.payload and frame_address(bytes(line.payload)) == ("depth", "btcusdt"):
            _apply(book, venue, line.recv_ns, _data(line.payload))
    return book


def _data(payload: bytes | msgspec.Raw) -> bytes:
    return bytes(msgspec.json.decode(bytes(payload), type=dict[str, msgspec.Raw])["data"])


def _apply(book: BookSync, venue: Venue, recv_ns: int, data: bytes) -> None:
    message = msgspec.json.decode(data, type=DepthUpdate)
    while True:
        try:
            events = decode_depth(message, recv_ns, venue.depth_clock, venue.has_previous_id, book.scale)
        except ScaleTooSmallError as error:
            book.rescale(error.scale)
            continue
        book.depth(events)
        return


def whole_book(book: BookSync) -> Book:
    """Every level of both sides, best first."""
    return book.ladder.levels_text(0, book.scale), book.ladder.levels_text(1, book.scale)
