"""From the clean tables of one symbol-hour to the rows of the heavy pass: tables made in memory or read from files.

When was a stream collected? The collector writes a grid row for every step it runs, whatever the state of its book, and
the metadata of clean/book names the streams it had subscribed to (an hour without a print has no file). Where a symbol
has no book at all, or its trades come from an archive, its hours with a file were collected, but for what lies before
the first print of a run of such hours and after the last one of it.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from midas_ray.errors import DataError, SchemaError
from midas_ray.features.coverage import NOTHING, clipped, gap_intervals, merged, runs_without
from midas_ray.features.hour_rows import HOUR_US, ForcedOrders, GridRows, Hour, MarkRows, Prints, TopRow
from midas_ray.features.statistics import BoolArray, FloatArray, IntArray
from midas_ray.storage import Storage, metadata_of
from midas_ray.tables import MIN_LEVELS, ORIGIN, SCHEMA_VERSION, level_columns

_PX_SZ = tuple(
    (level_columns(f"{side}_px", MIN_LEVELS), level_columns(f"{side}_sz", MIN_LEVELS)) for side in ("bid", "ask")
)
_OFI = level_columns("ofi", MIN_LEVELS)
_LADDER = [name for px, sz in _PX_SZ for name in (*px, *sz)]
_TRADE_STREAMS = {"trade", "aggTrade"}
_LIQUIDATION_STREAM = "forceOrder"


@dataclass(frozen=True, slots=True)
class HourInput:
    """What the heavy pass of one symbol-hour reads: paths in the data folder, None where there is no such file."""

    venue: str
    symbol: str
    start_us: int
    bucket_us: int
    key: str
    """Hash of all of this, of the files' sizes and times, and of the code: names what the pass yields."""
    book: str | None
    book_before: str | None
    """The hour before: its last row is the state at this hour's start."""
    trades: str | None
    mark: str | None
    mark_before: str | None
    liquidations: str | None
    trade_gaps: list[tuple[int, int]]
    """Gaps (start, end] of the ledger's stream `trade` that reach into the hour, microseconds."""
    has_book: bool
    """The symbol has a book in some hour: its grid rows say when the collector ran."""
    opens: bool
    """The hour before has no trades file."""
    closes: bool
    """The hour after has no trades file."""


def read_clean(storage: Storage, path: str, columns: list[str]) -> pa.Table:
    """Columns of a clean file. Raises SchemaError for another schema version or a missing column, CorruptFileError."""
    table = storage.read_parquet(path, columns)
    version = metadata_of(table).get("schema_version", "none")
    if version == "none":
        raise SchemaError(f"{path}: expected a file of midas reconstruct, found another's; move it away")
    if version != str(SCHEMA_VERSION):
        raise SchemaError(
            f"{path}: expected clean schema version {SCHEMA_VERSION}, found {version}; rerun midas reconstruct"
        )
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise SchemaError(f"{path}: expected the column {missing[0]}, found none; rerun midas reconstruct")
    return table


def _scales(table: pa.Table, path: str) -> tuple[float, float]:
    """(px_scale, sz_scale) of a file."""
    metadata = metadata_of(table)
    try:
        return 10.0 ** int(metadata["px_decimals"]), 10.0 ** int(metadata["sz_decimals"])
    except (KeyError, ValueError):
        raise SchemaError(
            f"{path}: expected px_decimals and sz_decimals in the Parquet metadata, found none; rerun midas reconstruct"
        ) from None


def ints_of(table: pa.Table, name: str) -> IntArray:
    """A timestamp (microseconds) or integer column."""
    values: IntArray = table.column(name).cast(pa.int64()).to_numpy()
    return values


def floats_of(table: pa.Table, name: str) -> FloatArray:
    """A float column, NaN where null."""
    values: FloatArray = table.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def texts_equal(table: pa.Table, name: str, text: str) -> BoolArray:
    """Where a categorical column equals `text`."""
    series = pl.Series(table.column(name))
    return (series.cast(pl.String) == text).to_numpy()


def _block(table: pa.Table, names: list[str]) -> FloatArray:
    """(rows, columns), one column after the other in memory."""
    block = np.empty((len(names), len(table)))
    for position, name in enumerate(names):
        block[position] = floats_of(table, name)
    return block.T


def _check_rows(name: str, ts_us: IntArray, start_us: int, grid_us: int) -> None:
    inside = (ts_us > start_us) & (ts_us <= start_us + HOUR_US) & ((ts_us - start_us) % grid_us == 0)
    if not inside.all() or (np.diff(ts_us) <= 0).any():
        raise DataError(
            f"{name}: expected rising ts on the {grid_us // 1000} ms grid of its hour; rerun midas reconstruct"
        )


def read_grid_rows(storage: Storage, path: str, start_us: int, bucket_us: int, flow: bool = True) -> GridRows:
    """clean/book of an hour, ten levels; without order flow where `flow` is false. Raises DataError."""
    table = read_clean(storage, path, ["ts", "state", *_LADDER, *(_OFI if flow else [])])
    return grid_rows(table, path, start_us, bucket_us, flow)


def grid_rows(table: pa.Table, name: str, start_us: int, bucket_us: int, flow: bool = True) -> GridRows:
    """Rows of clean/book as arrays; `name` says in errors what the table is. Raises DataError."""
    px_scale, sz_scale = _scales(table, name)
    grid_us = 1000 * int(metadata_of(table)["snapshot_interval_ms"])
    if bucket_us % grid_us:
        raise DataError(
            f"{name}: expected a grid that divides the bucket of {bucket_us // 1000} ms, found {grid_us // 1000} ms; "
            "set --time-bucket-ms to a multiple"
        )
    ts_us = ints_of(table, "ts")
    _check_rows(name, ts_us, start_us, grid_us)
    (bid_px, bid_sz), (ask_px, ask_sz) = ((_block(table, px), _block(table, sz)) for px, sz in _PX_SZ)
    return GridRows(
        ts_us=ts_us,
        live=texts_equal(table, "state", "live"),
        px=(bid_px, ask_px),
        sz=(bid_sz, ask_sz),
        ofi=_block(table, _OFI) if flow else np.empty((len(ts_us), 0)),
        px_scale=px_scale,
        sz_scale=sz_scale,
        grid_us=grid_us,
    )


def read_top_row(storage: Storage, path: str, at_us: int) -> TopRow | None:
    """The row at `at_us`, which closes its file; None where it is missing."""
    table = read_clean(storage, path, ["ts", "state", "bid_px_01", "ask_px_01"])
    if not len(table) or ints_of(table, "ts")[-1] != at_us:
        return None
    last = table.slice(len(table) - 1)
    bid, ask = float(floats_of(last, "bid_px_01")[0]), float(floats_of(last, "ask_px_01")[0])
    return TopRow(bool(texts_equal(last, "state", "live")[0]), bid, ask, _scales(table, path)[0])


def read_prints(storage: Storage, path: str, start_us: int) -> Prints:
    """clean/trades of an hour. Raises DataError where a print is outside of it or out of order."""
    return prints_of(read_clean(storage, path, ["ts", "px", "qty", "side", "count"]), path, start_us)


def prints_of(table: pa.Table, name: str, start_us: int) -> Prints:
    """Rows of clean/trades as arrays. Raises as `read_prints`."""
    ts_us = ints_of(table, "ts")
    if len(ts_us) and (ts_us[0] < start_us or ts_us[-1] >= start_us + HOUR_US or (np.diff(ts_us) < 0).any()):
        raise DataError(f"{name}: expected prints of its hour in order of ts; rerun midas reconstruct")
    return Prints(
        ts_us, floats_of(table, "px"), floats_of(table, "qty"), texts_equal(table, "side", "buy"),
        ints_of(table, "count"), *_scales(table, name),
    )  # fmt: skip


def _no_prints(px_scale: float, sz_scale: float) -> Prints:
    ints, floats = np.zeros(0, dtype=np.int64), np.zeros(0)
    return Prints(ints, floats, floats, np.zeros(0, dtype=np.bool_), ints, px_scale, sz_scale)


_MARKS = ("mark_px", "index_px", "funding_rate")


def mark_rows(tables: list[pa.Table]) -> MarkRows | None:
    """Rows of clean/mark of neighbouring hours as arrays; None where there is no table."""
    if not tables:
        return None
    floats = [np.concatenate([floats_of(table, name) for table in tables]) for name in _MARKS]
    return MarkRows(np.concatenate([ints_of(table, "ts") for table in tables]), *floats)


def read_marks(storage: Storage, path: str) -> pa.Table:
    """What `mark_rows` takes, of one file."""
    return read_clean(storage, path, ["ts", *_MARKS])


def forced_orders(table: pa.Table) -> ForcedOrders:
    """Rows of clean/liquidations as arrays."""
    return ForcedOrders(ints_of(table, "ts"), texts_equal(table, "side", "buy"), floats_of(table, "qty"))


def _read_forced(storage: Storage, path: str) -> ForcedOrders:
    return forced_orders(read_clean(storage, path, ["ts", "side", "qty"]))


def _no_forced() -> ForcedOrders:
    return ForcedOrders(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_), np.zeros(0))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What lies around an hour and decides when its prints were collected: see `HourInput`."""

    trade_gaps: list[tuple[int, int]]
    has_book: bool
    opens: bool
    closes: bool
    by_themselves: bool = False
    """The prints come from an archive: whatever the book's rows say, they were collected as without a book."""


def _uncovered(start_us: int, around: Surroundings, book: GridRows | None, prints: Prints | None) -> IntArray:
    """Times [start, end) of the hour in which prints were not collected or were lost."""
    end_us = start_us + HOUR_US
    lost = [clipped(gap_intervals(around.trade_gaps), start_us, end_us)]
    by_grid = around.has_book and not around.by_themselves
    if prints is None or (by_grid and book is None):
        return np.array([[start_us, end_us]], dtype=np.int64)
    if book is not None and by_grid:
        present = np.zeros(HOUR_US // book.grid_us, dtype=np.bool_)
        present[(book.ts_us - start_us) // book.grid_us - 1] = True
        lost.append(runs_without(present, start_us, book.grid_us))
    else:
        first, last = (prints.ts_us[0], prints.ts_us[-1] + 1) if len(prints.ts_us) else (end_us, end_us)
        lost.append(np.array([[start_us, first]], dtype=np.int64) if around.opens else NOTHING)
        lost.append(np.array([[last, end_us]], dtype=np.int64) if around.closes else NOTHING)
    return merged(np.concatenate(lost))


def make_hour(
    start_us: int,
    bucket_us: int,
    around: Surroundings,
    *,
    declared: set[str],
    book: GridRows | None,
    before: TopRow | None,
    prints: Prints | None,
    marks: MarkRows | None,
    forced: ForcedOrders | None,
) -> Hour:
    """All input of an hour from the rows there are; None where there is no table. declared: the streams that were
    collected: nothing printed or forced then is known, not a gap."""
    if prints is None and book is not None and declared & _TRADE_STREAMS:
        prints = _no_prints(book.px_scale, book.sz_scale)
    if forced is None and _LIQUIDATION_STREAM in declared:
        forced = _no_forced()
    return Hour(
        start_us=start_us,
        bucket_us=bucket_us,
        book=book,
        before=before,
        prints=prints,
        marks=marks,
        forced=forced,
        uncovered=_uncovered(start_us, around, book, prints),
    )


def _is_archived(storage: Storage, path: str | None) -> bool:
    return path is not None and ORIGIN in storage.read_parquet_metadata(path)


def read_hour(storage: Storage, task: HourInput) -> Hour:
    """All input of the hour. Raises DataError, SchemaError, CorruptFileError with one line."""
    declared = set(storage.read_parquet_metadata(task.book).get("streams", "").split(",")) if task.book else set()
    return make_hour(
        task.start_us,
        task.bucket_us,
        Surroundings(task.trade_gaps, task.has_book, task.opens, task.closes, _is_archived(storage, task.trades)),
        declared=declared,
        book=read_grid_rows(storage, task.book, task.start_us, task.bucket_us) if task.book else None,
        before=read_top_row(storage, task.book_before, task.start_us) if task.book_before else None,
        prints=read_prints(storage, task.trades, task.start_us) if task.trades else None,
        marks=mark_rows([read_marks(storage, path) for path in (task.mark_before, task.mark) if path]),
        forced=_read_forced(storage, task.liquidations) if task.liquidations else None,
    )
