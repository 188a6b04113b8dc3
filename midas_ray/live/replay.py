"""A replay that never ends: the journal's lines as they come, and at any moment what a batch of them would give."""

from collections.abc import Iterable

import numpy as np

from midas_ray.book import kernels as k
from midas_ray.book.rows import RowChunk
from midas_ray.capture.journal import JournalLine
from midas_ray.features.hour_rows import GridRows
from midas_ray.live.rows import grid_rows
from midas_ray.reconstruct.plan import HOUR_MS
from midas_ray.reconstruct.reader import Batch
from midas_ray.reconstruct.replay import HourReplay
from midas_ray.settings import BookSettings
from midas_ray.venues.base import Venue

_FOR_EVER_HOURS = 10**6
CONTINUOUS = ("depth", "markPrice")
"""Streams that speak at least each second while anything happens: their clocks say that a bucket is over."""


class LiveReplay(HourReplay):
    """Feed lines in any portions, take rows and gaps whenever they are wanted, forget the hours that are over.

    shown_ms: newest exchange time of each continuous stream. offset_ms: the exchange's clock minus this machine's, as
    the collector measured it last. touched: hours to which trades, mark prices or forced orders came since it was
    cleared. earliest_ms: the earliest of those and of what a control line may have changed, since it was cleared.
    """

    def __init__(self, venue: Venue, symbol: str, first_hour: int, settings: BookSettings) -> None:
        self._taken: list[tuple[int, GridRows]] = []
        super().__init__(venue, symbol, first_hour, first_hour + _FOR_EVER_HOURS, settings, lambda _hour, _frame: None)
        self.shown_ms: dict[str, int] = {}
        self.offset_ms = 0.0
        self.touched: set[int] = set()
        self.earliest_ms: int | None = None

    @property
    def declared(self) -> list[str]:
        """Kinds of streams that the collector collects now."""
        return self._declared

    @property
    def rows_until_ms(self) -> int:
        """Up to where the book's rows are known."""
        return self._book.knows_until_ms

    def closes_at_ms(self) -> int | None:
        """Exchange time that every continuous stream has shown; None while one of them has said nothing."""
        names = [name for name in CONTINUOUS if name == "depth" or name in self._declared]
        shown = [self.shown_ms.get(name) for name in names]
        return min((ms for ms in shown if ms is not None), default=None) if None not in shown else None

    def take_rows(self) -> list[tuple[int, GridRows]]:
        """(hour, grid rows) written since the last call, in order; an hour comes in parts."""
        self._sink.flush()
        taken, self._taken = self._taken, []
        return taken

    def unlive_rows(self) -> list[tuple[int, GridRows]]:
        """Rows of a gap that is not over, as they would be if the data ended here. Call `take_rows` first."""
        book = self._book
        if book.live:
            return []
        kept = [array.copy() for array in (book.state, book._ofi, book._ofi_known)]
        book.finish()
        rows = self.take_rows()
        for array, before in zip((book.state, book._ofi, book._ofi_known), kept, strict=True):
            array[:] = before
        return rows

    def trade_gaps_us(self) -> list[tuple[int, int]]:
        """The ledger's trade gaps (start, end], microseconds, as if the data ended here."""
        gaps = self._trades.gaps(self.scale, self._first_ms or 0, self._end_ms)
        return [(gap.start_ms * 1000, (self._end_ms if gap.end_ms is None else gap.end_ms) * 1000) for gap in gaps]

    def forget(self, before_hour: int) -> None:
        """Let go of all that belongs to hours before this one."""
        self._trades.forget(self.scale, before_hour)
        ms = before_hour * HOUR_MS
        self._marks = [mark for mark in self._marks if ms <= mark.E]
        self._forced = [order for order in self._forced if ms <= order.o.T]
        self.streams = {hour: kinds for hour, kinds in self.streams.items() if hour >= before_hour}
        self.gaps.clear()
        self.headless.clear()

    def _take(self, batch: Batch) -> None:
        super()._take(batch)
        self._klines.clear()  # no feature of a symbol with trades is made from them
        if batch.depth is not None:
            self._show("depth", int(batch.depth.table[:, k.DEPTH_MS].max()))
        if batch.trades is not None and len(batch.trades):
            self._touch(batch.trades[:, k.TRADE_MS].tolist())
        if batch.marks:
            self._show("markPrice", max(mark.E for mark in batch.marks))
            self._touch([mark.E for mark in batch.marks])
        if batch.forced:
            self._touch([order.o.T for order in batch.forced])

    def _take_chunk(self, chunk: RowChunk) -> None:
        hours = (chunk.ints[:, 0] - 1) // HOUR_MS
        for hour in np.unique(hours).tolist():
            rows = grid_rows(chunk, hours == hour, self._book.scale, self._sink.step_ms)
            self._taken.append((hour, rows))
            self.streams.setdefault(hour, set()).update({"depth", *self._declared})

    def _control(self, line: JournalLine, raw: bytes) -> None:
        super()._control(line, raw)
        if line.offset_ms is not None:
            self.offset_ms = line.offset_ms
        self._note_earliest(0)

    def _show(self, stream: str, ms: int) -> None:
        before = self.shown_ms.get(stream, 0)
        self.shown_ms[stream] = max(before, ms)
        if stream == "depth":  # it writes the rows that end after the event before
            self._note_earliest(before)

    def _touch(self, times_ms: Iterable[int]) -> None:
        times = np.fromiter(times_ms, np.int64)
        self.touched.update(np.unique(times // HOUR_MS).tolist())
        self._note_earliest(int(times.min()))

    def _note_earliest(self, ms: int) -> None:
        self.earliest_ms = ms if self.earliest_ms is None else min(self.earliest_ms, ms)
