"""Files of Tardis.dev as checked tables, a block of lines at a time (docs.tardis.dev, downloadable CSV files)."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

import polars as pl

from midas_ray.errors import CorruptFileError, DataError
from midas_ray.importers.level_text import is_positive, plain_text
from midas_ray.importers.units import EARLIEST_NS, LATEST_NS

EXPECTED = "Tardis.dev CSV (incremental_book_L2, trades, derivative_ticker or liquidations)"
BLOCK_BYTES = 16 * 2**20
VENUE_OF = {"binance-futures": "binance-futures", "binance": "binance-spot"}
"""Our venue of Tardis' names of exchanges."""

TardisKind = Literal["incremental_book_L2", "trades", "derivative_ticker", "liquidations"]

_COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
_COLUMNS: dict[TardisKind, tuple[str, ...]] = {
    "incremental_book_L2": (*_COMMON, "is_snapshot", "side", "price", "amount"),
    "derivative_ticker": (*_COMMON, "funding_timestamp", "funding_rate", "index_price", "mark_price"),
    "trades": (*_COMMON, "id", "side", "price", "amount"),
    "liquidations": (*_COMMON, "id", "side", "price", "amount"),
}
"""What is read of each kind. Trades and liquidations have the same columns."""

_SIGNED = r"^-?\d{1,18}(?:\.\d+)?(?:[eE][+-]?\d{1,2})?$"


@dataclass(frozen=True, slots=True)
class Header:
    """A file's first line. kind: of its rows. columns: all of them in order."""

    kind: TardisKind
    columns: tuple[str, ...]
    has_cr: bool


def read_header(path: Path) -> Header:
    """The header of a file, with the kind it and the file's name or first row tell. Raises DataError for another."""
    lines = _first_lines(path)
    columns = tuple(lines[0].decode("utf-8", "replace").strip().split(","))
    fits = [kind for kind, needed in _COLUMNS.items() if set(needed) <= set(columns)]
    if not fits:
        nearest = max(_COLUMNS.items(), key=lambda item: len(set(item[1]) & set(columns)))
        missing = [name for name in nearest[1] if name not in columns]
        found = ",".join(columns)
        raise DataError(
            f"{path}: expected {EXPECTED}, found the columns {found[:80]!r}"
            + (f", without {', '.join(missing)} of {nearest[0]}" if len(missing) < 4 else "")
            + "; check FORMAT and the file"
        )
    kind = fits[0]
    if len(fits) > 1:
        first = dict(zip(columns, lines[1].decode("utf-8", "replace").strip().split(","), strict=False))
        named = [each for each in fits if each in path.name.lower()]
        # The exchange gives its forced orders no id, and every trade one.
        kind = named[0] if len(named) == 1 else "trades" if first.get("id") else "liquidations"
    return Header(kind, columns, lines[0].endswith(b"\r\n"))


def _first_lines(path: Path) -> tuple[bytes, bytes]:
    with _opened(path) as stream:
        try:
            return stream.readline(4096), stream.readline(4096)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _damaged(path, error) from None


def _opened(path: Path) -> BinaryIO:
    with path.open("rb") as plain:
        head = plain.read(2)
    if not head:
        raise DataError(f"{path}: expected {EXPECTED}, found an empty file")
    return cast(BinaryIO, gzip.open(path, "rb")) if head == b"\x1f\x8b" else path.open("rb")


def _damaged(path: Path, error: Exception) -> CorruptFileError:
    if isinstance(error, EOFError):
        return CorruptFileError(
            f"{path}: truncated: its gzip data end before their end mark; fetch the file again, "
            "or keep what is readable: zcat FILE > PLAIN, and import its whole lines"
        )
    return CorruptFileError(f"{path}: damaged gzip data ({error}); fetch the file again")


def _blocks(path: Path, block_bytes: int) -> Iterator[bytes]:
    """Whole lines, about `block_bytes` of them at a time, with the header."""
    rest = b""
    with _opened(path) as stream:
        while True:
            try:
                piece = stream.read(block_bytes)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                raise _damaged(path, error) from None
            if not piece:
                break
            cut = piece.rfind(b"\n") + 1
            if cut:
                yield rest + piece[:cut]
                rest = piece[cut:]
            else:
                rest += piece
                if len(rest) > 4 * block_bytes:
                    raise DataError(f"{path}: expected {EXPECTED}, found a line of over {len(rest):,} bytes")
    if rest:
        raise CorruptFileError(
            f"{path}: truncated in the middle of its last line; fetch the file again, or remove that line"
        )


def read_tables(path: Path, header: Header, block_bytes: int = BLOCK_BYTES) -> Iterator[pl.DataFrame]:
    """Tables of the file's rows in its order: the columns of its kind, and `line`, the number of its line in the file.

    Text as in the file; symbols in lower case, times as Int64 (us), prices and amounts as plain decimal text.
    Raises DataError for a row that is none of the kind's, CorruptFileError.
    """
    line = 1
    for block in _blocks(path, block_bytes):
        text = block.replace(b"\r\n", b"\n") if header.has_cr else block
        if line == 1:
            text = text[text.index(b"\n") + 1 :]
            line = 2
        if not text:
            continue
        table = _parsed(path, header, text, line)
        yield table
        line += len(table)


def _parsed(path: Path, header: Header, text: bytes, line: int) -> pl.DataFrame:
    schema = dict.fromkeys(header.columns, pl.String())
    try:
        raw = pl.read_csv(text, has_header=False, schema=schema, quote_char=None)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(
            f"{path}: expected lines of {len(header.columns)} columns from line {line:,} on ({reason}); check the file"
        ) from None
    if len(raw) != text.count(b"\n"):
        raise DataError(f"{path}: expected a row in each line from line {line:,} on, found blank ones; check the file")
    table = raw.select(_COLUMNS[header.kind]).with_row_index("line", line)
    checked = table.with_columns(
        pl.col("symbol").str.to_lowercase(),
        pl.col("timestamp", "local_timestamp").cast(pl.Int64, strict=False),
        *(plain_text(table[name]).alias(name) for name in ("price", "amount") if name in table.columns),
    )
    if header.kind == "derivative_ticker":
        checked = checked.with_columns(pl.col("funding_timestamp").cast(pl.Int64, strict=False))
    wrong = checked.select(pl.arg_where(~pl.all_horizontal(_rules(header.kind)).fill_null(value=False))).to_series()
    if len(wrong):
        at = int(wrong[0])
        _refuse(path, header.kind, table.row(at, named=True), checked.slice(at, 1))
    return checked


def _rules(kind: TardisKind) -> list[pl.Expr]:
    """What is true of each row of a kind."""
    earliest, latest = EARLIEST_NS // 1000, LATEST_NS // 1000
    rules = [pl.col(name).is_between(earliest, latest) for name in ("timestamp", "local_timestamp")]
    rules += [pl.col("exchange").is_in(list(VENUE_OF)), pl.col("symbol").str.len_bytes() > 0]
    if kind == "derivative_ticker":
        optional = ("funding_rate", "index_price", "mark_price")
        return [*rules, *(pl.col(name).is_null() | pl.col(name).str.contains(_SIGNED) for name in optional)]
    rules += [pl.col("amount").is_not_null()]
    if kind == "incremental_book_L2":
        sides, kinds = ["bid", "ask"], ["true", "false"]
        return [*rules, is_positive("price"), pl.col("side").is_in(sides), pl.col("is_snapshot").is_in(kinds)]
    rules += [pl.col("side").is_in(["buy", "sell"])]
    if kind == "liquidations":
        return [*rules, is_positive("price"), is_positive("amount")]
    # The exchange sends trades without a price or an amount that are no prints: their ids count.
    return [*rules, is_positive("price") | ~is_positive("amount"), pl.col("id").str.contains(r"^\d{1,18}$")]


def _refuse(path: Path, kind: TardisKind, row: dict[str, object], checked: pl.DataFrame) -> None:
    """Raise the DataError of the first row that breaks a rule, naming the column where one alone does."""
    if row["exchange"] not in VENUE_OF and row["exchange"]:
        raise DataError(
            f"{path}, line {row['line']:,}: expected data of {' or '.join(VENUE_OF)}, found {row['exchange']!r}; "
            "MIDAS knows no other exchange's protocol"
        )
    names = [name for name in row if name != "line"]
    wrong = next(
        (
            name
            for rule in _rules(kind)
            if not checked.select(rule.fill_null(value=False)).item()
            for name in rule.meta.root_names()
        ),
        names[-1],
    )
    raise DataError(
        f"{path}, line {row['line']:,}: expected a row of {kind}, found {wrong} {row[wrong]!r} in "
        f"{','.join(str(row[name]) for name in names)[:120]!r}; correct the file, or fetch it again"
    )
