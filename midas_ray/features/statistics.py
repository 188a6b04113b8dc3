"""Sufficient statistics of a symbol's buckets: what the heavy pass yields and the light pass builds features from.

n buckets. Integers at the file's decimal scale (price x px_scale, size x sz_scale) stay integers, so that a sum has one
value however it is sharded. A bucket that no data reached has the values of `absent`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def _of(dtype: type, shape: tuple[int, ...] = (), absent: float = 0) -> dict[str, Any]:
    """Metadata of a field that holds one `dtype` value, or one block of `shape`, per bucket."""
    return {"dtype": dtype, "shape": shape, "absent": absent}


@dataclass(frozen=True, slots=True)
class PerBucket:
    """Arrays whose first axis is the bucket."""

    @classmethod
    def absent(cls, n: int) -> Self:
        """n buckets without any data."""
        return cls(
            **{
                f.name: np.full((n, *f.metadata["shape"]), f.metadata["absent"], dtype=f.metadata["dtype"])
                for f in fields(cls)
            }
        )

    def place(self, rows: IntArray, n: int) -> Self:
        """These buckets at the positions `rows` of n, absent ones elsewhere."""
        placed = type(self).absent(n)
        for f in fields(self):
            getattr(placed, f.name)[rows] = getattr(self, f.name)
        return placed

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        return cls(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)})

    def columns(self, prefix: str) -> dict[str, pa.Array]:
        """Arrow columns `prefix.field`; blocks as fixed-size lists."""
        result: dict[str, pa.Array] = {}
        for f in fields(self):
            values: npt.NDArray[Any] = getattr(self, f.name)
            flat = pa.array(values.reshape(-1))
            size = int(np.prod(f.metadata["shape"]))
            result[f"{prefix}.{f.name}"] = (
                pa.FixedSizeListArray.from_arrays(flat, size) if f.metadata["shape"] else flat
            )
        return result

    @classmethod
    def from_table(cls, table: pa.Table, prefix: str) -> Self:
        """What `columns` wrote."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        for f in fields(cls):
            column = table.column(f"{prefix}.{f.name}").combine_chunks()
            flat = column.flatten() if f.metadata["shape"] else column
            values = flat.to_numpy(zero_copy_only=False).astype(f.metadata["dtype"])
            arrays[f.name] = values.reshape(len(table), *f.metadata["shape"])
        return cls(**arrays)


AnyPerBucket = TypeVar("AnyPerBucket", bound=PerBucket)


@dataclass(frozen=True, slots=True)
class BookStatistics(PerBucket):
    """Of the grid rows with ts in (t - D, t]. Sides: 0 bid, 1 ask; depths: 1, 5, 10 levels."""

    expected: IntArray = field(metadata=_of(np.int64))
    """Grid rows the bucket should have; 0 where the grid is not known."""
    rows: IntArray = field(metadata=_of(np.int64))
    live: IntArray = field(metadata=_of(np.int64))
    spread_rows: IntArray = field(metadata=_of(np.int64))
    """Live rows with a bid and an ask."""
    spread_bps_sum: FloatArray = field(metadata=_of(np.float64))
    side_rows: IntArray = field(metadata=_of(np.int64, (2, 3)))
    """Live rows with at least so many levels."""
    side_lots: IntArray = field(metadata=_of(np.int64, (2, 3)))
    """Sum of the size down to the depth, over those rows."""
    imbalance_rows: IntArray = field(metadata=_of(np.int64, (3,)))
    imbalance_sum: FloatArray = field(metadata=_of(np.float64, (3,)))
    ofi_rows: IntArray = field(metadata=_of(np.int64, (10,)))
    """Live rows whose order flow imbalance at that level is known."""
    ofi_empty_rows: IntArray = field(metadata=_of(np.int64))
    """Live rows whose flow is not known at any level, since a side of the book was empty."""
    ofi_lots: IntArray = field(metadata=_of(np.int64, (10,)))
    notional: IntArray = field(metadata=_of(np.int64, (3,)))
    """Sum over live rows of px x lots of both sides' ten levels, as three limbs of 27 bits: see `limbs_to_ints`."""
    px_scale: FloatArray = field(metadata=_of(np.float64, absent=1))
    sz_scale: FloatArray = field(metadata=_of(np.float64, absent=1))
    end_live: BoolArray = field(metadata=_of(np.bool_))
    """The row at t is there and live."""
    end_levels: IntArray = field(metadata=_of(np.int64, (2,)))
    end_px: IntArray = field(metadata=_of(np.int64, (2, 10)))
    end_lots: IntArray = field(metadata=_of(np.int64, (2, 10)))
    second_status: IntArray = field(metadata=_of(np.int64, absent=1))
    """Bits SECOND_* of the kernels: which mids at whole seconds are missing."""
    second_variance: FloatArray = field(metadata=_of(np.float64))
    second_bipower: FloatArray = field(metadata=_of(np.float64))


@dataclass(frozen=True, slots=True)
class TradeStatistics(PerBucket):
    """Of the prints with time in [t - D, t)."""

    lost_us: IntArray = field(metadata=_of(np.int64, absent=np.iinfo(np.int64).max))
    """Microseconds of the bucket in which prints were not collected or lost."""
    settled_us: IntArray = field(metadata=_of(np.int64))
    """End of the last of them; 0 where there are none. A price after it is the last one for certain."""
    px_scale: FloatArray = field(metadata=_of(np.float64, absent=1))
    sz_scale: FloatArray = field(metadata=_of(np.float64, absent=1))
    rows: IntArray = field(metadata=_of(np.int64))
    count: IntArray = field(metadata=_of(np.int64))
    """Prints; more than `rows` where only aggTrade was collected."""
    prices: IntArray = field(metadata=_of(np.int64, (4,)))
    """Open, high, low, close."""
    last_us: IntArray = field(metadata=_of(np.int64))
    lots: IntArray = field(metadata=_of(np.int64))
    buy_lots: IntArray = field(metadata=_of(np.int64))
    notional: IntArray = field(metadata=_of(np.int64, (3,)))
    """Sum of px x lots, as limbs."""
    sign_sums: IntArray = field(metadata=_of(np.int64, (3,)))
    """Over neighbouring prints: sum of d_(i-1), of d_i, of their product."""
    change_sums: IntArray = field(metadata=_of(np.int64, (2,)))
    """Over neighbouring price changes: sum of dp_(i-1), of dp_i."""
    change_products: IntArray = field(metadata=_of(np.int64, (3,)))
    """Sum of dp_(i-1) x dp_i, as limbs."""
    effective_sum: FloatArray = field(metadata=_of(np.float64))
    effective_weight: FloatArray = field(metadata=_of(np.float64))
    effective_unknown: IntArray = field(metadata=_of(np.int64))
    """Prints before which the book was not live."""
    effective_undefined: IntArray = field(metadata=_of(np.int64))
    """Prints before which the live book had an empty side."""


@dataclass(frozen=True, slots=True)
class DerivativeStatistics(PerBucket):
    """Of mark price rows before t and of forced orders with time in [t - D, t)."""

    mark_age_us: IntArray = field(metadata=_of(np.int64, absent=np.iinfo(np.int64).max))
    """t minus the time of the last mark row before t."""
    mark_px: FloatArray = field(metadata=_of(np.float64, absent=np.nan))
    index_px: FloatArray = field(metadata=_of(np.float64, absent=np.nan))
    funding_rate: FloatArray = field(metadata=_of(np.float64, absent=np.nan))
    mark_hole_us: IntArray = field(metadata=_of(np.int64, absent=np.iinfo(np.int64).max))
    """Longest time without a mark row that reaches into the bucket."""
    liquidations_on: BoolArray = field(metadata=_of(np.bool_))
    liquidation_buy: FloatArray = field(metadata=_of(np.float64))
    liquidation_sell: FloatArray = field(metadata=_of(np.float64))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Sparse histograms of print notionals; the entries of bucket b are ends[b - 1] ... ends[b] - 1."""

    ends: IntArray
    bins: IntArray
    prints: IntArray
    lots: IntArray
    signed_lots: IntArray

    @classmethod
    def empty(cls, n: int) -> Self:
        none = np.zeros(0, dtype=np.int64)
        return cls(np.zeros(n, dtype=np.int64), none, none, none, none)

    def sizes(self) -> IntArray:
        return np.diff(self.ends, prepend=0)

    def place(self, rows: IntArray, n: int) -> Self:
        """These buckets at the rising positions `rows` of n."""
        sizes = np.zeros(n, dtype=np.int64)
        sizes[rows] = self.sizes()
        return type(self)(np.cumsum(sizes), self.bins, self.prints, self.lots, self.signed_lots)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        names = ("bins", "prints", "lots", "signed_lots")
        sizes = np.concatenate([part.sizes() for part in parts])
        return cls(np.cumsum(sizes), *(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def columns(self) -> dict[str, pa.Array]:
        offsets = np.concatenate([[0], self.ends]).astype(np.int32)
        return {
            f"histogram.{name}": pa.ListArray.from_arrays(pa.array(offsets), pa.array(getattr(self, name)))
            for name in ("bins", "prints", "lots", "signed_lots")
        }

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        lists = {
            name: table.column(f"histogram.{name}").combine_chunks()
            for name in ("bins", "prints", "lots", "signed_lots")
        }
        ends = lists["bins"].offsets.to_numpy()[1:].astype(np.int64)
        return cls(ends, *(each.flatten().to_numpy(zero_copy_only=False).astype(np.int64) for each in lists.values()))


@dataclass(frozen=True, slots=True)
class Statistics:
    """Buckets of one symbol, rising in `ts_us` (their ends)."""

    ts_us: IntArray
    book: BookStatistics
    trades: TradeStatistics
    derivatives: DerivativeStatistics
    histogram: Histogram
    uncovered: IntArray
    """(m, 2) times [start, end) without prints collected, rising: where the volume clock restarts."""

    @classmethod
    def absent(cls, ts_us: IntArray) -> Self:
        """Buckets that no data reached."""
        n = len(ts_us)
        parts = (BookStatistics.absent(n), TradeStatistics.absent(n), DerivativeStatistics.absent(n))
        return cls(ts_us, *parts, Histogram.empty(n), np.zeros((0, 2), dtype=np.int64))

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Parts in order of time, such as the hours of a day."""
        return cls(
            np.concatenate([part.ts_us for part in parts]),
            BookStatistics.joined([part.book for part in parts]),
            TradeStatistics.joined([part.trades for part in parts]),
            DerivativeStatistics.joined([part.derivatives for part in parts]),
            Histogram.joined([part.histogram for part in parts]),
            np.concatenate([part.uncovered for part in parts]),
        )

    def dense(self, ts_us: IntArray) -> "Statistics":
        """The same on consecutive buckets that end at `ts_us`, absent ones where there is no data."""
        rows = np.searchsorted(ts_us, self.ts_us)
        n = len(ts_us)
        return Statistics(
            ts_us,
            self.book.place(rows, n),
            self.trades.place(rows, n),
            self.derivatives.place(rows, n),
            self.histogram.place(rows, n),
            self.uncovered,
        )

    def to_table(self) -> pa.Table:
        columns = {"ts_us": pa.array(self.ts_us)}
        columns |= self.book.columns("book") | self.trades.columns("trades")
        columns |= self.derivatives.columns("derivatives") | self.histogram.columns()
        return pa.table(columns).replace_schema_metadata({"uncovered": json.dumps(self.uncovered.tolist())})

    @classmethod
    def from_table(cls, table: pa.Table) -> Self:
        uncovered = np.array(json.loads(table.schema.metadata[b"uncovered"]), dtype=np.int64).reshape(-1, 2)
        return cls(
            table.column("ts_us").to_numpy(),
            BookStatistics.from_table(table, "book"),
            TradeStatistics.from_table(table, "trades"),
            DerivativeStatistics.from_table(table, "derivatives"),
            Histogram.from_table(table),
            uncovered,
        )


def limbs_to_ints(limbs: IntArray) -> list[int]:
    """Exact integers from (n, 3) limbs of 27 bits, the last of any size."""
    return [(high << 54) + (middle << 27) + low for low, middle, high in limbs.tolist()]
