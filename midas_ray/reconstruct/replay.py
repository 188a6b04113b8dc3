"""Consecutive hours of one symbol, from blocks of raw lines to clean rows in memory. No I/O, no Ray."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
import polars as pl

from midas_ray.book import kernels as k
from midas_ray.book.rows import RowChunk, RowSink
from midas_ray.book.scale import Scale
from midas_ray.book.sync import Action, BookSync, Divergence, Gap, GapCause
from midas_ray.capture.bookline import FileHead, book_scale, book_snapshot, decode_book_line, decode_file_head
from midas_ray.capture.journal import JournalLine
from midas_ray.capture.recorder import apply_snapshot
from midas_ray.errors import DataError
from midas_ray.reconstruct import tables as frames
from midas_ray.reconstruct.plan import HOUR_MS, HOUR_NS, SKEW_NS
from midas_ray.reconstruct.reader import Batch, BlockReader
from midas_ray.reconstruct.trade_ledger import LastTrade
from midas_ray.reconstruct.trade_log import SOURCES, TradeLog
from midas_ray.settings import BookSettings
from midas_ray.tables import GAP_CAUSES
from midas_ray.venues.base import Venue
from midas_ray.venues.messages import ForceOrder, Kline, MarkPrice

STOPPED = "stopped"
"""Reason of a disconnect by a collector that ends: its streams end there, in whatever order they are closed."""


@dataclass(slots=True)
class Tally:
    """What a replay met besides rows."""

    undecodable: int = 0
    divergences: int = 0
    live_rows: int = 0
    rows: int = 0
    foreign: Counter[str] = field(default_factory=Counter)
    """Frames of other symbols, by symbol."""


class HourReplay:
    """Hours [first_hour, last_hour] of a symbol: feed every file, then take the tables.

    on_book takes (hour, frame) of clean/book once the hour is complete, in order. headless: hours of receive time with
    a file that does not begin with what its collector knew: whether anything is missing before it, nobody can say.
    """

    def __init__(
        self,
        venue: Venue,
        symbol: str,
        first_hour: int,
        last_hour: int,
        settings: BookSettings,
        on_book: Callable[[int, pl.DataFrame], None],
    ) -> None:
        self.venue = venue
        self.symbol = symbol
        self.tally = Tally()
        self.streams: dict[int, set[str]] = {}
        self.gaps: list[tuple[str, Gap]] = []
        self.headless: set[int] = set()
        self.scale = Scale()
        self._on_book = on_book
        self._last_ms = (last_hour + 1) * HOUR_MS
        self._sink = RowSink(
            step_ms=settings.snapshot_interval_ms,
            first_ms=first_hour * HOUR_MS,
            last_ms=self._last_ms,
            depth=settings.order_book_depth,
            on_chunk=self._take_chunk,
        )
        self._book = BookSync(self._sink)
        self._reader = BlockReader(venue, symbol)
        self._trades = TradeLog(symbol)
        self._marks: list[MarkPrice] = []
        self._forced: list[ForceOrder] = []
        self._klines: list[Kline] = []
        self._declared: list[str] = []
        self._begun = False
        self._depth_lost = False
        self._cut = False
        self._parts: dict[int, list[pl.DataFrame]] = {}
        self._first_ms: int | None = None
        self._end_ms = 0
        self._last_line = b""

    def feed(self, blocks: Iterable[bytes]) -> None:
        """Replay the lines of one file. Raises DataError."""
        headed = None
        for block in blocks:
            if headed is None:
                headed = b'"kind":"ws"' not in block[: block.find(b"\n") + 1][:200]
                if not headed:
                    self.headless.add(first_recv_ns(block) // HOUR_NS)
            if first_recv_ns(block) > self._last_ms * 10**6 + SKEW_NS and not self.waits:
                self._cut = True
                return
            for batch in self._reader.read(block):
                self._take(batch)
            self._last_line = block[block.rfind(b"\n", 0, len(block) - 1) + 1 :]

    def damaged(self, file_recv_ns: int) -> None:
        """Lines are missing behind those fed so far: their file, which begins at `file_recv_ns`, is damaged."""
        self._book.blame("disk")
        self._trades.missed(max(file_recv_ns, first_recv_ns(self._last_line) + 1), "disk", self._end_ms)

    @property
    def waits(self) -> bool:
        """No depth event was met yet behind the hours: their last rows are not written."""
        return not self._book.finished and self._book.knows_until_ms < self._last_ms

    def finish(self, *, goes_on: bool) -> None:
        """No more files: write what is left of the book's rows and settle the ledger.

        goes_on: there are files behind those that were fed. What is lost at the end of these is then for the hour in
        which it is found again.
        """
        unrecovered = self._book.finish()
        self._sink.flush()
        for hour in sorted(self._parts):
            self._close_hour(hour)
        ends = not (goes_on or self._cut)
        if ends:
            self._note([gap for gap in unrecovered if isinstance(gap, Gap) and gap.start_ms < self._end_ms])
            if self._book.live and self._depth_lost and self._end_ms > self._book.clock_ms:
                self.gaps.append(("depth", self._book.lost("network")))
        trade_gaps = self._trades.gaps(self.scale, self._first_ms or 0, self._end_ms if ends else None)
        self.gaps += [("trade", gap) for gap in trade_gaps]

    def trades(self, hour: int) -> tuple[pl.DataFrame, dict[str, str]] | None:
        """(clean/trades of an hour, its metadata): see `TradeLog.hour`; None where nothing was traded."""
        return self._trades.hour(hour, self.scale)

    def small_tables(self, hour: int) -> dict[str, pl.DataFrame]:
        """The other clean tables of an hour, by name; only those with rows."""
        first_ms, last_ms = hour * HOUR_MS, (hour + 1) * HOUR_MS
        marks = [mark for mark in self._marks if first_ms <= mark.E < last_ms]
        forced = [order for order in self._forced if first_ms <= order.o.T < last_ms]
        klines = [kline for kline in self._klines if kline.k.x and first_ms <= kline.k.t < last_ms]
        end_ms = self._end_ms
        gaps = [
            (stream, gap)
            for stream, gap in self.gaps
            if first_ms < (end_ms if gap.end_ms is None else gap.end_ms) <= last_ms
        ]
        found = {}
        if marks:
            found["mark"] = frames.mark_frame(marks, self.symbol)
        if forced:
            found["liquidations"] = frames.liquidations_frame(forced, self.symbol)
        if klines:
            found["bars"] = frames.bars_frame(klines, self.symbol)
        if gaps:
            found["gaps"] = frames.gaps_frame(gaps, self.symbol, end_ms)
        return found

    def _take(self, batch: Batch) -> None:
        self._adopt_scale(batch.scale)
        self.tally.undecodable += batch.undecodable
        self.tally.foreign.update(batch.foreign)
        if batch.trades is not None and len(batch.trades):
            self._trades.add(batch.scale, batch.trades)
            self._reach(int(batch.trades[:, k.TRADE_MS].min()), int(batch.trades[:, k.TRADE_MS].max()))
            hours, agg = batch.trades[:, k.TRADE_MS] // HOUR_MS, batch.trades[:, k.TRADE_AGG] == 1
            for hour in np.unique(hours).tolist():
                inside = hours == hour
                if (inside & agg).any():
                    self._saw(hour, "aggTrade")
                if (inside & ~agg).any():
                    self._saw(hour, "trade")
        for mark in batch.marks:
            self._marks.append(mark)
            self._reach(mark.E, mark.E)
            self._saw(mark.E // HOUR_MS, "markPrice")
        for order in batch.forced:
            self._forced.append(order)
            self._saw(order.o.T // HOUR_MS, "forceOrder")
        for kline in batch.klines:
            if kline.k.x:
                self._klines.append(kline)
            self._saw(kline.k.t // HOUR_MS, "kline")
        if batch.depth is not None:
            self._reach(int(batch.depth.table[0, k.DEPTH_MS]), int(batch.depth.table[:, k.DEPTH_MS].max()))
            self._depth_lost = False
            self._note(self._book.depth(batch.depth.rescaled(batch.scale, self._book.scale)))
        for line, raw in zip(batch.controls, batch.control_bytes, strict=True):
            self._control(line, raw)

    def _control(self, line: JournalLine, raw: bytes) -> None:
        if line.kind == "rest":
            if line.used and line.status == 200 and (line.path or "").startswith(self.venue.depth_path):
                try:
                    self._note(apply_snapshot(self._book, bytes(line.payload), line.path or ""))
                except (msgspec.DecodeError, ValueError, OverflowError):
                    self.tally.undecodable += 1
        elif line.kind == "book" or line.event == "unsynced":
            try:
                self._begin_file(line, raw)
            except (msgspec.DecodeError, ValueError, OverflowError) as error:
                raise DataError(f"{self.symbol}: damaged book line inside a raw file ({error}); move it away") from None
        else:
            self._event(line)
        self._adopt_scale(self._book.scale)

    def _event(self, line: JournalLine) -> None:
        if line.event == "open":
            self._begun = True
            self._trades.opened(line.recv_ns, self._end_ms)
            self._note(self._book.opened())
        elif line.event == "disconnect":
            by_itself = line.reason != STOPPED
            if by_itself:
                self._trades.disconnected(line.recv_ns, line.streams, self._end_ms)
            if line.streams is None or "depth" in line.streams:
                self._depth_lost = by_itself
                self._book.blame("network")
        elif line.event == "missed":
            cause = self._known_cause(line)
            if line.stream == "depth":
                self._book.blame(cause)
            elif line.stream in SOURCES:
                self._trades.missed(line.recv_ns, cause, self._end_ms)
        elif line.event == "abandoned":
            self._note(self._book.abandoned())
        elif line.event == "fallback":
            self._trades.fell_back(line.recv_ns)

    def _known_cause(self, line: JournalLine) -> GapCause:
        if line.cause not in GAP_CAUSES:
            raise DataError(
                f"{self.symbol}: expected the cause of a missed event to be one of {', '.join(GAP_CAUSES)}, "
                f"found {line.cause} at recv_ns {line.recv_ns}; a newer MIDAS wrote this journal: reconstruct with it"
            )
        return line.cause  # type: ignore[return-value]

    def _begin_file(self, line: JournalLine, raw: bytes) -> None:
        book = decode_book_line(raw) if line.kind == "book" else None
        head = decode_file_head(raw) if book is None else book
        self._sink.flush()  # rows so far belong to what was declared before
        self._declared = head.streams
        self._trades.begin_file(_last_trade(head, line.recv_ns), head.streams, head.unproven, line.recv_ns)
        if book is None:
            self._book.barrier()
        else:
            self._adopt_scale(book_scale(book, self._book.scale))
            self._reach(book.T, book.T)
            self._note(self._book.load_book(book_snapshot(book, self._book.scale), book.T))
        if not self._begun and "depth" in head.unproven:
            self._depth_lost = True
            self._book.blame(head.unproven["depth"])
        self._begun = True

    def _reach(self, first_ms: int, last_ms: int) -> None:
        """Messages of these exchange times were seen."""
        self._first_ms = first_ms if self._first_ms is None else self._first_ms
        self._end_ms = max(self._end_ms, last_ms)

    def _saw(self, hour: int, kind: str) -> None:
        self.streams.setdefault(hour, set()).add(kind)

    def _adopt_scale(self, scale: Scale) -> None:
        """Reader and book count at the wider of their scales."""
        book = self._book.scale
        wider = Scale(max(scale.px_decimals, book.px_decimals), max(scale.sz_decimals, book.sz_decimals))
        if wider != book:
            try:
                self._book.rescale(wider)
            except ValueError as error:
                raise DataError(f"{self.symbol}: {error}; move the raw file with the damaged number away") from None
        self._reader.scale = self.scale = wider

    def _note(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Gap):
                self.gaps.append(("depth", action))
            elif isinstance(action, Divergence):
                self.tally.divergences += 1

    def _take_chunk(self, chunk: RowChunk) -> None:
        frame = frames.book_frame(chunk, self.symbol, self._book.scale)
        hours = (chunk.ints[:, 0] - 1) // HOUR_MS
        for hour in np.unique(hours).tolist():
            inside = np.flatnonzero(hours == hour)
            for earlier in sorted(earlier for earlier in self._parts if earlier < hour):
                self._close_hour(earlier)
            self._parts.setdefault(hour, []).append(frame[int(inside[0]) : int(inside[-1]) + 1])
            self.streams.setdefault(hour, set()).update({"depth", *self._declared})
        self.tally.rows += len(chunk.ints)
        self.tally.live_rows += int((chunk.ints[:, 3] == k.LIVE).sum())

    def _close_hour(self, hour: int) -> None:
        self._on_book(hour, pl.concat(self._parts.pop(hour)).rechunk())


def _last_trade(head: FileHead, recv_ns: int) -> LastTrade | None:
    """The last trade before a file; of the two sources the newer one, single trades where they are equal."""
    found: list[LastTrade] = []
    if head.last_trade_id is not None:
        ms = head.last_trade_ms or 0
        found.append(LastTrade(recv_ns - 1, ms, head.last_trade_id, head.last_trade_id, "trade"))
    if head.last_agg_id is not None:
        ms = head.last_agg_ms or 0
        found.append(LastTrade(recv_ns - 1, ms, head.last_agg_id, head.last_agg_trade_id, "aggTrade"))
    return max(found, key=lambda last: last.ms, default=None)


def first_recv_ns(block: bytes) -> int:
    """Receive time of a block's first line; 0 where it does not begin like a journal line."""
    head = block[:64]
    if not head.startswith(b'{"recv_ns":'):
        return 0
    digits = head[11:].partition(b",")[0]
    return int(digits) if digits.isdigit() else 0
