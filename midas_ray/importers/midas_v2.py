"""`midas import midas-v2`: raw files of the original MIDAS collector (its collector/src/main.rs, all versions).

One JSON record a line in Zstandard: `exchange_ts` and `local_ts` in microseconds, `type` and what belongs to it; its
version 2 adds liquidations, klines, `meta`, and a `_header` and `_footer` line. It kept no REST snapshot and no event
time (`E`), and of trades not whether they are prints (`X`).
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Literal

import msgspec

from midas_ray.capture.journal import read_blocks
from midas_ray.errors import CorruptFileError, DataError, TruncatedFileError
from midas_ray.importers import wire
from midas_ray.importers.archive import ArchiveMessage, ArchiveSurvey, Message, check_clock
from midas_ray.importers.entries import is_plain
from midas_ray.importers.survey import SymbolSurvey
from midas_ray.importers.units import EARLIEST_NS, LATEST_NS, UNITS
from midas_ray.venues.base import StreamKind, Venue
from midas_ray.venues.messages import Level

_EXPECTED = "raw files of the original MIDAS collector (.jsonl.zst)"
_PLAIN = re.compile(r"\d{1,18}(?:\.\d{1,10}0*)?")
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_KINDS: dict[str, StreamKind] = {"depth": "depth", "trade": "trade", "liquidation": "forceOrder"}
_CUT = "file cut off at its end: its whole lines are kept, up to 5 s of records are lost"
_DROPPED = "messages that the collector itself dropped, as its last line says"
_KLINES = "klines left out (they lack their open time, quote and taker volumes)"
_UNFILLED = "liquidations left out that were not FILLED (they lack the filled quantity)"


class _Trade(msgspec.Struct, frozen=True):
    trade_id: int
    price: str
    quantity: str
    buyer_is_maker: bool


class _Liquidation(msgspec.Struct, frozen=True):
    side: Literal["BUY", "SELL"]
    price: str
    quantity: str
    avg_price: str
    status: str


class _Record(msgspec.Struct, frozen=True):
    """A line. Of `_header`, `_footer` and records of other types only the name is looked at."""

    exchange_ts: int = 0
    local_ts: int = 0
    type: str = ""
    symbol: str = ""
    first_update_id: int | None = None
    last_update_id: int | None = None
    prev_update_id: int | None = None
    bids: list[Level] | None = None
    asks: list[Level] | None = None
    trade: _Trade | None = None
    liquidation: _Liquidation | None = None
    header: dict[str, Any] | None = msgspec.field(default=None, name="_header")
    footer: dict[str, Any] | None = msgspec.field(default=None, name="_footer")


_decode = msgspec.json.Decoder(_Record).decode


class MidasV2:
    """The format."""

    name = "midas-v2"
    expected = _EXPECTED
    files_join: Literal["by id", "where close", "never"] = "by id"
    lacks: tuple[str, ...] = (
        "whole books (the original's collector kept no REST snapshot)",
        "event times (E)",
        "which trades are no prints (insurance fund, ADL)",
    )
    times = ""

    def survey(self, path: Path) -> ArchiveSurvey:
        """Read and check a whole file; what a kill cut off is noted."""
        found: ArchiveSurvey | None = None
        offsets: list[float] = []
        notes: dict[str, int] = {}
        for number, record in _records(path, notes):
            if record.footer is not None:
                notes[_DROPPED] = _dropped(record.footer)
            if record.header is not None or record.footer is not None:
                continue
            recv_ns = record.local_ts * 1000
            found = found or ArchiveSurvey(path, UNITS[2], recv_ns, venue="binance-futures")
            found.rows, found.lines, found.last_ns = number, number, max(found.last_ns, recv_ns)
            if number % 500 < 5:
                offsets.append((record.local_ts - record.exchange_ts) / 1000)
            _note(found, record)
        if found is None:
            raise DataError(f"{path}: expected {_EXPECTED}, found no record; check FORMAT and the file")
        found.notes = +(found.notes + Counter(notes))
        found.covered = (found.first_ns, found.last_ns)
        found.offset_ms = median(offsets) if offsets else None
        check_clock(path, found.offset_ms, found.first_ns)
        return found

    def messages(self, file: ArchiveSurvey, venue: Venue) -> Iterator[ArchiveMessage]:
        """The file's records in the exchange's shape."""
        for _, record in _records(file.path, {}):
            symbol = record.symbol.lower()
            payload = _payload(record, symbol, venue) if symbol in file.symbols else None
            if payload is not None:
                yield Message(record.local_ts * 1000, symbol, _KINDS[record.type], payload)


def _dropped(footer: dict[str, Any]) -> int:
    """How many messages the collector says it dropped; it counts them since its start."""
    stats = footer.get("stats")
    count = stats.get("dropped_messages") if isinstance(stats, dict) else None
    return count if isinstance(count, int) else 0


def _note(found: ArchiveSurvey, record: _Record) -> None:
    """Add a record to the survey."""
    kind, symbol = _KINDS.get(record.type), record.symbol.lower()
    if kind is None:
        found.notes[_KLINES if record.type == "kline" else f"records of type {record.type!r} left out"] += 1
        return
    if record.liquidation is not None and record.liquidation.status != "FILLED":
        found.notes[_UNFILLED] += 1
        return
    if not is_plain(symbol):
        found.left_out.add(symbol)
        return
    recv_ns = record.local_ts * 1000
    each = found.symbols.setdefault(symbol, SymbolSurvey(first_ns=recv_ns))
    each.kinds[kind] += 1
    each.first_ns, each.last_ns = min(each.first_ns, recv_ns), max(each.last_ns, recv_ns)
    if kind == "depth":
        each.first_prev_id = record.prev_update_id if each.first_prev_id is None else each.first_prev_id
        each.last_id = record.last_update_id


def _records(path: Path, notes: dict[str, int]) -> Iterator[tuple[int, _Record]]:
    """(line number, record) of the whole lines. notes: takes what is lost of the file.

    Raises DataError for a line that is no record, CorruptFileError for data that are damaged, not just cut off.
    """
    with path.open("rb") as stream:
        if stream.read(4) != _ZSTD_MAGIC:
            raise DataError(f"{path}: expected {_EXPECTED}, found no Zstandard data; check FORMAT and the file")
        stream.seek(0)
        number = 0
        try:
            for block in read_blocks(stream, str(path)):
                for line in block.splitlines():
                    number += 1
                    yield number, _checked(path, number, line)
        except TruncatedFileError:
            if not number:
                raise CorruptFileError(f"{path}: cut off before its first whole line; leave it out") from None
            notes[_CUT] = 1


def _checked(path: Path, number: int, line: bytes) -> _Record:
    try:
        record = _decode(line)
        if record.header is not None or record.footer is not None:
            return record
        for name, us in (("exchange_ts", record.exchange_ts), ("local_ts", record.local_ts)):
            if not EARLIEST_NS <= us * 1000 < LATEST_NS:
                raise ValueError(f"{name} {us} is no time from 2009 to 2100 in microseconds")
        if not record.symbol or not record.type:
            raise ValueError("no symbol or no type")
        ids = (record.first_update_id, record.last_update_id, record.prev_update_id)
        if record.type == "depth" and None in (*ids, record.bids, record.asks):
            raise ValueError("a depth record without its ids or sides")
        if record.type == "trade" and record.trade is None:
            raise ValueError("a trade record without its trade")
        if record.type == "liquidation" and record.liquidation is None:
            raise ValueError("a liquidation record without its order")
        if record.trade is not None:
            is_nothing = not record.trade.price.strip("0.")  # rows that are no prints have neither price nor quantity
            _check_number("price", record.trade.price, may_be_zero=is_nothing)
            _check_number("quantity", record.trade.quantity, may_be_zero=is_nothing)
        if record.liquidation is not None:
            _check_number("price", record.liquidation.price, may_be_zero=False)
            _check_number("avg_price", record.liquidation.avg_price, may_be_zero=True)
            _check_number("quantity", record.liquidation.quantity, may_be_zero=True)
    except (msgspec.DecodeError, ValueError) as error:
        shown = line[:60].decode("utf-8", "replace")
        raise DataError(
            f"{path}, line {number:,}: expected a record of the original MIDAS collector, found {shown!r} ({error}); "
            "check FORMAT and the file"
        ) from None
    return record


def _check_number(name: str, text: str, *, may_be_zero: bool) -> None:
    if not _PLAIN.fullmatch(text) or not (may_be_zero or text.strip("0.")):
        raise ValueError(f"{name} {text!r} is no plain decimal number {'from' if may_be_zero else 'above'} 0")


def _payload(record: _Record, symbol: str, venue: Venue) -> bytes | None:
    """The exchange's message of a record; None where it is left out."""
    exchange_ms = record.exchange_ts // 1000
    if record.type == "depth":
        ids = (record.first_update_id or 0, record.last_update_id or 0, record.prev_update_id or 0)
        sides = (msgspec.json.encode(side)[1:-1].decode() for side in (record.bids, record.asks))
        return wire.depth(venue, symbol, exchange_ms, ids, *sides)
    if record.type == "trade" and record.trade is not None:
        trade = record.trade
        sell = trade.buyer_is_maker
        return wire.trade(symbol, exchange_ms, trade.trade_id, trade.price, trade.quantity, sell=sell, kind=None)
    order = record.liquidation
    if record.type != "liquidation" or order is None or order.status != "FILLED":
        return None
    return wire.force_order(symbol, exchange_ms, order.side, order.price, order.avg_price, order.quantity)
