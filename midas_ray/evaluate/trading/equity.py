"""The stake over time: marked at the reference price each bucket, realised at the exit.

The stake is constant, split equally between symbols and then between sleeves. Legend: m trades, T moments, S symbols.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.evaluate.trading.execution import Trades

Float = NDArray[np.float64]
Int = NDArray[np.int64]

DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Equity:
    """Sums of returns on a constant stake, in % of the stake; arrays (T,)."""

    ts_us: Int
    net_pct: Float
    gross_pct: Float
    """Without spread, fees and funding."""
    hold_pct: Float
    """Buy and hold over the same moments, without any cost."""
    exposure: Float
    """Share of the stake in open positions, long and short added."""


@dataclass(frozen=True, slots=True)
class _Marks:
    """Every (trade, bucket) at which a position is open or closes."""

    trade: Int
    row: Int
    net_bps: Float
    """Result of the trade so far."""
    gross_bps: Float
    is_exit: NDArray[np.bool_]


def _marks(panel: Panel, trades: Trades, fee_bps: float) -> _Marks:
    length = trades.exit_row - trades.entry_row + 1
    trade = np.repeat(np.arange(len(trades)), length)
    row = trades.entry_row[trade] + np.arange(len(trade)) - np.repeat(np.cumsum(length) - length, length)
    is_exit = row == trades.exit_row[trade]
    known = np.isfinite(panel.price[row]) | is_exit
    trade, row, is_exit = trade[known], row[known], is_exit[known]
    side = trades.side[trade]
    marked = 1e4 * side * (panel.price[row] / trades.entry_px[trade] - 1) - fee_bps
    gross = 1e4 * side * (panel.price[row] / panel.price[trades.entry_row[trade]] - 1)
    return _Marks(
        trade, row, np.where(is_exit, trades.net_bps[trade], marked),
        np.where(is_exit, trades.gross_bps[trade], gross), is_exit,
    )  # fmt: skip


def _steps(marks: _Marks, values: Float) -> Float:
    """What each mark adds to the one before it of the same trade."""
    before = np.concatenate([[0.0], values[:-1]])
    first = np.r_[True, marks.trade[1:] != marks.trade[:-1]] if len(marks.trade) else np.empty(0, dtype=np.bool_)
    return values - np.where(first, 0.0, before[: len(values)])


def moments_of(panel: Panel, origins: Int, horizon: int) -> Int:
    """(T,) every moment from the first origin to the last horizon."""
    return np.unique(panel.ts_us[origins[:, None] + np.arange(horizon + 1)])


def equity(panel: Panel, origins: Int, trades: Trades, horizon: int, fee_bps: float) -> Equity:
    """Equity of the strategy and of buy-and-hold."""
    ts_us = np.union1d(moments_of(panel, origins, horizon), panel.ts_us[trades.exit_row])
    symbols = np.unique(panel.symbol_index[origins])
    marks = _marks(panel, trades, fee_bps)
    weight = trades.size[marks.trade] / (horizon * len(symbols))
    moment = np.searchsorted(ts_us, panel.ts_us[marks.row])

    def added(values: Float) -> Float:
        total = np.zeros(len(ts_us))
        np.add.at(total, moment, values)
        return total

    return Equity(
        ts_us=ts_us,
        net_pct=np.cumsum(added(0.01 * weight * _steps(marks, marks.net_bps))),
        gross_pct=np.cumsum(added(0.01 * weight * _steps(marks, marks.gross_bps))),
        hold_pct=np.mean([_held_pct(panel, int(symbol), ts_us) for symbol in symbols], axis=0),
        exposure=added(np.where(marks.is_exit, 0.0, weight)),
    )


def _held_pct(panel: Panel, symbol: int, ts_us: Int) -> Float:
    """Return of holding one symbol since its first known price in the span; flat across missing prices."""
    rows = np.flatnonzero((panel.symbol_index == symbol) & np.isfinite(panel.price))
    position = np.searchsorted(panel.ts_us[rows], ts_us, side="right") - 1
    price = panel.price[rows[np.maximum(position, 0)]]
    result: Float = 100 * (price / price[0] - 1)
    return result


def max_drawdown_pct(equity_pct: Float) -> float:
    """Largest fall from an earlier peak, in points of the stake."""
    peak = np.maximum.accumulate(np.maximum(equity_pct, 0))
    return float(np.max(peak - equity_pct, initial=0))


def daily_pct(curve: Equity) -> Float:
    """(days,) net return of each UTC day that the curve touches, in % of the stake."""
    day = (curve.ts_us - 1) // DAY_US  # a moment ends its bucket: midnight belongs to the day before
    last = np.flatnonzero(np.r_[day[1:] != day[:-1], True])
    return np.diff(curve.net_pct[last], prepend=0)
