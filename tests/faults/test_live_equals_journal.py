"""The live book equals the book that reconstruction makes of its own journal, after every line, whatever went wrong."""

import asyncio
import contextlib
import io
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest
import xxhash

from midas_ray.book.sync import Action, BookSync
from midas_ray.capture.group import Group
from midas_ray.capture.journal import read_blocks
from midas_ray.capture.recorder import Recorder
from midas_ray.capture.rest import RestClient
from midas_ray.log import stage_logger
from midas_ray.reconstruct.replay import HourReplay
from midas_ray.settings import BookSettings, Collect
from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.simulate.faults import Fault, FaultScript, Kind
from midas_ray.venues import get_venue
from tests.capture.running import journals

SYMBOLS = ("btcusdt", "ethusdt")
HOUR_MS = 3_600_000
Print = tuple[int, bytes] | None
"""Last update id and digest of all levels and the known range of a live book; None while it is not live."""


def print_of(book: BookSync) -> Print:
    """The book, whatever its decimal scale."""
    if not book.live:
        return None
    px, sz = 10 ** (8 - book.scale.px_decimals), 10 ** (8 - book.scale.sz_decimals)
    digest = xxhash.xxh3_128()
    for side in (0, 1):
        keys, sizes = book.ladder.side(side)
        digest.update(np.ascontiguousarray(keys * px).tobytes() + np.ascontiguousarray(sizes * sz).tobytes())
        known = int(book.ladder.known[side])
        digest.update(str(known if known == -(2**63) else known * px).encode())
    return book.last_id, digest.digest()


class WatchedRecorder(Recorder):
    """Remembers the book after each frame and answer that it took, by symbol, in order."""

    books: ClassVar[dict[str, list[tuple[int, Print]]]] = {}

    def frame(self, *arguments: Any, **keywords: Any) -> list[Action]:
        actions = super().frame(*arguments, **keywords)
        self._remember()
        return actions

    def rest(self, *arguments: Any, **keywords: Any) -> list[Action]:
        actions = super().rest(*arguments, **keywords)
        self._remember()
        return actions

    def _remember(self) -> None:
        self.books.setdefault(self.symbol, []).append((self._n, print_of(self.book)))


@contextlib.asynccontextmanager
async def group(url: str, root: Path) -> AsyncIterator[Group]:
    """A group of both symbols inside the block, sealed at its end."""
    settings = Collect(exchange_url=url, data_dir=str(root), symbols=SYMBOLS)
    async with RestClient(get_venue(settings.venue), url) as rest:
        running = Group(settings, root, rest, stage_logger(root, "collector", "test"))
        for symbol in SYMBOLS:
            await running.add(symbol)
        run = asyncio.create_task(running.run())
        try:
            yield running
        finally:
            running.stop("the test is over")
            await run


def replayed(root: Path, symbol: str, *, without: Collection[int] = ()) -> tuple[list[tuple[int, Print]], HourReplay]:
    """The book after each frame and answer of the journal, by the code of reconstruction; some may be left out."""
    paths = journals(root, symbol)
    first_hour = int(paths[0].name.partition("-")[0]) // (HOUR_MS * 10**6)
    replay = HourReplay(
        get_venue("binance-futures"), symbol, first_hour - 1, first_hour + 2, BookSettings(), lambda _hour, _frame: None
    )
    books = []
    for path in paths:
        with path.open("rb") as stream:
            text = b"".join(read_blocks(stream, str(path)))
        for line in io.BytesIO(text):
            head = msgspec.json.decode(line)
            is_frame = head["kind"] in ("ws", "rest")
            if not (is_frame and head["n"] in without):
                replay.feed([line])
            if is_frame:
                books.append((head["n"], print_of(replay._book)))
    return books, replay


FAULTS = [
    (Kind.OVERLAP, "one"), (Kind.DROP, "all"), (Kind.VENUE_GAP, "one"), (Kind.REORDER, "all"), (Kind.CUT, "one"),
    (Kind.TRUNCATED, "all"), (Kind.MALFORMED, "all"), (Kind.DUPLICATE, "all"), (Kind.CUT, "all"),
    (Kind.STALE_SNAPSHOT, "one"), (Kind.SNAPSHOT_BETWEEN, "one"), (Kind.SNAPSHOT_AT_U, "one"),
]  # fmt: skip


def script() -> FaultScript:
    """What troubles a book most, a fault each 1.5 s, on every connection where that hurts more."""
    faults = [
        Fault(
            kind=kind,
            at_s=4.0 + 1.5 * at,
            duration_s=1.0,
            connection=connection,  # type: ignore[arg-type]
            symbol=SYMBOLS[at % 2] if kind is Kind.VENUE_GAP else None,
            share=0.4,
            provoke="SNAPSHOT" in kind.name,
        )
        for at, (kind, connection) in enumerate(FAULTS)
    ]
    return FaultScript(faults, seed=4)


async def test_at_every_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WatchedRecorder, "books", {})
    monkeypatch.setattr("midas_ray.capture.symbol.Recorder", WatchedRecorder)
    faults = script()
    exchange = SimulatedExchange(SYMBOLS, seed=4, faults=faults, fault_settled_s=0.5)
    async with exchange, asyncio.timeout(120):
        async with group(exchange.url, tmp_path):
            await asyncio.sleep(10.0)
        async with group(exchange.url, tmp_path):
            await asyncio.sleep(faults.needs_s - 10.0 + 4.0)
    counts: Counter[str] = Counter()
    for symbol in SYMBOLS:
        live = WatchedRecorder.books[symbol]
        again, replay = replayed(tmp_path, symbol)
        for (n, mine), (other_n, other) in itertools.zip_longest(live, again, fillvalue=(0, None)):
            assert (n, mine) == (other_n, other), symbol
            counts["live" if mine else "not live"] += 1
        counts["gaps"] += len(replay.gaps)
        applied = [n for (_, before), (n, book) in itertools.pairwise(live) if before and book and before != book]
        assert replayed(tmp_path, symbol, without=applied[5:9])[0] != live  # lost lines show
    assert counts["live"] > 400
    assert counts["not live"] > 20
    assert counts["gaps"] > 2
