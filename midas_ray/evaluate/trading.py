"""A simple threshold strategy on the median forecast, filled conservatively, and its equity.

At origin t, flat: go long (short) when the median forecast at the last horizon H is above (below) zero by more than the
round trip's cost as seen at t (two fees and the spread) plus a threshold. Enter at bucket t+1's opposite quote (buy at
the ask, sell at the bid), leave at t+H's opposite quote. One position a symbol at a time; the next decision is at t+H
at the earliest. Without a book both fills are at the close and cost the fee alone.

Legend: n origins, m trades, H horizons, T moments.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel

Float = NDArray[np.float64]
Int = NDArray[np.int64]

SHARPE_DAYS = 30
"""Fewer test days give no Sharpe ratio."""
_DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Trades:
    """Round trips in order of entry; every array is (m,). Rows are rows of the panel."""

    origin: Int
    """Position of the decision among the judged origins."""
    entry_row: Int
    exit_row: Int
    side: Int
    """+1 long, -1 short."""
    forecast_bps: Float
    entry_px: Float
    exit_px: Float
    gross_bps: Float
    """Move of the reference price from entry to exit, times side: no spread, no fee."""
    net_bps: Float
    """At the quotes and after fees, relative to the notional at entry."""
    signals: int
    """Origins whose forecast beat the cost, also those met while in a position."""
    unfilled: int
    """Decisions dropped because a quote was missing at the entry or at the exit."""

    def __len__(self) -> int:
        return len(self.side)


@dataclass(frozen=True, slots=True)
class Equity:
    """Sum of returns on a constant stake, split equally between symbols, in % of the stake; arrays (T,)."""

    ts_us: Int
    net_pct: Float
    gross_pct: Float
    hold_pct: Float
    """Buy and hold over the same moments, without any cost."""


def quotes(panel: Panel) -> tuple[Float, Float]:
    """Bid and ask of each row; the close on both sides for a dataset without a book."""
    return (panel.price, panel.price) if panel.price_source == "close" else (panel.bid, panel.ask)


def net_return_bps(side: Int, entry_px: Float, exit_px: Float, fee_bps: float) -> Float:
    """Return on the entry notional after a fee on both notionals.

    Example: long from 100 to 101 with 5 bps a side: 100 - 5 - 5.05 = 89.95 bps.
    """
    ratio = exit_px / entry_px
    return 1e4 * side * (ratio - 1) - fee_bps * (1 + ratio)


def round_trip_cost_bps(panel: Panel, origins: Int, fee_bps: float) -> Float:
    """(n,) two fees and the spread at the origin; NaN where there is no quote."""
    bid, ask = quotes(panel)
    spread_bps = 1e4 * (ask[origins] - bid[origins]) / panel.price[origins]
    return 2 * fee_bps + spread_bps


def _first_free(panel: Panel, origins: Int, candidates: Int, hold: int) -> Int:
    """Greedy choice of non-overlapping positions a symbol; `candidates` index origins in time order."""
    chosen: list[int] = []
    for symbol in np.unique(panel.symbol_index[origins[candidates]]):
        own = candidates[panel.symbol_index[origins[candidates]] == symbol]
        rows = origins[own]
        k = 0
        while k < len(own):
            chosen.append(int(own[k]))
            k = int(np.searchsorted(rows, rows[k] + hold, side="left"))
    return np.sort(np.array(chosen, dtype=np.int64))


def run_strategy(
    panel: Panel, origins: Int, median_n: Float, output_length: int, fee_bps: float, threshold_bps: float
) -> Trades:
    """The trades of the strategy on `origins`, sorted by (ts, symbol), with median forecasts at horizon H in bps.

    Raises ValueError for a horizon of one bucket: the fill at t+1 would already be the exit.
    """
    if output_length < 2:
        raise ValueError(f"expected a horizon of at least 2 buckets, got {output_length}")
    bid, ask = quotes(panel)
    wanted = np.abs(median_n) > round_trip_cost_bps(panel, origins, fee_bps) + threshold_bps
    filled = np.isfinite(bid[origins + 1]) & np.isfinite(bid[origins + output_length])
    at = _first_free(panel, origins, np.flatnonzero(wanted & filled), output_length)
    entry, leave = origins[at] + 1, origins[at] + output_length
    side = np.sign(median_n[at]).astype(np.int64)
    entry_px = np.where(side > 0, ask[entry], bid[entry])
    exit_px = np.where(side > 0, bid[leave], ask[leave])
    return Trades(
        origin=at,
        entry_row=entry,
        exit_row=leave,
        side=side,
        forecast_bps=median_n[at],
        entry_px=entry_px,
        exit_px=exit_px,
        gross_bps=1e4 * side * (panel.price[leave] / panel.price[entry] - 1),
        net_bps=net_return_bps(side, entry_px, exit_px, fee_bps),
        signals=int(wanted.sum()),
        unfilled=int((wanted & ~filled).sum()),
    )


def _marked_bps(panel: Panel, trades: Trades, hold: int, fee_bps: float) -> Float:
    """(m, H) profit of each trade at t+1 ... t+H: marked at the reference price, the last one realised."""
    rows = trades.entry_row[:, None] + np.arange(hold)
    marked = 1e4 * trades.side[:, None] * (panel.price[rows] / trades.entry_px[:, None] - 1) - fee_bps
    marked[:, -1] = trades.net_bps
    return marked


def equity(panel: Panel, origins: Int, trades: Trades, output_length: int, fee_bps: float) -> Equity:
    """Equity of the strategy and of buy-and-hold at every moment from the first origin to the last horizon."""
    ts_us = np.unique(panel.ts_us[origins[:, None] + np.arange(output_length + 1)])
    symbols = np.unique(panel.symbol_index[origins])
    rows = trades.entry_row[:, None] + np.arange(output_length)
    marked = _marked_bps(panel, trades, output_length, fee_bps)
    moment = np.searchsorted(ts_us, panel.ts_us[rows])
    price = panel.price[rows]
    gross = 1e4 * trades.side[:, None] * (price / price[:, :1] - 1)
    to_pct = 0.01 / len(symbols)
    return Equity(
        ts_us=ts_us,
        net_pct=np.cumsum(_added(moment, np.diff(marked, axis=1, prepend=0), len(ts_us))) * to_pct,
        gross_pct=np.cumsum(_added(moment, np.diff(gross, axis=1, prepend=0), len(ts_us))) * to_pct,
        hold_pct=np.mean([_held_pct(panel, int(symbol), ts_us) for symbol in symbols], axis=0),
    )


def _added(moment: Int, increments: Float, n_moments: int) -> Float:
    total = np.zeros(n_moments)
    np.add.at(total, moment, increments)
    return total


def _held_pct(panel: Panel, symbol: int, ts_us: Int) -> Float:
    """Return of holding one symbol since its first known price in the span; flat across missing prices."""
    rows = np.flatnonzero((panel.symbol_index == symbol) & np.isfinite(panel.price))
    position = np.searchsorted(panel.ts_us[rows], ts_us, side="right") - 1
    price = panel.price[rows[np.maximum(position, 0)]]
    return 100 * (price / price[0] - 1)


def max_drawdown_pct(equity_pct: Float) -> float:
    """Largest fall from an earlier peak, in points of the stake."""
    peak = np.maximum.accumulate(np.maximum(equity_pct, 0))
    return float(np.max(peak - equity_pct, initial=0))


def days(curve: Equity) -> int:
    """UTC days that the equity touches."""
    return len(np.unique(curve.ts_us // _DAY_US))


def sharpe_ratio(curve: Equity) -> float | None:
    """Annualised Sharpe ratio of daily net returns (365 days a year); None under 30 days or without risk."""
    day = curve.ts_us // _DAY_US
    last = np.flatnonzero(np.r_[day[1:] != day[:-1], True])
    daily = np.diff(curve.net_pct[last], prepend=0)
    if len(daily) < SHARPE_DAYS or daily.std(ddof=1) == 0:
        return None
    return float(daily.mean() / daily.std(ddof=1) * np.sqrt(365))
