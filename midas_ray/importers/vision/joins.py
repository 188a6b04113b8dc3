"""Where days of the archive meet: what lies between the last row of one and the first of the next.

What comes out depends on the days that are there alone, not on the order in which they came: the edges of each day are
in its note. Neighbouring days are continued over midnight; between others is time in which nothing was collected, a gap
`down` of the ledger.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from midas_ray import tables
from midas_ray.book.scale import Scale
from midas_ray.book.sync import Gap, GapCause
from midas_ray.errors import DataError
from midas_ray.importers.staged import StagedHours
from midas_ray.importers.vision.book_days import QuoteReplay, book_metadata, by_hour, quote_array
from midas_ray.importers.vision.hours import HOUR_MS, Occupied, day_of
from midas_ray.importers.vision.notes import BookDay, Days, TradeDay, neighbours
from midas_ray.importers.vision.trade_days import before_of, ledger_rows, ledger_source, trade_metadata
from midas_ray.reconstruct.plan import hour_path
from midas_ray.reconstruct.tables import gaps_frame
from midas_ray.reconstruct.trade_ledger import Stretch, TradeBreaks, jumps
from midas_ray.settings import BookSettings

_GAPS_ORIGIN = "binance-vision"


@dataclass(frozen=True, slots=True)
class Joiner:
    """Brings the edges of a symbol's days, and its ledger, in line with the notes of all of them."""

    staged: StagedHours
    occupied: Occupied
    venue: str
    symbol: str

    def trades(self, days: Days, near: set[date]) -> None:
        """Hours without prints between neighbouring days; only those of the days `near` are looked at."""
        wanted: dict[int, TradeDay] = {}
        own: set[int] = set()
        for day, note in days.items():
            assert isinstance(note, TradeDay)
            own.update(note.hours)
            if day + timedelta(days=1) in days:
                wanted |= {hour: note for hour in range(note.hours[-1] + 1, _first_hour(day) + 24)}
            if day - timedelta(days=1) in days:
                wanted |= {hour: note for hour in range(_first_hour(day), note.hours[0])}
        self._drop("trades", self._hours_there("trades", near) - own - wanted.keys())
        for hour, note in wanted.items():
            if day_of(hour) not in near:
                continue
            path = self._path("trades", hour)
            metadata = trade_metadata(f"{note.file}", note.sha256, note.kind, Scale())
            if hour in self.occupied or (self.staged.exists(path) and self._says(path, metadata)):
                continue
            self.staged.write(path, pl.DataFrame(schema=tables.TRADES), {"venue": self.venue, **metadata})

    def book(self, days: Days, settings: BookSettings, near: set[date]) -> None:
        """Rows over midnight between neighbouring days, in the hours they fall into, for the days `near`."""
        between: dict[int, list[pl.DataFrame]] = {}
        own: dict[int, BookDay] = {}
        for day, note in days.items():
            assert isinstance(note, BookDay)
            own |= dict.fromkeys(note.hours, note)
            following = days.get(day + timedelta(days=1))
            if isinstance(following, BookDay) and not near.isdisjoint({day, day + timedelta(days=1)}):
                for hour, rows in by_hour(_rows_between(self.symbol, settings, note, following)):
                    between.setdefault(hour, []).append(rows)
        self._drop("book", self._hours_there("book", near) - own.keys() - between.keys())
        edges = {hour for note in days.values() for hour in (note.hours[0], note.hours[-1])}
        for hour in sorted(between.keys() | edges):
            if day_of(hour) in near and hour not in self.occupied:
                self._rebuild(hour, between.get(hour, []), own.get(hour), days, settings)

    def _rebuild(
        self, hour: int, between: list[pl.DataFrame], own: BookDay | None, days: Days, settings: BookSettings
    ) -> None:
        """The hour's own rows with those between days around them."""
        path = self._path("book", hour)
        there: pl.DataFrame | None = None
        before: dict[str, str] = {}
        parts = list(between)
        if self.staged.exists(path):
            there, before = self.staged.read(path)
            there = there.cast(tables.book_schema(settings.order_book_depth))
        if own is not None and there is not None:
            ms = there["ts"].dt.epoch("ms")
            mine = there.filter((ms >= own.first_row_ms) & (ms <= own.last_row_ms))
            taken = pl.concat([part["ts"] for part in between]) if between else pl.Series(dtype=tables.TIMESTAMP)
            mine = mine.filter(~pl.col("ts").is_in(taken.implode()))
            first = _own_first_row(self.symbol, settings, own)
            mine = mine.filter(pl.col("ts") != first["ts"][0])
            if not first["ts"].is_in(taken.implode()).item() and by_hour(first)[0][0] == hour:
                parts.append(first)
            parts.append(mine)
        frame = pl.concat(parts).sort("ts")
        note = own or days[day_of(hour)]
        metadata = {"venue": self.venue, **book_metadata(note.file, note.sha256, frame, settings)}
        if there is None or not frame.equals(there) or any(before.get(key) != text for key, text in metadata.items()):
            self.staged.write(path, frame, metadata)

    def ledger(self, trades: Days, book: Days) -> None:
        """clean/gaps of every hour in which a gap of the archive ends."""
        gaps: dict[int, list[tuple[str, Gap]]] = {}
        for stream, gap in (*_trade_gaps(trades), *_book_gaps(book)):
            end_ms = gap.end_ms
            assert end_ms is not None
            hour = (end_ms - 1) // HOUR_MS
            if not self.occupied.meets(gap.start_ms // HOUR_MS, hour):
                gaps.setdefault(hour, []).append((stream, gap))
        self._drop("gaps", self._hours_there("gaps") - gaps.keys())
        for hour, found in gaps.items():
            path = self._path("gaps", hour)
            frame = gaps_frame(found, self.symbol, 0).sort("start", "stream", "end")
            if self.staged.exists(path) and self.staged.read(path)[0].cast(tables.GAPS).equals(frame):
                continue
            self.staged.write(path, frame, {"venue": self.venue, tables.ORIGIN: _GAPS_ORIGIN})

    def _path(self, table: str, hour: int) -> str:
        return hour_path(f"clean/{table}", self.venue, self.symbol, hour)

    def _hours_there(self, table: str, days: set[date] | None = None) -> set[int]:
        """Hours of these days, None for all, that have a file in the end."""
        found = set()
        for path in self.staged.list_files(f"clean/{table}/venue={self.venue}/symbol={self.symbol}"):
            hour, day = tables.hour_in_name(path), date.fromisoformat(path.rpartition("date=")[2].partition("/")[0])
            if hour is not None and (days is None or day in days):
                found.add(_first_hour(day) + hour)
        return found

    def _drop(self, table: str, hours: set[int]) -> None:
        """Delete the files of these hours that the archive made."""
        for hour in sorted(hours):
            path = self._path(table, hour)
            if self.staged.origin(path) is not None:
                self.staged.delete(path)

    def _says(self, path: str, metadata: dict[str, str]) -> bool:
        before = self.staged.metadata(path)
        return all(before.get(key) == text for key, text in metadata.items())


def _first_hour(day: date) -> int:
    return (day - date(1970, 1, 1)).days * 24


def _rows_between(symbol: str, settings: BookSettings, before: BookDay, after: BookDay) -> pl.DataFrame:
    """Rows after the last one of a day, up to the first one of the next, which opens on the state of the day before."""
    found: list[pl.DataFrame] = []
    replay = QuoteReplay(symbol, settings, before.last_row_ms, after.first_row_ms, found.append)
    try:
        replay.feed(quote_array([before.last]), Scale(before.px_decimals, before.sz_decimals))
        replay.feed(quote_array(after.opening), Scale(after.px_decimals, after.sz_decimals))
    except ValueError:
        raise DataError(
            f"{after.file}: expected numbers that fit those of {before.file} in 18 digits, found others; check both"
        ) from None
    replay.advance(after.first_row_ms)
    return pl.concat(found)


def _own_first_row(symbol: str, settings: BookSettings, day: BookDay) -> pl.DataFrame:
    """The first row of a day that stands alone."""
    found: list[pl.DataFrame] = []
    step_ms = settings.snapshot_interval_ms
    replay = QuoteReplay(symbol, settings, day.first_row_ms - step_ms, day.first_row_ms, found.append)
    replay.feed(quote_array(day.opening), Scale(day.px_decimals, day.sz_decimals))
    replay.advance(day.first_row_ms)
    return pl.concat(found)


def _trade_gaps(days: Days) -> list[tuple[str, Gap]]:
    found: list[tuple[str, Gap]] = []
    for note in days.values():
        assert isinstance(note, TradeDay)
        found += [
            ("trade", Gap(lost.start_ms, lost.end_ms, "venue", lost.expected_id, lost.found_id, None))
            for lost in note.lost
        ]
    for earlier, later in neighbours(days):
        before, after = days[earlier], days[later]
        assert isinstance(before, TradeDay)
        assert isinstance(after, TradeDay)
        edge = after.first
        rows = ledger_rows(*(np.array([value], np.int64) for value in (edge.us, edge.id, edge.first, edge.last)))
        last = before_of(before.last, before.kind)
        for gap in jumps([Stretch(ledger_source(after.kind), rows)], last, TradeBreaks()):
            cause = _cause(earlier, later)
            found.append(("trade", Gap(gap.start_ms, gap.end_ms, cause, gap.expected_id, gap.found_id, None)))
    return found


def _book_gaps(days: Days) -> list[tuple[str, Gap]]:
    found: list[tuple[str, Gap]] = []
    for earlier, later in neighbours(days):
        before, after = days[earlier], days[later]
        assert isinstance(before, BookDay)
        assert isinstance(after, BookDay)
        if _cause(earlier, later) == "down":
            found.append(("depth", Gap(before.last.ms, after.opening[0].ms, "down", None, None, None)))
    return found


def _cause(earlier: date, later: date) -> GapCause:
    """Between neighbouring days the archive lacks what is missing; between others nobody has brought it."""
    return "venue" if later - earlier == timedelta(days=1) else "down"
