"""Real captures against independent truth: after each depth update the book's best bid and ask, price and size, equal
the exchange's own bookTicker as of the same update id.

bookTicker comes with each change of the best levels, so that the one in force at id u is the last with an id up to u.
Depth ids before the first bookTicker, and those before the book is live, are not counted.
"""

import bisect
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import msgspec
import polars as pl
import pytest

from midas_ray.book import sync
from midas_ray.book.events import DepthEvents
from midas_ray.book.ladder import ASK, BID
from midas_ray.book.scale import Scale
from midas_ray.book.sync import Action, BookSync
from midas_ray.capture.bookline import book_scale, book_snapshot, decode_book_line
from midas_ray.capture.journal import JournalLine, read_blocks
from midas_ray.capture.recorder import Recorder, apply_snapshot, decode_snapshot
from midas_ray.importers.run import import_archives
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.reader import BlockReader
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.setting_values import VenueName
from midas_ray.settings import BookSettings, Import
from midas_ray.storage import Storage
from midas_ray.venues import get_venue
from midas_ray.venues.base import Venue, frame_message
from midas_ray.venues.messages import BookTicker

Top = tuple[Decimal, Decimal, Decimal, Decimal]
"""Best bid price and size, best ask price and size."""

pytestmark = pytest.mark.real
_ticker = msgspec.json.Decoder(BookTicker)


class Capture(NamedTuple):
    """A capture and the depth ids to compare.

    in_one_step: how many of them a live book passes over, because the snapshot comes behind several buffered events
    that continue it, which are then applied in one step.
    """

    format: Literal["lines", "cryptofeed"]
    venue: VenueName
    pattern: str
    matches: int
    in_one_step: int = 0


CAPTURES = {
    "futures-btcusdt": Capture("lines", "binance-futures", "binance-futures-raw/btcusdt_*.gz", 6547, 1),
    "futures-ethusdt": Capture("lines", "binance-futures", "binance-futures-raw/ethusdt_*.gz", 6581, 1),
    "cryptofeed": Capture("cryptofeed", "binance-futures", "binance-futures-cryptofeed/*", 744),
    "spot-nexousdt": Capture("lines", "binance-spot", "binance-spot-raw/nexousdt_*.gz", 99028),
    "spot-ethusdt": Capture("lines", "binance-spot", "binance-spot-raw/ethusdt_*.gz", 6468),
}


def top_of(book: BookSync) -> Top | None:
    """The book's best levels; None while it is not live."""
    if not book.live:
        return None
    (bid,), (ask,) = (book.ladder.levels_text(side, book.scale, 1) for side in (BID, ASK))
    return Decimal(bid[0]), Decimal(bid[1]), Decimal(ask[0]), Decimal(ask[1])


class Watch:
    """The best levels of a symbol's book after each depth event that it applied."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.tops: dict[tuple[str, int], Top] = {}
        self.discarded: set[int] = set()

    def snapshot(self, venue: Venue, last_id: int) -> None:
        """An event that ends at the snapshot's id only confirms it: futures begin with it, spot discards it."""
        if not venue.has_previous_id:
            self.discarded.add(last_id)

    def note(self, book: BookSync) -> None:
        top = top_of(book)
        if top is not None and book.last_id not in self.discarded:
            self.tops[self.symbol, book.last_id] = top


def compare(watches: Iterable[Watch], tickers: dict[tuple[str, int], Top]) -> tuple[int, list[str]]:
    """(depth ids compared, what differs)."""
    ids = sorted(tickers)
    compared, differing = 0, []
    for key, top in (item for watch in watches for item in watch.tops.items()):
        at = bisect.bisect_right(ids, key) - 1
        if at < 0 or ids[at][0] != key[0]:
            continue
        compared += 1
        if tickers[ids[at]] != top:
            differing.append(f"{key}: {top} != {tickers[ids[at]]} of {ids[at]}")
    return compared, differing


class WatchedRecorder(Recorder):
    """The recorder of an import, watched."""

    watches: ClassVar[dict[str, Watch]] = {}
    tickers: ClassVar[dict[tuple[str, int], Top]] = {}

    def frame(self, recv_ns: int, mono_ns: int | None, conn: str, payload: bytes) -> list[Action]:
        actions = super().frame(recv_ns, mono_ns, conn, payload)
        if b"@bookTicker" in payload[:60]:
            message = _ticker.decode(frame_message(payload))
            top = Decimal(message.b), Decimal(message.B), Decimal(message.a), Decimal(message.A)
            self.tickers[self.symbol, message.u] = top
        elif b"@depth" in payload[:60]:
            self.watches.setdefault(self.symbol, Watch(self.symbol)).note(self.book)
        return actions

    def rest(self, *arguments: Any, **keywords: Any) -> list[Action]:
        actions = super().rest(*arguments, **keywords)
        watch = self.watches.setdefault(self.symbol, Watch(self.symbol))
        watch.snapshot(self.venue, decode_snapshot(arguments[3]).lastUpdateId)
        watch.note(self.book)
        return actions


class Replay:
    """Journal -> BlockReader -> BookSync, one event at a time, also those that waited for the snapshot."""

    def __init__(self, storage: Storage, venue_name: str, symbol: str) -> None:
        self.watch = Watch(symbol)
        self._venue = get_venue(venue_name)
        self.book = BookSync()
        self._waiting: list[tuple[DepthEvents, Scale]] | None = []
        reader = BlockReader(self._venue, symbol)
        for path in sorted(storage.list_files(f"raw/venue={venue_name}/symbol={symbol}", ".jsonl.zst")):
            with storage.open_input(path) as stream:
                for batch in (batch for block in read_blocks(stream, path) for batch in reader.read(block)):
                    if batch.depth is not None and self._waiting is not None:
                        self._waiting.append((batch.depth, batch.scale))
                    elif batch.depth is not None:
                        self._depth(batch.depth, batch.scale)
                    for line, raw in zip(batch.controls, batch.control_bytes, strict=True):
                        self._control(line, raw)

    def _depth(self, events: DepthEvents, scale: Scale) -> None:
        self._adopt(scale)
        events = events.rescaled(scale, self.book.scale)
        for at in range(len(events)):
            self.book.depth(events, at, at + 1)
            self.watch.note(self.book)

    def _control(self, line: JournalLine, raw: bytes) -> None:
        if line.kind == "rest":
            self.watch.snapshot(self._venue, decode_snapshot(line.payload).lastUpdateId)
            apply_snapshot(self.book, bytes(line.payload), line.path or "")
            waiting, self._waiting = self._waiting or [], None
            for events, scale in waiting:
                self._depth(events, scale)
        elif line.kind == "book":
            body = decode_book_line(raw)
            self._adopt(book_scale(body, self.book.scale))
            self.book.load_book(book_snapshot(body, self.book.scale), body.T)
        elif line.event == "open":
            self.book.opened()

    def _adopt(self, scale: Scale) -> None:
        mine = self.book.scale
        if scale != mine:
            px, sz = max(scale.px_decimals, mine.px_decimals), max(scale.sz_decimals, mine.sz_decimals)
            self.book.rescale(Scale(px, sz))


def grid_of(storage: Storage, venue: VenueName, symbol: str) -> Watch:
    """The best levels of each live row that reconstruct makes of all events at once, with the row's update id."""
    watch, book = Watch(symbol), BookSettings(snapshot_interval_ms=100)
    files = raw_files(storage, venue, symbol)
    for task in plan_tasks(venue, symbol, files, hour_keys(files, book), {}, 2**40):
        reconstruct_hours(storage.data_dir, task, book)
    columns = ["bid_px_01", "bid_sz_01", "ask_px_01", "ask_sz_01"]
    for path in storage.list_files(f"clean/book/venue={venue}/symbol={symbol}", ".parquet"):
        rows = pl.DataFrame(storage.read_parquet(path, ["state", "last_update_id", *columns]))
        # A price that has left the snapshot's depth is null.
        for row in rows.filter(pl.col("state") == "live").drop_nulls().iter_rows(named=True):
            bid, bid_size, ask, ask_size = (Decimal(str(row[name])) for name in columns)
            watch.tops[symbol, row["last_update_id"]] = bid, bid_size, ask, ask_size
        storage.delete(path)
    for path in storage.list_files("clean/manifest", ".json"):
        storage.delete(path)
    return watch


@pytest.mark.parametrize("capture", CAPTURES.values(), ids=CAPTURES.keys())
def test_book_equals_book_ticker_live_and_from_the_imported_journal(
    capture: Capture, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WatchedRecorder, "watches", {})
    monkeypatch.setattr(WatchedRecorder, "tickers", {})
    monkeypatch.setattr("midas_ray.importers.journals.Recorder", WatchedRecorder)
    paths = [str(path) for path in sorted(real_data.glob(capture.pattern))]
    assert import_archives(Import(format=capture.format, paths=paths, venue=capture.venue, data_dir=str(tmp_path))) == 0
    tickers = WatchedRecorder.tickers
    storage = Storage(str(tmp_path))
    replayed = [Replay(storage, capture.venue, symbol).watch for symbol in storage.symbols("raw", capture.venue)]
    assert compare(replayed, tickers) == (capture.matches, [])
    assert compare(WatchedRecorder.watches.values(), tickers) == (capture.matches - capture.in_one_step, [])
    sorted_alone = (2**62,) if capture.matches < 10_000 else ()  # one long capture on windows is enough
    for window_changes in (0, *sorted_alone):
        monkeypatch.setattr(sync, "WINDOW_CHANGES", window_changes)
        grids = [grid_of(storage, capture.venue, symbol) for symbol in storage.symbols("raw", capture.venue)]
        compared, differing = compare(grids, tickers)
        assert differing == []
        assert compared > capture.matches // 8
