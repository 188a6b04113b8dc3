"""The rows of the archive's CSV files in blocks: columns, units and every number checked, decimals kept exactly.

Futures files have a header line since some date, older ones and spot have none; spot has a further column, whether the
price was the best. Times are ms, spot's are us from 2025-01-01 on: the magnitude tells.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from midas_ray.book.events import IntArray
from midas_ray.book.kernels import MAX_DECIMALS
from midas_ray.errors import DataError
from midas_ray.importers.units import Unit, unit_of
from midas_ray.importers.vision.decimals import Decimals
from midas_ray.importers.vision.names import Kind
from midas_ray.importers.vision.source import Source

BLOCK_BYTES = 8 * 2**20
_MOST_HEAD_BYTES = 4096

_DECIMAL = pa.decimal128(38, MAX_DECIMALS)
_INT = pa.int64()
_BOOL = pa.bool_()

_COLUMNS: dict[Kind, dict[str, pa.DataType]] = {
    "trades": {"id": _INT, "px": _DECIMAL, "qty": _DECIMAL, "quote": _DECIMAL, "time": _INT, "sell": _BOOL},
    "aggTrades": {
        "id": _INT, "px": _DECIMAL, "qty": _DECIMAL, "first": _INT, "last": _INT, "time": _INT, "sell": _BOOL,
    },
    "bookTicker": {
        "id": _INT, "bid_px": _DECIMAL, "bid_sz": _DECIMAL, "ask_px": _DECIMAL, "ask_sz": _DECIMAL, "time": _INT,
        "event_time": _INT,
    },
}  # fmt: skip
"""Our names of the columns, in the archive's order."""

_UNREAD = {"quote", "event_time", "best"}

_HEADERS: dict[str, frozenset[str]] = {
    "id": frozenset({"id", "tradeid", "aggtradeid", "aggregatetradeid", "updateid"}),
    "px": frozenset({"price"}),
    "qty": frozenset({"qty", "quantity"}),
    "quote": frozenset({"quoteqty", "quotequantity"}),
    "first": frozenset({"firsttradeid"}),
    "last": frozenset({"lasttradeid"}),
    "time": frozenset({"time", "timestamp", "transacttime", "transactiontime"}),
    "sell": frozenset({"isbuyermaker"}),
    "best": frozenset({"isbestmatch"}),
    "bid_px": frozenset({"bestbidprice"}),
    "bid_sz": frozenset({"bestbidqty"}),
    "ask_px": frozenset({"bestaskprice"}),
    "ask_sz": frozenset({"bestaskqty"}),
    "event_time": frozenset({"eventtime"}),
}
"""What a header may call a column, without `_` and in small letters."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows, by column. ints: ids, times in us (`us`), flags as 0/1. decimals: prices and sizes."""

    first_row: int
    ints: dict[str, IntArray]
    decimals: dict[str, Decimals]

    def __len__(self) -> int:
        return len(self.ints["id"])

    def rows(self, start: int, stop: int) -> "Block":
        """The rows [start, stop) of the block."""
        return Block(
            self.first_row + start,
            {name: values[start:stop] for name, values in self.ints.items()},
            {name: values[start:stop] for name, values in self.decimals.items()},
        )


class Rows:
    """The rows of one CSV, checked. unit: of its times, known after the first row; rows: how many were read."""

    def __init__(self, source: Source, stream: IO[bytes]) -> None:
        self.unit: Unit | None = None
        self.rows = 0
        self._source = source
        self._path: Path = source.path
        # ZipExtFile may give few bytes a read; the line that is looked at first must be whole.
        self._stream = io.BufferedReader(stream, 2**20)  # type: ignore[type-var]
        midnight = datetime.combine(source.name.first, datetime.min.time(), UTC)
        self._first_us = int(midnight.timestamp()) * 10**6
        days = (source.name.last - source.name.first + timedelta(days=1)).days
        self._end_us = self._first_us + days * 86_400 * 10**6
        self._last_id = -1

    def blocks(self) -> Iterator[Block]:
        """All rows in order. Raises DataError for the first that is none of its kind."""
        columns = self._columns()
        if not self._stream.peek(1):
            raise DataError(f"{self._path}: expected {self._source.name.kind}, found no row; fetch it again")
        read = {name: dtype for name, dtype in columns.items() if name not in _UNREAD}
        try:
            reader = pacsv.open_csv(
                self._stream,
                read_options=pacsv.ReadOptions(column_names=list(columns), block_size=BLOCK_BYTES, use_threads=False),
                parse_options=pacsv.ParseOptions(quote_char=False),
                convert_options=pacsv.ConvertOptions(
                    column_types=read, include_columns=list(read), null_values=[], strings_can_be_null=False
                ),
            )
            with reader:
                for batch in reader:
                    if len(batch):
                        yield self._checked(batch)
        except pa.ArrowInvalid as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{self._path}: expected {self._source.name.kind} as {', '.join(columns)} of plain numbers, found "
                f"after row {self.rows:,}: {reason}; fetch it again"
            ) from None
        if not self.rows:  # blank lines alone
            raise DataError(f"{self._path}: expected {self._source.name.kind}, found no row; fetch it again")

    def _columns(self) -> dict[str, pa.DataType]:
        """The columns that the first line has, by name where it is a header; then it is passed over."""
        head = self._stream.peek(_MOST_HEAD_BYTES)[:_MOST_HEAD_BYTES]
        line = head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].strip().decode("utf-8", "replace")
        kind = self._source.name.kind
        columns = dict(_COLUMNS[kind])
        cells = line.split(",")
        if kind != "bookTicker" and len(cells) == len(columns) + 1:
            columns["best"] = _BOOL
        if len(cells) != len(columns):
            raise DataError(
                f"{self._path}: expected {len(_COLUMNS[kind])} columns of {kind} ({', '.join(_COLUMNS[kind])}), found "
                f"{len(cells) if line else 'an empty first line'}; check the file"
            )
        if not cells[0][:1].isdigit():
            for cell, name in zip(cells, columns, strict=True):
                if cell.strip().lower().replace("_", "") not in _HEADERS[name]:
                    raise DataError(f"{self._path}: expected the column {name} of {kind}, found {cell[:40]!r}")
            self._stream.readline()
        return columns

    def _checked(self, batch: pa.RecordBatch) -> Block:
        ints = {
            name: np.asarray(batch.column(name).cast(_INT).to_numpy(zero_copy_only=False), np.int64)
            for name in batch.schema.names
            if batch.schema.field(name).type != _DECIMAL
        }
        decimals = {
            name: self._decimals(batch, name)
            for name in batch.schema.names
            if batch.schema.field(name).type == _DECIMAL
        }
        self._check_ids(ints["id"])
        ints["us"] = self._times(ints.pop("time"))
        if "first" in ints:
            self._check(ints["first"] < 0, "ids of at least 0", ints["first"])
            self._check(ints["last"] < ints["first"], "first_trade_id <= last_trade_id", ints["last"])
            self._check(ints["last"] - ints["first"] >= 2**31 - 1, "a trade count below 2^31", ints["last"])
        block = Block(self.rows + 1, ints, decimals)
        self.rows += len(batch)
        return block

    def _decimals(self, batch: pa.RecordBatch, name: str) -> Decimals:
        column = batch.column(name)
        self._check(pc.less_equal(column, pa.scalar(0, _DECIMAL)).to_numpy(zero_copy_only=False), f"{name} > 0", column)
        found = Decimals.of(column)
        if found is None:
            raise DataError(f"{self._path}: expected numbers of at most 18 digits in {name}; check the file")
        return found

    def _check_ids(self, ids: IntArray) -> None:
        before = np.concatenate([[self._last_id], ids[:-1]])
        self._check(ids <= before, "ids that rise from row to row", ids)
        self._last_id = int(ids[-1])

    def _times(self, values: IntArray) -> IntArray:
        if self.unit is None:
            unit = unit_of(str(int(values[0])).encode()) if values[0] >= 0 else None
            if unit is None or unit.name not in ("ms", "us"):
                raise DataError(f"{self._path}: expected times in ms or us, found {values[0]} in row 1")
            self.unit = unit
        scale = self.unit.ns // 1000
        outside = (values < self._first_us // scale) | (values >= self._end_us // scale)
        days = self._source.name
        period = f"{days.first} to {days.last}" if days.is_month else f"{days.first}"
        self._check(outside, f"times of {period} (UTC) in {self.unit.name}", values)
        return values * scale

    def _check(self, wrong: Any, expected: str, values: Any) -> None:
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{self._path}: expected {expected}, found {values[at]} in row {self.rows + at + 1:,}; fetch it again"
            )
