"""A second, slow implementation of the 72 features, written from the specification alone: what the product must equal.

It reads the clean tables and shares no code with midas_ray/features: textbook formulas, exact sums (`Fraction`,
`math.fsum`), a fresh look at the rows of each window. A cell is a float, or the `Null` that says why there is none.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

DAY_US, HOUR_US, MINUTE_US, SECOND_US = 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000
Floats = npt.NDArray[np.float64]


class Null(Enum):
    """Why a cell is no number; the values are those of `null_kinds`."""

    GAP = 1
    WARM_UP = 2
    UNDEFINED = 3


Cell = float | Null
Column = dict[int, Cell]
"""By ts (us)."""


@dataclass(frozen=True)
class Print:
    us: int
    px: Fraction
    qty: Fraction
    sign: int
    count: int

    @property
    def notional(self) -> Fraction:
        return self.px * self.qty


@dataclass
class Clean:
    """The clean tables of a symbol. us: (r,) of grid rows; bid_px, ...: (r, 10), NaN where null; prints in order."""

    grid_us: int
    us: npt.NDArray[np.int64]
    live: npt.NDArray[np.bool_]
    bid_px: Floats
    bid_sz: Floats
    ask_px: Floats
    ask_sz: Floats
    ofi: Floats
    px_decimals: int
    sz_decimals: int
    prints: list[Print]
    trade_gaps: list[tuple[int, int]]
    mark: pl.DataFrame
    liquidations: pl.DataFrame
    streams: dict[int, set[str]] = field(default_factory=dict)
    """Streams collected, by UTC hour."""


def exact(value: float, decimals: int) -> Fraction:
    """The decimal number that a float of the clean tables stands for."""
    return Fraction(round(value * 10**decimals), 10**decimals)


def read_clean(data_dir: Path, venue: str, symbol: str) -> Clean:
    def files(table: str) -> list[Path]:
        return sorted((data_dir / "clean" / table / f"venue={venue}" / f"symbol={symbol}").rglob("*.parquet"))

    def table(name: str) -> pl.DataFrame:
        frames = [pl.read_parquet(path, hive_partitioning=False) for path in files(name)]
        return pl.concat(frames) if frames else pl.DataFrame()

    book, trades, gaps = table("book").sort("ts"), table("trades"), table("gaps")
    metadata = [{k.decode(): v.decode() for k, v in pq.read_schema(path).metadata.items()} for path in files("book")]
    streams = {}
    for path, each in zip(files("book"), metadata, strict=True):
        day = pl.Series([path.parent.name.removeprefix("date=")]).str.to_datetime(time_unit="us").cast(pl.Int64)[0]
        streams[int(day) // HOUR_US + int(path.stem)] = set(each["streams"].split(","))
    px_decimals, sz_decimals = (max(int(each[key]) for each in metadata) for key in ("px_decimals", "sz_decimals"))

    def ladder(kind: str) -> Floats:
        return np.column_stack([book[f"{kind}_{m:02d}"].fill_null(np.nan).to_numpy() for m in range(1, 11)])

    prints = []
    if len(trades):
        ordered = trades.sort("ts", "trade_id").with_columns(pl.col("ts").cast(pl.Int64))
        for us, px, qty, side, count in ordered.select("ts", "px", "qty", "side", "count").iter_rows():
            sign = 1 if side == "buy" else -1
            prints.append(Print(us, exact(px, px_decimals), exact(qty, sz_decimals), sign, count))
    lost = gaps.filter(pl.col("stream") == "trade") if len(gaps) else pl.DataFrame()
    spans = lost.select(pl.col("start", "end").cast(pl.Int64)).rows() if len(lost) else []
    return Clean(
        int(metadata[0]["snapshot_interval_ms"]) * 1000,
        book["ts"].cast(pl.Int64).to_numpy(),
        (book["state"].cast(pl.String) == "live").to_numpy(),
        *(ladder(kind) for kind in ("bid_px", "bid_sz", "ask_px", "ask_sz", "ofi")),
        px_decimals,
        sz_decimals,
        prints,
        spans,
        table("mark"),
        table("liquidations"),
        streams,
    )


def divided(above: float | Fraction, below: float | Fraction) -> Cell:
    return float(above / below) if below else Null.UNDEFINED


def sample_sd(values: Sequence[float]) -> float:
    mean = fmean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
