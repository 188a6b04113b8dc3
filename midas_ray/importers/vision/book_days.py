"""bookTicker of the archive into clean/book: level 1 on the grid, through the same ladder and replay as a depth stream.

A quote replaces the only level of each side. The rest of the book is unknown: levels beyond the first and their order
flow are null. Quotes have rising ids but no chain: a quote that is missing cannot be told from one that never was.
"""

import itertools
from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl

from midas_ray import tables
from midas_ray.book import kernels as k
from midas_ray.book.events import DepthEvents, IntArray
from midas_ray.book.ladder import Snapshot
from midas_ray.book.rows import RowChunk, RowSink
from midas_ray.book.scale import Scale
from midas_ray.book.sync import BookSync
from midas_ray.errors import DataError
from midas_ray.importers.vision.hours import HOUR_MS, day_of
from midas_ray.importers.vision.notes import BookDay, Quote
from midas_ray.importers.vision.source import Source
from midas_ray.importers.vision.table import Block
from midas_ray.reconstruct.tables import book_frame, decimals_of
from midas_ray.settings import BookSettings

DAY_MS = 24 * HOUR_MS
STREAMS = "bookTicker"
_ONE_LEVEL = k.LOWEST_KEY + 1
"""Worst known key of a side: whatever lies behind its best level is unknown."""

StageHour = Callable[[int, pl.DataFrame, dict[str, str]], None]


def quote_array(quotes: list[Quote]) -> IntArray:
    """(n, 6): ms, id, bid_px, bid_sz, ask_px, ask_sz."""
    return np.array([tuple(getattr(quote, name) for name in Quote.__struct_fields__) for quote in quotes], np.int64)


class QuoteReplay:
    """Quotes of one symbol to grid rows with ts in (first_ms, last_ms].

    on_rows takes clean/book frames in order. Sizes are rescaled on the way where later numbers have more decimals.
    """

    def __init__(
        self, symbol: str, settings: BookSettings, first_ms: int, last_ms: int, on_rows: Callable[[pl.DataFrame], None]
    ) -> None:
        self._symbol, self._on_rows = symbol, on_rows
        self._sink = RowSink(
            step_ms=settings.snapshot_interval_ms,
            first_ms=first_ms,
            last_ms=last_ms,
            depth=settings.order_book_depth,
            on_chunk=self._take,
        )
        self._sync = BookSync(self._sink)
        self._last: IntArray | None = None

    @property
    def scale(self) -> Scale:
        return self._sync.scale

    def feed(self, quotes: IntArray, scale: Scale) -> None:
        """(n, 6) quotes at `scale`, in order of id. Raises ValueError beyond 18 digits."""
        quotes = self._same_scale(quotes, scale)
        if self._last is None:
            self._sync.load_book(_snapshot(quotes[0]), int(quotes[0, 0]))
            self._last, quotes = quotes[0], quotes[1:]
        if len(quotes):
            self._sync.depth(_events(self._last, quotes))
            self._last = quotes[-1]

    def advance(self, until_ms: int) -> None:
        """Write the rows with ts <= until_ms: no quote came before."""
        assert self._last is not None
        confirming = np.zeros((1, k.DEPTH_COLUMNS), np.int64)
        confirming[0, [k.DEPTH_MS, k.DEPTH_LAST_ID]] = until_ms, self._last[1]
        nothing = np.zeros(0, np.int64)
        self._sync.depth(DepthEvents(confirming, nothing, nothing.astype(np.int8), nothing))
        self._sink.flush()

    def _same_scale(self, quotes: IntArray, scale: Scale) -> IntArray:
        old = self._sync.scale
        wider = Scale(max(scale.px_decimals, old.px_decimals), max(scale.sz_decimals, old.sz_decimals))
        if wider != old:
            self._sync.rescale(wider)
            if self._last is not None:
                self._last = rescaled(self._last[None], old, wider)[0]
        return rescaled(quotes, scale, wider)

    def _take(self, chunk: RowChunk) -> None:
        self._on_rows(book_frame(chunk, self._symbol, self._sync.scale))


def rescaled(quotes: IntArray, old: Scale, new: Scale) -> IntArray:
    """(n, 6) quotes at a wider scale. Raises ValueError beyond 18 digits."""
    px, sz = 10 ** (new.px_decimals - old.px_decimals), 10 ** (new.sz_decimals - old.sz_decimals)
    factors = np.array([1, 1, px, sz, px, sz], np.int64)
    if len(quotes) and (quotes[:, 2:].max(axis=0) >= 10**18 // factors[2:]).any():
        raise ValueError("expected numbers of at most 18 digits, found more")
    return quotes * factors


def _snapshot(quote: IntArray) -> Snapshot:
    _, last_id, bid_px, bid_sz, ask_px, ask_sz = (np.array([value], np.int64) for value in quote.tolist())
    return Snapshot(int(last_id[0]), ((bid_px, bid_sz), (-ask_px, ask_sz)), np.full(2, _ONE_LEVEL, np.int64))


def _events(last: IntArray, quotes: IntArray) -> DepthEvents:
    """Each quote as level changes: the old best level goes where the price is another, the new one is set."""
    n = len(quotes)
    before = np.concatenate([last[None], quotes[:-1]])
    keys, sizes = np.zeros((n, 4), np.int64), np.zeros((n, 4), np.int64)
    changed = np.ones((n, 4), np.bool_)
    for side, (px, sz, sign) in enumerate(((2, 3, 1), (4, 5, -1))):
        keys[:, 2 * side], keys[:, 2 * side + 1] = sign * before[:, px], sign * quotes[:, px]
        sizes[:, 2 * side + 1] = quotes[:, sz]
        changed[:, 2 * side] = before[:, px] != quotes[:, px]
    sides = np.broadcast_to(np.array([0, 0, 1, 1], np.int8), (n, 4))
    table = np.zeros((n, k.DEPTH_COLUMNS), np.int64)
    table[:, k.DEPTH_MS], table[:, k.DEPTH_FIRST_ID], table[:, k.DEPTH_LAST_ID] = (
        quotes[:, 0],
        quotes[:, 1],
        quotes[:, 1],
    )
    table[:, k.DEPTH_PREV_ID] = before[:, 1]
    table[:, k.DEPTH_LEVELS_END] = changed.sum(axis=1).cumsum()
    return DepthEvents(table, keys[changed], sides[changed], sizes[changed])


class BookDays:
    """Feed the blocks of one bookTicker file, then `finish`. Each day stands alone: it begins with its first quote."""

    def __init__(self, source: Source, days: set[date], key: str, settings: BookSettings, stage: StageHour) -> None:
        self._source, self._key, self._settings, self._stage = source, key, settings, stage
        self._wanted = days
        self._clock_us = 0
        self._open: _OpenDay | None = None
        self._notes: dict[date, BookDay] = {}

    def feed(self, block: Block) -> None:
        """More quotes. Raises DataError where they are none."""
        us = np.maximum.accumulate(np.concatenate([[self._clock_us], block.ints["us"]]))[1:]
        self._clock_us = int(us[-1])
        try:
            px = [block.decimals[name] for name in ("bid_px", "ask_px")]
            sz = [block.decimals[name] for name in ("bid_sz", "ask_sz")]
            scale = Scale(max(each.decimals for each in px), max(each.decimals for each in sz))
            (bid_px, ask_px), (bid_sz, ask_sz) = (
                [each.at(decimals) for each in values]
                for values, decimals in ((px, scale.px_decimals), (sz, scale.sz_decimals))
            )
            crossed = bid_px >= ask_px
            if crossed.any():
                row = int(np.flatnonzero(crossed)[0])
                raise DataError(
                    f"{self._source.path}: expected a best bid below the best ask, found {scale.px_text(bid_px[row])} "
                    f"and {scale.px_text(ask_px[row])} in row {block.first_row + row:,}; fetch it again"
                )
            quotes = np.column_stack([us // 1000, block.ints["id"], bid_px, bid_sz, ask_px, ask_sz])
            self._feed_days(us, quotes, scale)
        except (OverflowError, ValueError):
            raise DataError(
                f"{self._source.path}: expected numbers of at most 18 digits within a day, found more; check the file"
            ) from None

    def _feed_days(self, us: IntArray, quotes: IntArray, scale: Scale) -> None:
        days = quotes[:, 0] // DAY_MS
        edges = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
        for start, stop in itertools.pairwise(edges):
            day = day_of(24 * int(days[start]))
            if self._open is not None and self._open.day != day:
                self._close()
            if day in self._wanted:
                self._open = self._open or _OpenDay(self._source, day, self._settings, self._stage)
                self._open.feed(us[start:stop], quotes[start:stop], scale)

    def finish(self) -> dict[date, BookDay]:
        """Write what is left; gives the note of each day."""
        self._close()
        return self._notes

    def _close(self) -> None:
        if self._open is not None:
            self._notes[self._open.day] = self._open.finish(self._key)
            self._open = None


class _OpenDay:
    """The day that is being read."""

    def __init__(self, source: Source, day: date, settings: BookSettings, stage: StageHour) -> None:
        self.day = day
        self._source, self._settings, self._stage = source, settings, stage
        start_ms = (day - date(1970, 1, 1)).days * DAY_MS
        self._replay = QuoteReplay(source.name.symbol, settings, start_ms, start_ms + DAY_MS, self._take)
        self._parts: list[pl.DataFrame] = []
        self._hours: list[int] = []
        self._opening: list[IntArray] = []
        self._scale = Scale()
        self._first_row_ms = 0
        self._last: IntArray | None = None
        self._last_us = 0
        self._rows = self._longest_quiet_us = 0

    def feed(self, us: IntArray, quotes: IntArray, scale: Scale) -> None:
        step_ms = self._settings.snapshot_interval_ms
        wider = Scale(max(self._scale.px_decimals, scale.px_decimals), max(self._scale.sz_decimals, scale.sz_decimals))
        self._opening = [rescaled(part, self._scale, wider) for part in self._opening]
        self._scale = wider
        quotes = rescaled(quotes, scale, wider)
        if self._last is None:
            self._first_row_ms = (int(quotes[0, 0]) // step_ms + 1) * step_ms
        else:
            us = np.concatenate([[self._last_us], us])
        self._longest_quiet_us = max(self._longest_quiet_us, int(np.diff(us).max(initial=0)))
        self._last_us = int(us[-1])
        opening = quotes[quotes[:, 0] < self._first_row_ms]
        if len(opening):
            self._opening.append(opening)
        self._replay.feed(quotes, wider)
        self._last = quotes[-1]
        self._rows += len(quotes)

    def finish(self, key: str) -> BookDay:
        assert self._last is not None
        step_ms = self._settings.snapshot_interval_ms
        last_row_ms = (int(self._last[0]) // step_ms + 1) * step_ms
        self._replay.advance(last_row_ms)
        self._close_hour()
        return BookDay(
            file=self._source.file, sha256=self._source.sha256, key=key, rows=self._rows,
            hours=self._hours, first_row_ms=self._first_row_ms, last_row_ms=last_row_ms,
            opening=[Quote(*row) for row in np.concatenate(self._opening).tolist()], last=Quote(*self._last.tolist()),
            px_decimals=self._scale.px_decimals, sz_decimals=self._scale.sz_decimals,
            longest_quiet_us=self._longest_quiet_us,
        )  # fmt: skip

    def _take(self, rows: pl.DataFrame) -> None:
        for hour, part in by_hour(rows):
            if self._parts and self._hours[-1] != hour:
                self._close_hour()
            if not self._parts:
                self._hours.append(hour)
            self._parts.append(part)

    def _close_hour(self) -> None:
        if self._parts:
            frame = pl.concat(self._parts).rechunk()
            metadata = book_metadata(self._source.file, self._source.sha256, frame, self._settings)
            self._stage(self._hours[-1], frame, metadata)
            self._parts = []


def by_hour(rows: pl.DataFrame) -> list[tuple[int, pl.DataFrame]]:
    """Rows in order of ts, by the hour since 1970 that owns them: (H, H + 1 h]."""
    hours = (rows["ts"].dt.epoch("ms").to_numpy() - 1) // HOUR_MS
    edges = [0, *(np.flatnonzero(np.diff(hours)) + 1).tolist(), len(hours)]
    return [(int(hours[a]), rows[a:b]) for a, b in itertools.pairwise(edges) if b > a]


def book_metadata(file: str, sha256: str, frame: pl.DataFrame, settings: BookSettings) -> dict[str, str]:
    """Metadata as reconstruct writes it, and the file it was made of."""
    return decimals_of(frame, Scale(k.MAX_DECIMALS, k.MAX_DECIMALS)) | {
        "snapshot_interval_ms": str(settings.snapshot_interval_ms),
        "order_book_depth": str(settings.order_book_depth),
        "streams": STREAMS,
        tables.ORIGIN: file,
        "archive_sha256": sha256,
    }
