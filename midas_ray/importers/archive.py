"""What the importers of archives share that hold columns instead of the exchange's own messages."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from midas_ray.errors import DataError
from midas_ray.importers.survey import MOST_OFFSET_MS, FileSurvey
from midas_ray.importers.units import utc_text
from midas_ray.venues.base import StreamKind, Venue

MOST_PAUSE_NS = 10 * 10**9
"""Without ids, a file goes on from the one before only where it begins sooner than this after that one's end."""


class Message(NamedTuple):
    """A message rebuilt in the exchange's shape (see `wire`)."""

    recv_ns: int
    symbol: str
    kind: StreamKind
    payload: bytes


class BookChange(NamedTuple):
    """A change of the book, or a whole book, in an archive that keeps no update ids.

    bids, asks: JSON of the levels, without the outer brackets. A whole book without levels: the book is not known from
    here on.
    """

    recv_ns: int
    symbol: str
    exchange_ms: int
    bids: str
    asks: str
    is_whole: bool = False


ArchiveMessage = Message | BookChange


@dataclass(slots=True)
class ArchiveSurvey(FileSurvey):
    """A file that was read and checked as a whole.

    rows: its data rows. covered: the times (ns) that the file is about, first and last included; hours in
    between without a row count as captured too. venue: whose market it is, where the file says so. notes: what was left
    out or lost, and how many of it, for the summary.
    """

    rows: int = 0
    covered: tuple[int, int] = (0, 0)
    venue: str | None = None
    notes: Counter[str] = field(default_factory=Counter)


class ArchiveFormat(Protocol):
    """An archive format.

    files_join: whether the depth changes of a file may go on from the file before. lacks: what the format never holds.
    times: how its book's times are to be understood, for the summary; empty where there is nothing to say.
    """

    name: str
    expected: str
    files_join: Literal["by id", "where close", "never"]
    lacks: tuple[str, ...]
    times: str

    def survey(self, path: Path) -> ArchiveSurvey:
        """Read and check a whole file. Raises DataError, CorruptFileError, UsageError."""
        ...

    def messages(self, file: ArchiveSurvey, venue: Venue) -> Iterator[ArchiveMessage]:
        """The messages of a surveyed file in the order in which they apply."""
        ...


def check_clock(path: Path, offset_ms: float | None, first_ns: int) -> None:
    """Raises DataError where a file's receive times are hours from the exchange's own."""
    if offset_ms is not None and abs(offset_ms) > MOST_OFFSET_MS:
        raise DataError(
            f"{path}: its receive times begin at {utc_text(first_ns)} UTC, {offset_ms / 3.6e6:+.1f} h from the "
            "exchange's own times; expected both in UTC, at most an hour apart"
        )
