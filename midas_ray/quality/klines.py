"""Minute bars from prints and from features, held against the exchange's own klines."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from midas_ray.quality.intervals import Intervals

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Origin = Literal["trades", "features"]

MINUTE_US = 60_000_000
PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume", "quote_volume", "number_of_trades")
VOLUME, QUOTE_VOLUME = COLUMNS.index("volume"), COLUMNS.index("quote_volume")
QUOTE_TOLERANCE = 1e-9
"""Relative; quote_volume is a long sum, which the exchange rounds. All else must be equal to the last bit."""


@dataclass(frozen=True, slots=True)
class MinuteBars:
    """Bars of one minute. ts_us: (n,) end of the minute. values: (n, 7) in the order of COLUMNS, NaN where unknown."""

    ts_us: IntArray
    values: FloatArray

    @classmethod
    def joined(cls, parts: list["MinuteBars"]) -> "MinuteBars":
        """Parts in one, sorted by time; of a minute that occurs twice the first stays."""
        ts_us = np.concatenate([np.zeros(0, dtype=np.int64), *(part.ts_us for part in parts)])
        values = np.concatenate([np.zeros((0, len(COLUMNS))), *(part.values for part in parts)])
        unique, first = np.unique(ts_us, return_index=True)
        return cls(unique, values[first])

    def __len__(self) -> int:
        return len(self.ts_us)


@dataclass(frozen=True, slots=True)
class KlineDifference:
    """A number of one minute in which our bar and the exchange's differ."""

    ts_us: int
    origin: Origin
    column: str
    ours: float
    kline: float


@dataclass(frozen=True, slots=True)
class KlineComparison:
    """compared: minutes held against each other; klines: all of the exchange's."""

    origin: Origin
    klines: int
    compared: int
    differences: tuple[KlineDifference, ...]


def bars_of_prints(frame: pl.DataFrame, px_decimals: int, sz_decimals: int) -> MinuteBars:
    """Bars of the minutes with prints. `frame`: clean/trades rows ordered by (ts, trade_id)."""
    ts_us = frame["ts"].to_physical().to_numpy()
    px, qty, count = frame["px"].to_numpy(), frame["qty"].to_numpy(), frame["count"].to_numpy()
    starts, first = np.unique(ts_us // MINUTE_US * MINUTE_US, return_index=True)
    if not len(starts):
        return MinuteBars(starts, np.zeros((0, len(COLUMNS))))
    last = np.concatenate([first[1:], [len(ts_us)]]) - 1
    lots = np.rint(qty * 10**sz_decimals).astype(np.int64)
    ticks = np.rint(px * 10**px_decimals).astype(np.int64)
    scale = float(10 ** (px_decimals + sz_decimals))
    values = np.column_stack(
        [
            px[first],
            np.maximum.reduceat(px, first),
            np.minimum.reduceat(px, first),
            px[last],
            np.add.reduceat(lots, first) / 10**sz_decimals,
            np.add.reduceat(ticks.astype(np.float64) * lots, first) / scale,
            np.add.reduceat(count.astype(np.int64), first),
        ]
    )
    return MinuteBars(starts + MINUTE_US, values)


def comparable(ts_us: IntArray, collected: Intervals, lost: Intervals) -> BoolArray:
    """Minutes in which prints were collected throughout and none was lost. lost: the trade gaps of the ledger."""
    start_us = ts_us - MINUTE_US
    whole = collected.overlap_us(start_us, ts_us) == MINUTE_US
    return whole & ~lost.meets(start_us - 1, ts_us - 1)  # a minute holds prints with time in [start, end)


def compare(origin: Origin, ours: MinuteBars, klines: MinuteBars, where: BoolArray) -> KlineComparison:
    """Hold our bars against the klines of the minutes `where`.

    A minute that is absent from ours has no print: volume and count 0, prices not compared.
    """
    chosen = np.flatnonzero(where)
    theirs = klines.values[chosen]
    mine = np.full(theirs.shape, np.nan)
    mine[:, len(PRICES) :] = 0.0
    if len(ours):
        at = np.minimum(np.searchsorted(ours.ts_us, klines.ts_us[chosen]), len(ours) - 1)
        there = ours.ts_us[at] == klines.ts_us[chosen]
        mine[there] = ours.values[at[there]]
    known = ~np.isnan(mine) & ~np.isnan(theirs)
    tolerance = np.zeros(theirs.shape)
    tolerance[:, QUOTE_VOLUME] = QUOTE_TOLERANCE * np.abs(theirs[:, QUOTE_VOLUME])
    with np.errstate(invalid="ignore"):
        differs = known & (np.abs(mine - theirs) > tolerance)
    return KlineComparison(
        origin,
        len(klines),
        len(chosen),
        tuple(
            KlineDifference(
                int(klines.ts_us[chosen[row]]),
                origin,
                COLUMNS[column],
                float(mine[row, column]),
                float(theirs[row, column]),
            )
            for row, column in np.argwhere(differs).tolist()
        ),
    )
