"""`midas import hftbacktest`: normalised events of hftbacktest.

Each event is there for the exchange (at its exch_ts) and for the local side (at its local_ts), as one row or as two.
Changes and trades are taken as they were received, whole books where the exchange had them: a REST answer arrives later
than changes that follow it. A message is neighbouring rows that share both times; there are no ids, a chain of our own
stands for them.
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from midas_ray.errors import DataError, UsageError
from midas_ray.importers import wire
from midas_ray.importers.archive import (
    MOST_PAUSE_NS,
    ArchiveMessage,
    ArchiveSurvey,
    BookChange,
    Message,
    check_clock,
)
from midas_ray.importers.hft_read import (
    BUY,
    CLEAR,
    DEPTH,
    EVENT,
    EXCHANGE,
    EXPECTED,
    LOCAL,
    SNAPSHOT,
    TRADE,
    Events,
    has,
    kind_of,
    read_events,
)
from midas_ray.importers.level_text import book_changes, plain_text
from midas_ray.importers.survey import SymbolSurvey
from midas_ray.importers.units import UNITS
from midas_ray.venues.base import Venue

_KINDS = (DEPTH, TRADE, CLEAR, SNAPSHOT)
MOST_ROWS = 2_000_000
"""Rows that one message may have: they are held together."""


class Hftbacktest:
    """The format. symbols: the one that the files are of."""

    name = "hftbacktest"
    expected = EXPECTED
    files_join: Literal["by id", "where close", "never"] = "where close"
    lacks: tuple[str, ...] = (
        "update and trade ids (chains of our own stand for them: losses inside a file cannot be seen)",
        "trades that are no prints",
    )
    times = "receive times as the converter left them, which moves them where the local clock was behind"

    def __init__(self, symbols: tuple[str, ...]) -> None:
        if len(symbols) != 1:
            raise UsageError(
                f"expected the one symbol that the files are of, found {','.join(symbols) or 'none'}: "
                "say it with --symbol btcusdt"
            )
        self.symbol = symbols[0]
        self._trade_id = 0
        self._until_ns = 0

    def survey(self, path: Path) -> ArchiveSurvey:
        """Read and check a whole file."""
        found: ArchiveSurvey | None = None
        each = SymbolSurvey()
        offsets: list[float] = []
        for _, events in read_events(path):
            rows = events[_is_taken(events)]
            if not len(rows):
                continue
            first_ns, last_ns = int(rows["local_ts"].min()), int(rows["local_ts"].max())
            if found is None:
                found = ArchiveSurvey(path, UNITS[3], int(rows["local_ts"][0]))
                each.first_ns = first_ns
            each.first_ns, each.last_ns = min(each.first_ns, first_ns), max(each.last_ns, last_ns)
            kinds = kind_of(rows)
            each.kinds["trade"] += int((kinds == TRADE).sum())
            each.kinds["depth"] += int((kinds != TRADE).sum())
            found.rows += len(events)
            found.lines += len(rows)
            found.notes["events of other kinds left out"] += int((~np.isin(kind_of(events), _KINDS)).sum())
            late = (rows["local_ts"] - rows["exch_ts"])[kinds != SNAPSHOT] / 1e6
            offsets += late[:: max(len(late) // 50, 1)].tolist()
        if found is None:
            raise DataError(f"{path}: expected {EXPECTED}, found no change of a book and no trade; check the file")
        found.notes, found.last_ns = +found.notes, each.last_ns
        found.symbols[self.symbol] = each
        found.covered = (each.first_ns, each.last_ns)
        found.offset_ms = median(offsets) if offsets else None
        check_clock(path, found.offset_ms, found.first_ns)
        return found

    def messages(self, file: ArchiveSurvey, venue: Venue) -> Iterator[ArchiveMessage]:
        """The file's messages. A whole book goes before the changes of its own moment: they may be later ones."""
        held: list[BookChange] = []
        if file.first_ns - self._until_ns > MOST_PAUSE_NS:  # the ids then show that trades may be missing
            self._trade_id = max(file.first_ns // 1000, self._trade_id + 1)
        self._until_ns = file.last_ns
        for rows in _whole_messages(file.path):
            for message in self._in_order(rows, file.path):
                if not isinstance(message, BookChange):
                    self._trade_id += 1
                    payload = _trade(self.symbol, self._trade_id, message, venue)
                    yield Message(message.recv_ns, self.symbol, "trade", payload)
                    continue
                if held and message.exchange_ms != held[0].exchange_ms:
                    yield from held
                    held = []
                held.insert(0 if message.is_whole else len(held), message)
        yield from held

    def _in_order(self, rows: Events, path: Path) -> "list[BookChange | _Trade]":
        px, qty = _decimal_text(rows, "px", path), _decimal_text(rows, "qty", path)
        kinds = kind_of(rows)
        is_trade, is_buy = kinds == TRADE, has(rows, BUY)
        table = pl.DataFrame(
            {
                "message": _run_starts(rows),
                "recv_ns": rows["local_ts"],
                "exchange_ms": rows["exch_ts"] // 10**6,
                "is_whole": kinds != DEPTH,
                # A cleared price is no level.
                "is_bid": pl.Series(is_buy).set(pl.Series(kinds == CLEAR), None),
                "px": px,
                "qty": qty,
            }
        ).with_columns(symbol=pl.lit(self.symbol))
        found: dict[int, BookChange | _Trade] = {}
        levels = table.filter(~pl.Series(is_trade))
        for change in book_changes(levels).iter_rows() if len(levels) else ():
            found[change[-1]] = BookChange(*change[:-1])
        prints = table.filter(pl.Series(is_trade)).select("recv_ns", "exchange_ms", "px", "qty", "is_bid")
        for at, values in zip(np.flatnonzero(is_trade).tolist(), prints.iter_rows(), strict=True):
            found[at] = _Trade(*values)
        return [found[at] for at in sorted(found)]


class _Trade(NamedTuple):
    recv_ns: int
    exchange_ms: int
    px: str
    qty: str
    buy: bool


def _trade(symbol: str, trade_id: int, trade: _Trade, venue: Venue) -> bytes:
    kind = "MARKET" if venue.has_previous_id else None
    return wire.trade(symbol, trade.exchange_ms, trade_id, trade.px, trade.qty, sell=not trade.buy, kind=kind)


def _is_taken(events: Events) -> npt.NDArray[np.bool_]:
    kinds = kind_of(events)
    received = np.isin(kinds, (DEPTH, TRADE)) & has(events, LOCAL)
    taken: npt.NDArray[np.bool_] = received | (np.isin(kinds, (CLEAR, SNAPSHOT)) & has(events, EXCHANGE))
    return taken


def _run_starts(rows: Events) -> npt.NDArray[np.int64]:
    """For each row the index of the first one of its message: neighbours of one sort that share both times."""
    kinds = kind_of(rows)
    sort = np.where(kinds == TRADE, 1, np.where(kinds == DEPTH, 0, 2))
    begins = np.ones(len(rows), np.bool_)
    begins[1:] = (np.diff(sort) != 0) | (np.diff(rows["local_ts"]) != 0) | (np.diff(rows["exch_ts"]) != 0)
    begins |= sort == 1
    starts: npt.NDArray[np.int64] = np.maximum.accumulate(np.where(begins, np.arange(len(rows)), 0))
    return starts


def _whole_messages(path: Path) -> Iterator[Events]:
    """The rows that are taken, cut between messages."""
    held = np.empty(0, EVENT)
    for _, events in read_events(path):
        rows = np.concatenate([held, events[_is_taken(events)]])
        if not len(rows):
            continue
        cut = int(_run_starts(rows)[-1])
        held = rows[cut:]
        if len(held) > MOST_ROWS:
            raise DataError(f"{path}: expected messages of at most {MOST_ROWS:,} rows, found a longer one")
        if cut:
            yield rows[:cut]
    if len(held):
        yield held


def _decimal_text(rows: Events, column: str, path: Path) -> pl.Series:
    """The shortest decimal text that gives each number again. Raises DataError where one has over 10 decimals."""
    text = plain_text(pl.Series(column, rows[column].copy()).cast(pl.String))
    wrong = np.flatnonzero(text.is_null().to_numpy() & (kind_of(rows) != CLEAR))
    if len(wrong):
        raise DataError(
            f"{path}: expected {column} of at most 18 digits and 10 decimals, found {rows[column][wrong[0]]!r}; "
            "convert it again from its source"
        )
    return text
