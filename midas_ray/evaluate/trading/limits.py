"""Position and loss limits, applied in order of time: what is known at a moment decides what happens after it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from midas_ray.evaluate.trading.costs import rows_at_or_before
from midas_ray.evaluate.trading.equity import DAY_US, Equity, equity
from midas_ray.evaluate.trading.execution import Market, Trades

Int = NDArray[np.int64]


def limit_positions(trades: Trades, max_position: float) -> Trades:
    """No sleeve holds more than `max_position` of its stake: neither does the symbol, nor all symbols together."""
    return replace(trades, size=np.minimum(trades.size, max_position))


def stop_after_losses(
    market: Market, origins: Int, trades: Trades, horizon: int, delay: int, limit_pct: float
) -> tuple[Trades, int]:
    """Close everything and stay flat for the rest of a UTC day once its result has fallen to -`limit_pct` of the stake.

    That order, too, is filled `delay` buckets later, at the opposite quote; orders on their way are filled before it.
    Gives the trades that remain, and how many days were stopped.
    """
    panel, stopped = market.panel, 0
    curve = equity(panel, origins, trades, horizon, market.fees.taker_bps)
    for day in np.unique((curve.ts_us - 1) // DAY_US):
        known_us = _fallen_at_us(curve, int(day), limit_pct)
        if known_us is None:
            continue
        leave_us = known_us + delay * panel.bucket_us
        entered_us = panel.ts_us[trades.entry_row]
        kept = trades.select(~((entered_us >= leave_us) & (entered_us <= (day + 1) * DAY_US)))
        trades = _closed(market, kept, leave_us)
        curve = equity(panel, origins, trades, horizon, market.fees.taker_bps)
        stopped += 1
    return trades, stopped


def _fallen_at_us(curve: Equity, day: int, limit_pct: float) -> int | None:
    """The first moment of a day at which its result is at or below the limit."""
    own = np.flatnonzero((curve.ts_us - 1) // DAY_US == day)
    before = curve.net_pct[own[0] - 1] if own[0] else 0.0
    fallen = own[curve.net_pct[own] - before <= -limit_pct]
    return int(curve.ts_us[fallen[0]]) if len(fallen) else None


def _closed(market: Market, trades: Trades, leave_us: int) -> Trades:
    """The trades with those that are open at `leave_us` left there."""
    panel = market.panel
    at = np.flatnonzero((panel.ts_us[trades.entry_row] < leave_us) & (panel.ts_us[trades.exit_row] > leave_us))
    if not len(at):
        return trades
    entry_row = trades.entry_row[at]
    before = rows_at_or_before(panel, panel.symbol_index[entry_row], np.full(len(at), leave_us - 1))
    settled = market.settle(trades.side[at], entry_row, np.minimum(before + 1, trades.exit_row[at]))
    changed = {}
    for name, values in zip(
        ("exit_row", "entry_px", "exit_px", "gross_bps", "funding_bps", "net_bps"), settled, strict=True
    ):
        changed[name] = getattr(trades, name).copy()
        changed[name][at] = values
    return replace(trades, **changed)
