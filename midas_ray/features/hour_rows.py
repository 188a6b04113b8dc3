"""The rows of one symbol-hour, as arrays: what the heavy pass reads. r grid rows, p prints."""

from dataclasses import dataclass

import numpy as np

from midas_ray.features.statistics import BoolArray, FloatArray, IntArray

HOUR_US = 3_600_000_000
SECOND_US = 1_000_000


@dataclass(frozen=True, slots=True)
class GridRows:
    """clean/book, ten levels; NaN where null."""

    ts_us: IntArray
    live: BoolArray
    px: tuple[FloatArray, FloatArray]
    """(bid, ask), each (r, 10), quote units."""
    sz: tuple[FloatArray, FloatArray]
    """(bid, ask), each (r, 10), base units."""
    ofi: FloatArray
    """(r, 10) base units."""
    px_scale: float
    sz_scale: float
    grid_us: int


@dataclass(frozen=True, slots=True)
class TopRow:
    """The grid row at the hour's start: the state at t - D of its first bucket."""

    live: bool
    bid: float
    ask: float
    px_scale: float


@dataclass(frozen=True, slots=True)
class Prints:
    """clean/trades, ordered by (ts, trade_id)."""

    ts_us: IntArray
    px: FloatArray
    qty: FloatArray
    buy: BoolArray
    count: IntArray
    px_scale: float
    sz_scale: float


@dataclass(frozen=True, slots=True)
class MarkRows:
    """clean/mark, from some seconds before the hour."""

    ts_us: IntArray
    mark_px: FloatArray
    index_px: FloatArray
    funding_rate: FloatArray


@dataclass(frozen=True, slots=True)
class ForcedOrders:
    """clean/liquidations."""

    ts_us: IntArray
    buy: BoolArray
    qty: FloatArray


@dataclass(frozen=True, slots=True)
class Hour:
    """All input of one symbol-hour; None where the stream was not collected in it."""

    start_us: int
    bucket_us: int
    book: GridRows | None
    before: TopRow | None
    prints: Prints | None
    marks: MarkRows | None
    forced: ForcedOrders | None
    uncovered: IntArray
    """(m, 2) merged times [start, end) of the hour without prints collected."""

    @property
    def n(self) -> int:
        return HOUR_US // self.bucket_us

    @property
    def ends_us(self) -> IntArray:
        return self.start_us + self.bucket_us * np.arange(1, self.n + 1, dtype=np.int64)


def to_ints(values: FloatArray, scale: float) -> IntArray:
    """The integers behind decimals: value = integer / scale, correctly rounded."""
    return np.rint(values * scale).astype(np.int64)


def row_buckets(hour: Hour, book: GridRows) -> IntArray:
    return (book.ts_us - hour.start_us - 1) // hour.bucket_us
