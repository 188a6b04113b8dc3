"""How complete a symbol's day is, from its clean rows and its ledger: shares of calendar time, a verdict. No I/O."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

import numpy as np

from midas_ray.quality.intervals import Intervals
from midas_ray.tables import FAULT_OF

DAY_US = 24 * 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

VerdictName = Literal["complete", "gaps", "cannot be verified"]


class LedgerRow(NamedTuple):
    """A row of clean/gaps: (start, end], microseconds since 1970."""

    stream: str
    cause: str
    start_us: int
    end_us: int
    recovered: bool


@dataclass(slots=True)
class CleanDay:
    """What the clean tables hold of a day. Times in microseconds since 1970.

    live_us: of its live rows, grid_us: of all its grid rows. first_live_us: where the first live one begins.
    rows_us: (first, last] of its grid rows. trades_us: first and last print. unheard_us: with rows, nobody listening
    to trades. listens: somebody did. doubts: why what it holds proves nothing.
    """

    live_us: int = 0
    grid_us: int = 0
    first_live_us: int | None = None
    rows_us: tuple[int, int] | None = None
    trades_us: tuple[int, int] | None = None
    unheard_us: int = 0
    listens: bool = False
    prints: int = 0
    bars: int = 0
    doubts: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Completeness:
    """A symbol's day over calendar time: between the symbol's first and last data.

    window_us: length of that time. depth, trades: shares of it with a live book, and in which no print is missing; None
    where the stream was not collected. by_cause, by_fault: gaps that touch the day; longest_gap_s: of what lies in it.
    """

    window_us: int = 0
    depth: float | None = None
    trades: float | None = None
    by_cause: dict[str, int] = field(default_factory=dict)
    by_fault: dict[str, int] = field(default_factory=dict)
    longest_gap_s: float = 0.0
    doubts: list[str] = field(default_factory=list)

    @property
    def gaps(self) -> int:
        return sum(self.by_cause.values())

    @property
    def verdict(self) -> VerdictName:
        """What cannot be verified is never complete."""
        if self.doubts:
            return "cannot be verified"
        whole = all(share is None or share == 1.0 for share in (self.depth, self.trades))
        return "complete" if whole and not self.by_cause else "gaps"


def day_start_us(day: date) -> int:
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def measure(days: dict[date, CleanDay], ledger: list[LedgerRow]) -> dict[date, Completeness]:
    """Every day with clean data, and every day between two with a book on which there is nothing at all."""
    window = _window(days, ledger)
    booked = sorted(day for day, clean in days.items() if clean.rows_us is not None)
    holes = []
    if booked:
        between = (booked[-1] - booked[0]).days
        holes = [day for n in range(between) if (day := booked[0] + timedelta(days=n)) not in days]
    found = {}
    for day in sorted([*days, *holes]):
        found[day] = _measure_day(day, days.get(day), window, ledger, has_book=bool(booked))
    return found


def _window(days: dict[date, CleanDay], ledger: list[LedgerRow]) -> tuple[int, int]:
    """(start, end] of the symbol's data: from its first live row (without a book from its first print) to its last."""
    clean = list(days.values())
    rows = [day.rows_us for day in clean if day.rows_us is not None]
    spans = rows or [day.trades_us for day in clean if day.trades_us is not None]
    if not spans:
        return 0, 0
    live = [day.first_live_us for day in clean if day.first_live_us is not None]
    start = min(live) if live else min(first for first, _ in spans)
    return start, max([*(last for _, last in spans), *(row.end_us for row in ledger)])


def _measure_day(
    day: date, clean: CleanDay | None, window: tuple[int, int], ledger: list[LedgerRow], *, has_book: bool
) -> Completeness:
    start_us = day_start_us(day)
    first_us, last_us = max(start_us, window[0]), min(start_us + DAY_US, window[1])
    found = Completeness(max(0, last_us - first_us), doubts=list(clean.doubts) if clean else [])
    touching = [row for row in ledger if row.start_us < last_us and row.end_us > first_us]
    found.by_cause = dict(sorted(Counter(row.cause for row in touching).items()))
    found.by_fault = dict(sorted(Counter(FAULT_OF[row.cause] for row in touching).items()))
    lengths = [min(row.end_us, last_us) - max(row.start_us, first_us) for row in touching]
    found.longest_gap_s = max(lengths, default=0) / 1e6
    trade_rows = [row for row in touching if row.stream == "trade"]
    if any(not row.recovered for row in trade_rows):
        found.doubts.append("no trade proves that the ids are whole to the end of the data")
    if found.window_us and has_book:
        found.depth = (clean.live_us if clean else 0) / found.window_us
    if found.window_us and (clean is None or clean.listens or clean.prints):
        lost = Intervals.union(*(np.array([row[at] for row in trade_rows], np.int64) for at in (2, 3)))
        lost_us = int(lost.overlap_us(np.array([first_us]), np.array([last_us]))[0])
        found.trades = max(0.0, 1 - (lost_us + (clean.unheard_us if clean else 0)) / found.window_us)
    if clean is not None:
        found.doubts += _own_doubts(clean, has_book)
    return found


def _own_doubts(clean: CleanDay, has_book: bool) -> list[str]:
    if not has_book and not clean.prints:
        return ["bars only: no ids"] if clean.bars else []
    doubts = []
    if has_book and clean.rows_us is not None and clean.first_live_us is None:
        doubts.append("the book was never live")
    if clean.listens and not clean.prints:
        doubts.append("no print: no trade ids")
    return doubts
