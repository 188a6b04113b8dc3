"""The clean tables of one symbol as the reference reads them: prices and sizes as exact decimals."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

DAY_US, HOUR_US, MINUTE_US, SECOND_US = 86_400_000_000, 3_600_000_000, 60_000_000, 1_000_000
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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
    """+1 where the taker bought, -1 where it sold."""
    count: int

    @property
    def notional(self) -> Fraction:
        return self.px * self.qty


@dataclass
class Clean:
    """us: (r,) ends of the grid rows. Ladders: (r, 10) whole ticks and lots as floats, NaN where null."""

    grid_us: int
    us: Ints
    live: npt.NDArray[np.bool_]
    bid_px: Floats
    bid_sz: Floats
    ask_px: Floats
    ask_sz: Floats
    ofi: Floats
    tick: int
    """Prices are ticks / tick, quote units."""
    lot: int
    """Sizes are lots / lot, base units."""
    prints: list[Print]
    trade_gaps: list[tuple[int, int]]
    mark: pl.DataFrame
    liquidations: pl.DataFrame
    streams: dict[int, set[str]]
    """Streams collected, by UTC hour."""
    book_lot: dict[int, int]
    """By UTC hour, the lots that its book is written in: sizes are whole numbers of 1 / book_lot."""
    trade_lot: dict[int, int]
    """The same of its prints; of its book where nothing was traded."""

    @cached_property
    def mid(self) -> Floats:
        """(r,) bid + ask, half ticks."""
        return np.asarray(self.bid_px[:, 0] + self.ask_px[:, 0])


def metadata(path: Path) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in pq.read_schema(path).metadata.items()}


def hour_of(path: Path) -> int:
    """UTC hours since 1970 of .../date=D/HH.parquet."""
    day = np.datetime64(path.parent.name.removeprefix("date="), "h")
    return int(day.astype(np.int64)) + int(path.stem)


def prints_of(trades: pl.DataFrame, tick: int, lot: int) -> Iterator[Print]:
    ordered = trades.sort("ts", "trade_id").with_columns(pl.col("ts").cast(pl.Int64), pl.col("side").cast(pl.String))
    for us, px, qty, side, count in ordered.select("ts", "px", "qty", "side", "count").iter_rows():
        exact_px, exact_qty = Fraction(round(px * tick), tick), Fraction(round(qty * lot), lot)
        yield Print(us, exact_px, exact_qty, {"buy": 1, "sell": -1}[side], count)


def read_clean(data_dir: Path, venue: str, symbol: str, first_hours: int = 10**6) -> Clean:
    """Clean tables of a symbol that has a book, from the first hour with a book on."""

    def paths(name: str) -> list[Path]:
        found = sorted((data_dir / "clean" / name / f"venue={venue}" / f"symbol={symbol}").rglob("*.parquet"))
        return [path for path in found if hour_of(path) < last]

    def table(name: str) -> pl.DataFrame:
        frames = [pl.read_parquet(path, hive_partitioning=False) for path in paths(name)]
        return pl.concat(frames) if frames else pl.DataFrame()

    def ladder(kind: str, scale: int) -> Floats:
        block = np.column_stack([book[f"{kind}_{m:02d}"].fill_null(np.nan).to_numpy() for m in range(1, 11)])
        return np.asarray(np.rint(block * scale))

    last = 10**9
    last = min(map(hour_of, paths("book"))) + first_hours
    book, gaps = table("book").sort("ts"), table("gaps")
    hours = {hour_of(path): metadata(path) for path in paths("book")}
    traded = {hour_of(path): metadata(path) for path in paths("trades")}
    every = [*hours.values(), *traded.values()]
    tick, lot = (10 ** max(int(each[key]) for each in every) for key in ("px_decimals", "sz_decimals"))
    lost = gaps.filter(pl.col("stream") == "trade") if len(gaps) else gaps
    trades = table("trades")
    return Clean(
        grid_us=1000 * int(next(iter(hours.values()))["snapshot_interval_ms"]),
        us=book["ts"].cast(pl.Int64).to_numpy(),
        live=(book["state"].cast(pl.String) == "live").to_numpy(),
        **{name: ladder(name, scale) for name, scale in (("bid_px", tick), ("ask_px", tick))},
        **{name: ladder(name, scale) for name, scale in (("bid_sz", lot), ("ask_sz", lot), ("ofi", lot))},
        tick=tick,
        lot=lot,
        prints=list(prints_of(trades, tick, lot)) if len(trades) else [],
        trade_gaps=lost.select(pl.col("start", "end").cast(pl.Int64)).rows() if len(lost) else [],
        mark=table("mark"),
        liquidations=table("liquidations"),
        streams={hour: set(each["streams"].split(",")) for hour, each in hours.items()},
        book_lot={hour: 10 ** int(each["sz_decimals"]) for hour, each in hours.items()},
        trade_lot={hour: 10 ** int(each["sz_decimals"]) for hour, each in (hours | traded).items()},
    )
