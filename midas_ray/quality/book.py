"""clean/book of one symbol, file by file: its hard checks, and what the report shows of it."""

from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np
import numpy.typing as npt

from midas_ray.quality.book_rows import BookRows, BoolArray, FloatArray, IntArray, check_levels, check_side
from midas_ray.quality.findings import FileFindings, Findings
from midas_ray.quality.intervals import Intervals
from midas_ray.quality.ledger import Ledger
from midas_ray.quality.shared_rules import check_not_nan, check_rising, check_span, check_step, times_of
from midas_ray.quality.source import HOUR_US, Rows
from midas_ray.quality.tick import DayPrices

POINT_US = 10_000_000
"""Resolution of the price plot."""


@dataclass(slots=True)
class HourOfBook:
    """Grid rows of a UTC hour, and how many of them were live."""

    rows: int = 0
    live: int = 0


@dataclass(slots=True)
class _Last:
    """The row before the one at hand, across files."""

    ts_us: int
    live: bool


@dataclass
class BookScan:
    """What was seen of a symbol's book so far. Feed files in order of time."""

    symbol: str
    ledger: Ledger
    findings: Findings
    days: dict[date, DayPrices]
    rows: int = 0
    live_rows: int = 0
    step_us: int = 100_000
    hours: dict[int, HourOfBook] = field(default_factory=dict)
    """By start of the hour, microseconds since 1970."""
    streams: dict[int, frozenset[str]] = field(default_factory=dict)
    """Streams collected, by start of the hour."""
    points: list[tuple[IntArray, FloatArray, FloatArray]] = field(default_factory=list)
    """Per file: (end of each 10 s, last mid in it, mean spread in bps over its live rows)."""
    _present: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    _live: list[tuple[IntArray, IntArray]] = field(default_factory=list)
    _last: _Last | None = None
    _last_live: tuple[int, int] | None = None
    """(ts, last_update_id) of the last live row."""

    def __post_init__(self) -> None:
        self._lost = self.ledger.lost("depth")
        self._ends_us = self.ledger.ends("depth")

    def feed(self, rows: Rows) -> None:
        """Check a file and remember what the report needs of it."""
        if not len(rows.frame):
            return
        at = FileFindings(self.findings, self.symbol, rows.path, times_of(rows))
        check_rising(at, None if self._last is None else self._last.ts_us, strictly=True)
        check_step(at, int(rows.metadata["snapshot_interval_ms"]) * 1000)
        check_span(at, rows.file, closed="right")
        check_not_nan(rows, self.findings)
        if (np.diff(at.ts_us) <= 0).any():  # noted above; what follows needs rows in order
            rows = replace(rows, frame=rows.frame.unique("ts", keep="first").sort("ts"))
            at = replace(at, ts_us=times_of(rows))
        book = BookRows.of(rows)
        check_levels(at, book)
        check_side(at, book, 0)
        check_side(at, book, 1)
        self._check_gaps(at, book)
        self._check_ids(at, book)
        self._remember(book)

    def present(self) -> Intervals:
        """Times with a grid row, whatever its state: a collector ran."""
        return _union(self._present)

    def live(self) -> Intervals:
        """Times with a live grid row."""
        return _union(self._live)

    def _check_gaps(self, at: FileFindings, book: BookRows) -> None:
        """No number in rows that are not live or lie in a ledger gap; OFI unknown right after a loss."""
        live, ts_us = book.live, book.ts_us
        has_number = np.zeros(len(ts_us), dtype=np.bool_)
        for block in (*book.px, *book.sz, book.ofi):
            has_number |= ~np.isnan(block).all(axis=1)
        at.look("number_in_gap", len(ts_us))
        at.rows(
            "number_in_gap",
            has_number & ~live,
            lambda row: f"prices, sizes or OFI in a row of state {book.state[row]}",
            "nulls",
        )
        at.rows(
            "number_in_gap",
            live & self._lost.contains(ts_us),
            lambda row: f"a live row, best bid {book.px[0][row, 0]:g}, inside a depth gap of the ledger",
            "state gap and nulls",
        )
        at.rows(
            "number_in_gap",
            live & self._after_loss(book) & ~np.isnan(book.ofi).all(axis=1),
            lambda row: f"OFI {book.ofi[row, 0]:g} in the first live row after a loss",
            "null: its interval is not whole",
        )

    def _after_loss(self, book: BookRows) -> BoolArray:
        """(n,) rows before which a row is missing or not live, or since whose predecessor a ledger gap ended."""
        ts_us, live, last = book.ts_us, book.live, self._last
        before_us = np.concatenate([[int(ts_us[0]) if last is None else last.ts_us], ts_us[:-1]])
        before_live = np.concatenate([[last is None or last.live], live[:-1]])
        ended = np.searchsorted(self._ends_us, ts_us) > np.searchsorted(self._ends_us, before_us)
        after_loss: BoolArray = ~before_live | (ts_us - before_us > book.step_us) | ended
        return after_loss

    def _check_ids(self, at: FileFindings, book: BookRows) -> None:
        """Update ids never fall; a loss between live rows, and every row of state gap, is in the ledger."""
        at.look("ledger_ids", len(book.ts_us))
        at.rows(
            "ledger_ids",
            (book.state == "gap") & ~self._lost.contains(book.ts_us),
            lambda _row: "a row of state gap outside every depth gap of the ledger",
            "a ledger entry",
        )
        ts_us, ids = book.ts_us[book.live], book.last_id[book.live]
        if not len(ts_us):
            return
        at = replace(at, ts_us=ts_us)
        first_us, first_id = self._last_live or (int(ts_us[0]), int(ids[0]))
        before_us, before_id = np.concatenate([[first_us], ts_us[:-1]]), np.concatenate([[first_id], ids[:-1]])
        at.rows(
            "ledger_ids",
            (ids < before_id) | (ids < 0),
            lambda row: "no last_update_id" if ids[row] < 0 else f"last_update_id {ids[row]} after {before_id[row]}",
            "ids that never fall in live rows",
        )
        at.rows(
            "ledger_ids",
            (ts_us - before_us > book.step_us) & ~self._lost.meets(before_us - book.step_us, ts_us),
            lambda row: f"no live row in the {(ts_us[row] - before_us[row]) / 1e6:g} s before",
            "a depth gap in the ledger",
        )
        self._last_live = int(ts_us[-1]), int(ids[-1])

    def _remember(self, book: BookRows) -> None:
        live, ts_us = book.live, book.ts_us
        self.rows += len(ts_us)
        self.live_rows += int(live.sum())
        self.step_us = book.step_us
        names = frozenset(book.rows.metadata.get("streams", "").split(",")) - {""}
        hour_us = (ts_us - 1) // HOUR_US * HOUR_US
        for start in np.unique(hour_us).tolist():
            hour = self.hours.setdefault(start, HourOfBook())
            hour.rows += int((hour_us == start).sum())
            hour.live += int((live & (hour_us == start)).sum())
            self.streams[start] = self.streams.get(start, frozenset()) | names
        self._present.append(_runs(ts_us, book.step_us))
        self._live.append(_runs(ts_us[live], book.step_us))
        self.points.append(_points(book))
        day = self.days.setdefault(book.rows.file.partition.date, DayPrices())
        for px in book.px:
            known = ~np.isnan(px) & live[:, None]
            times = np.broadcast_to(ts_us[:, None], px.shape)[known]
            day.add(px[known], times, book.rows.px_decimals, book.rows.path)
        self._last = _Last(int(ts_us[-1]), bool(live[-1]))


def _runs(ts_us: IntArray, step_us: int) -> tuple[IntArray, IntArray]:
    """(start, end] of runs of neighbouring grid rows; a row stands for the step before its ts."""
    if not len(ts_us):
        return ts_us, ts_us
    breaks = np.flatnonzero(np.diff(ts_us) != step_us)
    first = np.concatenate([[0], breaks + 1])
    last = np.concatenate([breaks, [len(ts_us) - 1]])
    return ts_us[first] - step_us, ts_us[last]


def _union(parts: list[tuple[IntArray, IntArray]]) -> Intervals:
    none = np.zeros(0, dtype=np.int64)
    return Intervals.union(
        np.concatenate([none, *(start for start, _ in parts)]), np.concatenate([none, *(end for _, end in parts)])
    )


def _points(book: BookRows) -> tuple[IntArray, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(ends of the stretches of 10 s with a live quote, last mid, mean spread in bps)."""
    bid, ask = book.px[0][:, 0], book.px[1][:, 0]
    quoted = book.live & ~np.isnan(bid) & ~np.isnan(ask)
    ts_us, bid, ask = book.ts_us[quoted], bid[quoted], ask[quoted]
    ends, first, counts = np.unique(-(-ts_us // POINT_US) * POINT_US, return_index=True, return_counts=True)
    if not len(ends):
        return ends, np.zeros(0), np.zeros(0)
    mid = (bid + ask) / 2
    spread = np.add.reduceat(1e4 * (ask - bid) / mid, first) / counts
    return ends, mid[first + counts - 1], spread
