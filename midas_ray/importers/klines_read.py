"""Files of 1-minute klines as one table, whoever wrote them: feather (freqtrade), csv (Binance), zips of csv."""

import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from midas_ray.errors import CorruptFileError, DataError
from midas_ray.importers.units import unit_of

BAR_MS = 60_000
VALUES: dict[str, pl.DataType] = {
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Float64(),
    "quote_volume": pl.Float64(),
    "number_of_trades": pl.Int64(),
    "taker_buy_volume": pl.Float64(),
    "taker_buy_quote_volume": pl.Float64(),
}
"""Columns of a bar beside its time; the first five are in every file."""

NEEDED = tuple(VALUES)[:5]

_ARCHIVE_COLUMNS = ("open_time", *NEEDED, "close_time", *tuple(VALUES)[5:])
"""What Binance's csv hold in order, with or without a header; a further `ignore` may follow."""

_OTHER_NAMES = {
    "date": "open_time",
    "timestamp": "open_time",
    "quote_asset_volume": "quote_volume",
    "count": "number_of_trades",
    "trades": "number_of_trades",
    "taker_buy_base_asset_volume": "taker_buy_volume",
    "taker_buy_base_volume": "taker_buy_volume",
    "taker_buy_quote_asset_volume": "taker_buy_quote_volume",
}

_FREQTRADE = re.compile(r"([A-Z0-9]+)_([A-Z0-9]+?)(?:_([A-Z0-9]+))?-(\d+[a-zA-Z]+)(?:-([a-z_]+))?\.")
_BINANCE = re.compile(r"([A-Z0-9]{4,20})[-_](\d+[a-zA-Z]+)[-_.]")
_EXPECTED = "1-minute klines in feather, csv or a zip of csv"


@dataclass(frozen=True, slots=True)
class KlineTable:
    """The bars of one file, or of one member of a zip, in its order.

    bars: `open_ms`, then VALUES, null where the file has no such column. symbol, venue: as the name says, or None.
    """

    name: str
    symbol: str | None
    venue: str | None
    unit: str
    bars: pl.DataFrame


def read_klines(path: Path) -> Iterator[KlineTable]:
    """The tables of a file. Raises DataError for another format or interval, CorruptFileError for a damaged file."""
    data = path.read_bytes()
    if not data:
        raise DataError(f"{path}: expected {_EXPECTED}, found an empty file")
    try:
        if data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [name for name in archive.namelist() if name.lower().endswith(".csv")]
                if not members:
                    found = " ".join(", ".join(archive.namelist()[:3]).split())
                    raise DataError(f"{path}: expected a zip of csv files, found {found}")
                for member in members:
                    shown = f"{path}:{' '.join(member.split())}"
                    yield _table(shown, member, _csv(archive.read(member), shown))
        elif data.startswith((b"ARROW1", b"FEA1")):
            yield _table(str(path), path.name, pl.read_ipc(io.BytesIO(data)))
        elif data.startswith(b"\x1f\x8b"):
            yield _table(str(path), path.name, _csv(gzip.decompress(data), str(path)))
        elif b"\0" in data[:4096]:
            raise DataError(f"{path}: expected {_EXPECTED}, found other binary data; check FORMAT and the file")
        else:
            yield _table(str(path), path.name, _csv(data, str(path)))
    except (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, OSError, RuntimeError) as error:
        raise CorruptFileError(f"{path}: truncated or damaged ({error}); fetch the file again") from None
    except (pl.exceptions.PolarsError, pl.exceptions.ComputeError) as error:
        reason = str(error).splitlines()[0]
        raise CorruptFileError(
            f"{path}: expected {_EXPECTED}, found a file that is truncated or damaged ({reason})"
        ) from None


def _csv(data: bytes, name: str) -> pl.DataFrame:
    """Text columns of a csv; without a header, Binance's columns."""
    first = data.split(b"\n", 1)[0]
    header = not first[:1].isdigit()
    table = pl.read_csv(io.BytesIO(data), has_header=header, infer_schema=False)
    if not header:
        if table.width not in (len(_ARCHIVE_COLUMNS), len(_ARCHIVE_COLUMNS) + 1):
            raise DataError(
                f"{name}: expected {len(_ARCHIVE_COLUMNS)} or {len(_ARCHIVE_COLUMNS) + 1} kline columns, "
                f"found {table.width}; add a header or check the file"
            )
        table = table[:, : len(_ARCHIVE_COLUMNS)]
        table.columns = list(_ARCHIVE_COLUMNS)
    return table


def _table(path: str, name: str, table: pl.DataFrame) -> KlineTable:
    symbol, venue, interval = _said_by(name, path)
    if interval not in (None, "1m"):
        raise DataError(f"{path}: expected 1-minute bars, found {interval} by the file's name; use its 1m file")
    table = table.rename({column: _name(column) for column in table.columns}, strict=False)
    missing = [column for column in ("open_time", *NEEDED) if column not in table.columns]
    if missing:
        raise DataError(
            f"{path}: expected the columns date or open_time, {', '.join(NEEDED)}; {', '.join(missing)} not found "
            f"among {', '.join(' '.join(column.split())[:40] for column in table.columns[:12])}"
        )
    if not len(table):
        raise DataError(f"{path}: expected bars, found none; check the file")
    unit, open_ms = _times(table["open_time"], path)
    columns = [open_ms.alias("open_ms")]
    for column, dtype in VALUES.items():
        if column in table.columns:
            columns.append(_numbers(table[column], dtype, path))
        else:
            columns.append(pl.Series(column, [None] * len(table), dtype))
    bars = pl.DataFrame(columns)
    _check_interval(bars, path)
    _check_values(bars, path)
    return KlineTable(path, symbol, venue, unit, bars)


def _name(column: str) -> str:
    plain = column.strip().lower().replace(" ", "_")
    return _OTHER_NAMES.get(plain, plain)


def _said_by(name: str, path: str) -> tuple[str | None, str | None, str | None]:
    """(symbol, venue, interval) as a file's name tells them, each None where it does not."""
    found = _FREQTRADE.match(name)
    if found:
        base, quote, settled, interval, candles = found.groups()
        if candles not in (None, "futures", "spot"):
            raise DataError(f"{path}: expected klines of trades, found {candles} candles by the file's name")
        futures = candles == "futures" or settled is not None
        return (base + quote).lower(), "binance-futures" if futures else "binance-spot", interval
    found = _BINANCE.match(name)
    if found:
        return found[1].lower(), None, found[2]
    return None, None, None


def _times(column: pl.Series, path: str) -> tuple[str, pl.Series]:
    """(unit, open times in ms since 1970)."""
    if isinstance(column.dtype, pl.Datetime):
        return str(column.dtype.time_unit), column.dt.epoch("ms")
    text = column.cast(pl.String)
    unit = None if text[0] is None else unit_of(str(text[0]).encode())
    values = text.cast(pl.Int64, strict=False)
    if unit is None or values.null_count():
        shown: str | None = text[0] if unit is None else text.filter(values.is_null())[0]
        raise DataError(f"{path}: expected open times in s, ms, us or ns from 2009 to 2100, found {shown!r}")
    ends = values.sort().gather([0, -1]).to_list()
    if any(unit_of(str(value).encode()) != unit for value in ends):
        raise DataError(f"{path}: expected all open times in {unit.name} as the first, found {ends[0]} and {ends[1]}")
    return unit.name, (values // (10**6 // unit.ns) if unit.ns <= 10**6 else values * (unit.ns // 10**6))


def _numbers(column: pl.Series, dtype: pl.DataType, path: str) -> pl.Series:
    values = column.cast(dtype, strict=False)
    wrong = values.is_null() if column.name not in NEEDED else values.is_null() | ~values.is_finite()
    wrong = wrong & column.is_not_null() if column.name not in NEEDED else wrong
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise DataError(f"{path}: expected a number in {column.name}, found {column[row]!r} in bar {row + 1}")
    return values


def _check_interval(bars: pl.DataFrame, path: str) -> None:
    odd = bars.filter(pl.col("open_ms") % BAR_MS != 0)
    if len(odd):
        raise DataError(
            f"{path}: expected bars that open on the minute, found {odd['open_ms'][0]} ms; use 1-minute bars"
        )
    steps = bars["open_ms"].unique().sort().diff().drop_nulls()
    if len(steps) and steps.min() != BAR_MS:
        minutes = int(steps.min()) // BAR_MS  # type: ignore[arg-type]
        raise DataError(f"{path}: expected 1-minute bars, found bars {minutes} minutes apart; use the 1m file")


def _check_values(bars: pl.DataFrame, path: str) -> None:
    low, high = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")
    wrong = bars.filter((pl.col("low") > low) | (pl.col("high") < high) | (pl.col("low") <= 0) | (pl.col("volume") < 0))
    if len(wrong):
        row = wrong.row(0, named=True)
        raise DataError(
            f"{path}: expected 0 < low <= open, close <= high and volume >= 0, found open {row['open']}, "
            f"high {row['high']}, low {row['low']}, close {row['close']}, volume {row['volume']} in the bar at "
            f"{row['open_ms']} ms; check the columns' order"
        )
