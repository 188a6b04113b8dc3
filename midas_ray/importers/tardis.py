"""`midas import tardis`: CSV files of Tardis.dev, told apart by their headers.

A message is the rows that share both times; the files hold no update ids, so a chain of our own stands for them. Rows
with is_snapshot begin the book anew, after a break. `side` of liquidations is that of the forced order: `sell` closes a
long position; its price is the order's average price (Tardis' own mapper, src/mappers/binance.ts).
"""

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Literal

import polars as pl

from midas_ray.errors import DataError
from midas_ray.importers import wire
from midas_ray.importers.archive import ArchiveMessage, ArchiveSurvey, BookChange, Message, check_clock
from midas_ray.importers.entries import is_plain
from midas_ray.importers.level_text import book_changes, is_positive
from midas_ray.importers.survey import SymbolSurvey
from midas_ray.importers.tardis_read import EXPECTED, VENUE_OF, Header, TardisKind, read_header, read_tables
from midas_ray.importers.units import UNITS
from midas_ray.venues.base import StreamKind, Venue

DAY_NS = 86_400 * 10**9
MOST_ROWS = 2_000_000
"""Rows that one message may have: they are held together."""

_KIND_OF: dict[TardisKind, StreamKind] = {
    "incremental_book_L2": "depth",
    "trades": "trade",
    "derivative_ticker": "markPrice",
    "liquidations": "forceOrder",
}
_NO_PRINTS = "trades without price or amount (no prints)"
_NO_MARK = "derivative_ticker rows without mark price, index price or next funding time left out"


class Tardis:
    """The format."""

    name = "tardis"
    expected = EXPECTED
    files_join: Literal["by id", "where close", "never"] = "never"
    lacks: tuple[str, ...] = ("update ids (a chain of our own stands for them: losses inside a file cannot be seen)",)
    times = "book times are those of sending (E)"

    def survey(self, path: Path) -> ArchiveSurvey:
        """Read and check a whole file."""
        header = read_header(path)
        kind = _KIND_OF[header.kind]
        found: ArchiveSurvey | None = None
        offsets: list[float] = []
        for table in read_tables(path, header):
            if found is None:
                found = ArchiveSurvey(path, UNITS[2], int(table["local_timestamp"][0]) * 1000)
            _note(found, header.kind, kind, table)
            late = (table["local_timestamp"] - table["timestamp"])[:: max(len(table) // 50, 1)]
            offsets += (late / 1000).to_list()
        if found is None:
            raise DataError(f"{path}: expected {EXPECTED}, found a header alone; check the file")
        found.offset_ms = median(offsets)
        check_clock(path, found.offset_ms, found.first_ns)
        # A file tells of whole days of receive time.
        found.covered = (found.first_ns // DAY_NS * DAY_NS, (found.last_ns // DAY_NS + 1) * DAY_NS - 1)
        return found

    def messages(self, file: ArchiveSurvey, venue: Venue) -> Iterator[ArchiveMessage]:
        """The file's messages in its order."""
        header = read_header(file.path)
        if header.kind == "incremental_book_L2":
            return _books(file, header)
        return _others(file, header, venue)


def _note(found: ArchiveSurvey, tardis_kind: TardisKind, kind: StreamKind, table: pl.DataFrame) -> None:
    """Add a table to the survey."""
    venues = {VENUE_OF[name] for name in table["exchange"].unique()} | ({found.venue} - {None})
    if len(venues) > 1:
        raise DataError(f"{found.path}: expected rows of one exchange, found several; split the file by exchange")
    found.venue = next(iter(venues))
    found.rows += len(table)
    found.lines += len(table)
    for symbol, first_us, last_us, count in (
        table.group_by("symbol")
        .agg(
            pl.col("local_timestamp").min().alias("first"),
            pl.col("local_timestamp").max().alias("last"),
            pl.len().alias("rows"),
        )
        .iter_rows()
    ):
        found.first_ns, found.last_ns = min(found.first_ns, first_us * 1000), max(found.last_ns, last_us * 1000)
        if not is_plain(symbol):
            found.left_out.add(symbol)
            continue
        each = found.symbols.setdefault(symbol, SymbolSurvey(first_ns=first_us * 1000))
        each.kinds[kind] += count
        each.first_ns, each.last_ns = min(each.first_ns, first_us * 1000), max(each.last_ns, last_us * 1000)
    if tardis_kind == "trades":
        found.notes[_NO_PRINTS] += len(table.filter(~is_positive("price")))
    elif tardis_kind == "derivative_ticker":
        found.notes[_NO_MARK] += len(table.filter(~_has_mark()))
    found.notes = +found.notes  # only what there is


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """`rows` with `message`: the same for those of a symbol's rows that follow each other and agree in their times and
    is_snapshot. A whole book may come with several times."""
    is_whole = pl.col("is_snapshot") == "true"
    times = [pl.when(is_whole).then(0).otherwise(pl.col(name)).alias(name) for name in ("local_timestamp", "timestamp")]
    run = pl.struct("is_snapshot", *times).rle_id().cast(pl.Int64)
    if rows["symbol"].n_unique() == 1:
        return rows.with_columns(message=run)
    return rows.with_columns(message=run.over("symbol") + pl.col("symbol").rank("dense").cast(pl.Int64) * 2**32)


def _has_mark() -> pl.Expr:
    needed = ("mark_price", "index_price", "funding_timestamp")
    return pl.all_horizontal(pl.col(name).is_not_null() for name in needed) & is_positive("mark_price")


def _books(file: ArchiveSurvey, header: Header) -> Iterator[ArchiveMessage]:
    held: pl.DataFrame | None = None
    for table in read_tables(file.path, header):
        rows = _numbered(table if held is None else pl.concat([held, table]))
        # The last message of a symbol in a block may go on in the next one.
        is_last = pl.col("message") == pl.col("message").last().over("symbol")
        held = rows.filter(is_last).drop("message")
        if len(held) > MOST_ROWS:
            raise DataError(f"{file.path}: expected messages of at most {MOST_ROWS:,} rows, found a longer one")
        if len(held) < len(rows):
            yield from _changes(rows.filter(~is_last), file)
    if held is not None:
        yield from _changes(_numbered(held), file)


def _changes(rows: pl.DataFrame, file: ArchiveSurvey) -> Iterator[BookChange]:
    named = rows.select(
        "message",
        "symbol",
        recv_ns=pl.col("local_timestamp") * 1000,
        exchange_ms=pl.col("timestamp") // 1000,
        is_whole=pl.col("is_snapshot") == "true",
        is_bid=pl.col("side") == "bid",
        px="price",
        qty="amount",
    )
    return (BookChange(*row[:-1]) for row in book_changes(named).iter_rows() if row[1] in file.symbols)


def _others(file: ArchiveSurvey, header: Header, venue: Venue) -> Iterator[ArchiveMessage]:
    kind = _KIND_OF[header.kind]
    for table in read_tables(file.path, header):
        chosen = table.filter(_has_mark()) if header.kind == "derivative_ticker" else table
        for row in chosen.iter_rows(named=True):
            symbol = row["symbol"]
            if symbol in file.symbols:
                yield Message(row["local_timestamp"] * 1000, symbol, kind, _payload(header.kind, symbol, row, venue))


def _payload(kind: TardisKind, symbol: str, row: dict[str, str], venue: Venue) -> bytes:
    exchange_ms = int(row["timestamp"]) // 1000
    if kind == "trades":
        is_print = any(digit in row["price"] for digit in "123456789")
        ending = None if not venue.has_previous_id else "MARKET" if is_print else "NA"
        sell = row["side"] == "sell"
        return wire.trade(symbol, exchange_ms, int(row["id"]), row["price"], row["amount"], sell=sell, kind=ending)
    if kind == "derivative_ticker":
        funding_ms = int(row["funding_timestamp"]) // 1000
        rate = row["funding_rate"] or ""
        return wire.mark_price(symbol, exchange_ms, row["mark_price"], row["index_price"], rate, funding_ms)
    return wire.force_order(symbol, exchange_ms, row["side"].upper(), row["price"], row["price"], row["amount"])
