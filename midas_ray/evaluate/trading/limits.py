"""Position and loss limits, applied in order of time: what is known at a moment decides what happens after it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from midas_ray.evaluate.trading.equity import DAY_US, equity
from midas_ray.evaluate.trading.execution import Market, Trades

Int = NDArray[np.int64]


def limit_positions(trades: Trades, max_position: float) -> Trades:
    """No sleeve holds more than `max_position` of its stake: neither does the symbol, nor all symbols together."""
    return replace(trades, size=np.minimum(trades.size, max_position))


def stop_after_losses(
    market: Market, origins: Int, trades: Trades, horizon: int, limit_pct: float
) -> tuple[Trades, int]:
    """Close everything and stay flat for the rest of a UTC day once its result has fallen to -`limit_pct` of the stake.

    What is open leaves at the next bucket's opposite quote. Gives the trades that remain, and how many days were
    stopped.
    """
    panel = market.panel
    stopped = 0
    for day in np.unique((panel.ts_us[trades.entry_row] - 1) // DAY_US) if len(trades) else []:
        curve = equity(panel, origins, trades, horizon, market.fees.taker_bps)
        own = np.flatnonzero((curve.ts_us - 1) // DAY_US == day)
        if not len(own):
            continue
        before = curve.net_pct[own[0] - 1] if own[0] else 0.0
        fallen = np.flatnonzero(curve.net_pct[own] - before <= -limit_pct)
        if not len(fallen):
            continue
        known_us = curve.ts_us[own[fallen[0]]]
        end_us = (day + 1) * DAY_US
        entered_us = panel.ts_us[trades.entry_row]
        kept = trades.select(~((entered_us > known_us) & (entered_us <= end_us)))
        trades = _closed(market, kept, known_us + panel.bucket_us)
        stopped += 1
    return trades, stopped


def _closed(market: Market, trades: Trades, leave_us: int) -> Trades:
    """The trades with those that are open at `leave_us` left there."""
    panel = market.panel
    entered_us, left_us = panel.ts_us[trades.entry_row], panel.ts_us[trades.exit_row]
    open_then = (entered_us < leave_us) & (left_us > leave_us)
    if not open_then.any():
        return trades
    ahead = (leave_us - entered_us[open_then]) // panel.bucket_us
    wanted = np.minimum(trades.entry_row[open_then] + ahead, trades.exit_row[open_then])
    settled = market.settle(trades.side[open_then], trades.entry_row[open_then], wanted)
    changed = {}
    for name, values in zip(
        ("exit_row", "entry_px", "exit_px", "gross_bps", "funding_bps", "net_bps"), settled, strict=True
    ):
        whole = getattr(trades, name).copy()
        whole[open_then] = values
        changed[name] = whole
    return replace(trades, **changed)
