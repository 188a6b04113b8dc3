"""Consecutive hours of one symbol, from blocks of raw lines to clean rows in memory. No I/O, no Ray."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import polars as pl

from midas_ray.book import kernels as k
from midas_ray.book.events import IntArray
from midas_ray.book.rows import RowChunk, RowSink
from midas_ray.book.scale import Scale
from midas_ray.book.sync import Action, BookSync, Divergence, Gap, GapCause
from midas_ray.capture.bookline import BookLine, book_scale, book_snapshot, decode_book_line
from midas_ray.capture.journal import JournalLine
from midas_ray.capture.recorder import apply_snapshot
from midas_ray.errors import DataError
from midas_ray.reconstruct import tables as frames
from midas_ray.reconstruct.plan import HOUR_MS, SKEW_NS
from midas_ray.reconstruct.reader import Batch, BlockReader
from midas_ray.settings import BookSettings
from midas_ray.venues.base import Venue
from midas_ray.venues.messages import ForceOrder, Kline, MarkPrice


class UnsyncedHead(msgspec.Struct, frozen=True):
    """What heads a file whose book is not live."""

    last_trade_id: int | None = None
    last_trade_ms: int | None = None
    streams: list[str] = []


_decode_unsynced = msgspec.json.Decoder(UnsyncedHead).decode


@dataclass(slots=True)
class Tally:
    """What a replay met besides rows."""

    undecodable: int = 0
    divergences: int = 0
    live_rows: int = 0
    rows: int = 0


class HourReplay:
    """Hours [first_hour, last_hour] of a symbol: feed every file, then take the tables.

    on_book takes (hour, frame) of clean/book once the hour is complete, in order.
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
        self._trades: list[tuple[Scale, IntArray]] = []
        self._marks: list[MarkPrice] = []
        self._forced: list[ForceOrder] = []
        self._klines: list[Kline] = []
        self._breaks: list[tuple[int, GapCause]] = []
        self._declared: list[str] = []
        self._before: tuple[int, int] | None = None
        self._parts: dict[int, list[pl.DataFrame]] = {}
        self._last_event_ms = 0

    def feed(self, blocks: Iterable[bytes]) -> None:
        """Replay the lines of one file. Raises DataError, CorruptFileError."""
        for block in blocks:
            if first_recv_ns(block) > self._last_ms * 10**6 + SKEW_NS:
                return
            for batch in self._reader.read(block):
                self._take(batch)

    def finish(self) -> None:
        """No more files: write what is left of the book's rows and settle the ledger."""
        self._note(self._book.finish())
        self._sink.flush()
        for hour in sorted(self._parts):
            self._close_hour(hour)
        self.gaps += [("trade", gap) for gap in self._trade_gaps()]

    def trades(self, hour: int) -> tuple[pl.DataFrame, dict[str, str]] | None:
        """(clean/trades of an hour, its metadata); None where nothing was traded.

        `trade_source` is `trade` or `aggTrade`; `no_print_ids` are the ids of rows that are no prints (insurance fund,
        ADL, NA): with them the ids are complete, or the ledger has a gap.
        """
        table = self._trade_table()
        inside = table[table[:, k.TRADE_MS] // HOUR_MS == hour]
        single = inside[inside[:, k.TRADE_AGG] == 0]
        chosen, source = (single, "trade") if len(single) else (inside, "aggTrade")
        if len(chosen) == 0:
            return None
        is_print = chosen[:, k.TRADE_PRINT] == 1
        no_print_ids = np.unique(chosen[~is_print, k.TRADE_ID]).tolist()
        metadata = {"trade_source": source, "no_print_ids": msgspec.json.encode(no_print_ids).decode()}
        return frames.trades_frame(chosen[is_print], self.symbol, self.scale), metadata

    def small_tables(self, hour: int) -> dict[str, pl.DataFrame]:
        """The other clean tables of an hour, by name; only those with rows."""
        first_ms, last_ms = hour * HOUR_MS, (hour + 1) * HOUR_MS
        marks = [mark for mark in self._marks if first_ms <= mark.E < last_ms]
        forced = [order for order in self._forced if first_ms <= order.o.T < last_ms]
        klines = [kline for kline in self._klines if kline.k.x and first_ms <= kline.k.t < last_ms]
        end_ms = max(self._last_event_ms, self._book.clock_ms)
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
        if batch.trades is not None and len(batch.trades):
            self._trades.append((batch.scale, batch.trades))
            hours, agg = batch.trades[:, k.TRADE_MS] // HOUR_MS, batch.trades[:, k.TRADE_AGG] == 1
            for hour in range(int(hours.min()), int(hours.max()) + 1):
                inside = hours == hour
                if (inside & agg).any():
                    self._saw(hour, "aggTrade")
                if (inside & ~agg).any():
                    self._saw(hour, "trade")
        for mark in batch.marks:
            self._marks.append(mark)
            self._saw(mark.E // HOUR_MS, "markPrice")
        for order in batch.forced:
            self._forced.append(order)
            self._saw(order.o.T // HOUR_MS, "forceOrder")
        for kline in batch.klines:
            if kline.k.x:
                self._klines.append(kline)
            self._saw(kline.k.t // HOUR_MS, "kline")
        if batch.depth is not None:
            self._last_event_ms = max(self._last_event_ms, int(batch.depth.table[-1, k.DEPTH_MS]))
            self._note(self._book.depth(batch.depth.rescaled(batch.scale, self._book.scale)))
        for line, raw in zip(batch.controls, batch.control_bytes, strict=True):
            self._control(line, raw)

    def _control(self, line: JournalLine, raw: bytes) -> None:
        if line.kind == "rest":
            if line.status == 200 and (line.path or "").startswith(self.venue.depth_path):
                try:
                    self._note(apply_snapshot(self._book, bytes(line.payload), line.path or ""))
                except (msgspec.DecodeError, ValueError, OverflowError):
                    self.tally.undecodable += 1
        elif line.kind == "book" or line.event == "unsynced":
            try:
                self._begin_file(line, raw)
            except (msgspec.DecodeError, ValueError, OverflowError) as error:
                raise DataError(f"{self.symbol}: damaged head line of a raw file ({error}); move it away") from None
        elif line.event == "open":
            self._breaks.append((line.recv_ns, "down"))
            self._note(self._book.opened())
        elif line.event == "disconnect" and (line.streams is None or "depth" in line.streams):
            self._breaks.append((line.recv_ns, "network"))
            self._book.blame("network")
        self._adopt_scale(self._book.scale)

    def _begin_file(self, line: JournalLine, raw: bytes) -> None:
        if line.kind == "book":
            self._load(decode_book_line(raw))
        else:
            self._head(_decode_unsynced(raw))
            self._book.barrier()

    def _load(self, line: BookLine) -> None:
        self._head(UnsyncedHead(line.last_trade_id, line.last_trade_ms, line.streams))
        self._adopt_scale(book_scale(line, self._book.scale))
        self._note(self._book.load_book(book_snapshot(line, self._book.scale), line.T))

    def _head(self, head: UnsyncedHead) -> None:
        self._sink.flush()  # rows so far belong to what was declared before
        self._declared = head.streams
        if self._before is None and not self._trades and head.last_trade_id is not None:
            self._before = (head.last_trade_id, head.last_trade_ms or 0)

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

    def _trade_table(self) -> IntArray:
        """All trades met, at today's scale."""
        if not self._trades:
            return np.zeros((0, k.TRADE_COLUMNS), np.int64)
        if len(self._trades) > 1 or self._trades[0][0] != self.scale:
            parts = []
            for scale, table in self._trades:
                if scale != self.scale:
                    table[:, k.TRADE_PX] *= 10 ** (self.scale.px_decimals - scale.px_decimals)
                    table[:, k.TRADE_QTY] *= 10 ** (self.scale.sz_decimals - scale.sz_decimals)
                parts.append(table)
            self._trades = [(self.scale, np.concatenate(parts))]
        return self._trades[0][1]

    def _trade_gaps(self) -> Iterator[Gap]:
        """Jumps of the trade ids. Rows that are no prints count for continuity."""
        table = self._trade_table()
        table = table[table[:, k.TRADE_AGG] == (0 if (table[:, k.TRADE_AGG] == 0).any() else 1)]
        table = frames.each_id_once(table)
        ids, times, recv = table[:, k.TRADE_ID], table[:, k.TRADE_MS], table[:, k.TRADE_RECV_NS]
        if self._before is not None and len(ids) and ids[0] > self._before[0]:
            ids = np.concatenate([[self._before[0]], ids])
            times = np.concatenate([[self._before[1]], times])
            recv = np.concatenate([[recv[0]], recv])
        for at in np.flatnonzero(np.diff(ids) > 1).tolist():
            between = {cause for ns, cause in self._breaks if recv[at] <= ns <= recv[at + 1]}
            cause: GapCause = "down" if "down" in between else "network" if "network" in between else "venue"
            yield Gap(int(times[at]), int(times[at + 1]), cause, int(ids[at]) + 1, int(ids[at + 1]), int(recv[at + 1]))


def first_recv_ns(block: bytes) -> int:
    """Receive time of a block's first line; 0 where it does not begin like a journal line."""
    head = block[:64]
    if not head.startswith(b'{"recv_ns":'):
        return 0
    digits = head[11:].partition(b",")[0]
    return int(digits) if digits.isdigit() else 0
