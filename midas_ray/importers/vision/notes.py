"""What was made of the archive: a note per symbol, day and table (`trades`, `book`), beside the clean tables.

`clean/archive/venue=V/symbol=S/date=D/trades.json` names the source of the day by its SHA-256, the hours made of it,
and what neighbouring days need of it: its first and last row. So the same files again change nothing, a day that is
replaced replaces its own hours only, and days join the same way in whatever order they come.
"""

import itertools
from collections.abc import Iterable
from datetime import date
from typing import Literal

import msgspec

from midas_ray.errors import DataError
from midas_ray.importers.vision.names import Kind, parse_name
from midas_ray.storage import Partition, Storage

Table = Literal["trades", "book"]
FOLDER = "clean/archive"

TABLE_OF: dict[Kind, Table] = {"trades": "trades", "aggTrades": "trades", "bookTicker": "book"}


class TradeEdge(msgspec.Struct, frozen=True):
    """The first or last row of a day of trades; first, last: the single trades it stands for."""

    us: int
    id: int
    first: int
    last: int


class LostTrades(msgspec.Struct, frozen=True):
    """Ids that are missing between two rows of a day; times in ms."""

    start_ms: int
    end_ms: int
    expected_id: int
    found_id: int


class Quote(msgspec.Struct, frozen=True, array_like=True):
    """Best bid and ask, integers at the note's scale."""

    ms: int
    id: int
    bid_px: int
    bid_sz: int
    ask_px: int
    ask_sz: int


class DayNote(msgspec.Struct, frozen=True, kw_only=True):
    """A day of a table. key: of the code and settings that made it. hours: since 1970, those it has a file of."""

    file: str
    sha256: str
    key: str
    rows: int
    hours: list[int]

    @property
    def kind(self) -> Kind:
        return parse_name(self.file).kind

    @property
    def rank(self) -> tuple[bool, bool]:
        """Which of two sources of a day is kept: single trades before aggregate ones, a day's file before a month's."""
        name = parse_name(self.file)
        return name.kind == "trades", not name.is_month


class TradeDay(DayNote, frozen=True, kw_only=True, tag="trades"):
    """A day of clean/trades."""

    first: TradeEdge
    last: TradeEdge
    lost: list[LostTrades]


class BookDay(DayNote, frozen=True, kw_only=True, tag="book"):
    """A day of clean/book: its rows reach from first_row_ms to last_row_ms.

    opening: the quotes up to the first row. px_decimals, sz_decimals: scale of the quotes kept here.
    """

    first_row_ms: int
    last_row_ms: int
    opening: list[Quote]
    last: Quote
    px_decimals: int
    sz_decimals: int
    longest_quiet_us: int


AnyDay = TradeDay | BookDay
Days = dict[date, AnyDay]


def note_path(venue: str, symbol: str, day: date, table: Table) -> str:
    """Where the note of a day lies."""
    return f"{Partition(FOLDER, venue, symbol, day).path}/{table}.json"


def read_notes(storage: Storage, venue: str, symbol: str, table: Table) -> Days:
    """The notes of all days, in order. Raises DataError for a damaged one."""
    found: Days = {}
    for path in storage.list_files(f"{FOLDER}/venue={venue}/symbol={symbol}", f"/{table}.json"):
        try:
            day = date.fromisoformat(path.rpartition("date=")[2].partition("/")[0])
            found[day] = msgspec.json.decode(storage.read_bytes(path), type=AnyDay)
        except (msgspec.DecodeError, ValueError) as error:
            raise DataError(f"{path}: expected a note of an import ({error}); delete it and import again") from None
    return dict(sorted(found.items()))


def neighbours(days: Iterable[date]) -> list[tuple[date, date]]:
    """Each day with the next one there is."""
    return list(itertools.pairwise(sorted(days)))
