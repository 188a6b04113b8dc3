"""The trading rules once more, as a loop through time that knows one moment after another: the truth of tests."""

from dataclasses import dataclass
from math import isfinite

import numpy as np

from midas_ray.dataset.panel import Panel
from midas_ray.evaluate.judge import Forecasts
from midas_ray.settings import TradingSettings

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US


@dataclass
class Position:
    symbol: int
    side: int
    size: float
    leave_us: int
    entry_px: float
    half_spread: float
    funding: float = 0.0
    price: float = 0.0

    def result_bps(self, px: float, fee_bps: float, closed: bool) -> float:
        ratio = px / self.entry_px
        return 1e4 * self.side * (ratio - 1) - fee_bps * (1 + ratio if closed else 1) - (self.funding if closed else 0)


def decide_one(
    quantiles: list[float], taus: list[float], hurdle: float, settings: TradingSettings
) -> tuple[int, float]:
    """Side and size from one forecast, by integration on a fine grid and by counting."""
    middle = quantiles[taus.index(0.5)]
    if settings.rule == "median":
        return (int(np.sign(middle)), 1.0) if abs(middle) > hurdle else (0, 0.0)
    grid = (np.arange(100_000) + 0.5) / 100_000
    outcomes = np.interp(grid, taus, quantiles)
    mean = float(outcomes.mean())
    if abs(mean) <= hurdle:
        return 0, 0.0
    side = int(np.sign(mean))
    # Probability is what the outermost quantiles leave beyond them: counted by level, not by the flat tails.
    level = side * hurdle
    below = float(np.interp(level, quantiles, taus))
    likely = 1 - below if side > 0 else below
    if likely < settings.min_probability:
        return 0, 0.0
    half = (quantiles[taus.index(0.9)] - quantiles[taus.index(0.1)]) / 2
    return side, min(1.0, (abs(mean) - hurdle) / half)


def slow_equity(
    panel: Panel, forecasts: Forecasts, decisions: dict[int, tuple[int, float]], settings: TradingSettings,
    fee_bps: float, delay: int,
) -> tuple[dict[int, float], int]:  # fmt: skip
    """Net result in % of the stake at every moment, and stopped days. `decisions`: side and size by origin row."""
    horizon, symbols = forecasts.actual_nH.shape[1], len(set(forecasts.symbol_index.tolist()))
    rows = {(int(s), int(ts)): row for row, (s, ts) in enumerate(zip(panel.symbol_index, panel.ts_us, strict=True))}
    book = panel.price_source != "close"
    rates = panel.column("funding_rate") if "funding_rate" in panel.feature_names else np.full(len(panel), np.nan)
    orders: dict[int, list[tuple[int, int, float, int]]] = {}
    for row, (side, size) in decisions.items():
        ts, symbol = int(panel.ts_us[row]), int(panel.symbol_index[row])
        order = (symbol, side, min(size, settings.max_position), ts + horizon * panel.bucket_us)
        orders.setdefault(ts + delay * panel.bucket_us, []).append(order)
    last_priced = {
        s: int(panel.ts_us[(panel.symbol_index == s) & np.isfinite(panel.price)].max())
        for s in range(9)
        if (panel.symbol_index == s).any()
    }
    held: list[Position] = []
    closed_pct, day_start, blocked_day, flat_at, stopped, yesterday = 0.0, 0.0, -1, -1, 0, -1
    curve: dict[int, float] = {}
    for ts in sorted(set(panel.ts_us.tolist())):
        day = (ts - 1) // DAY_US
        if day != yesterday:
            day_start, yesterday = (list(curve.values())[-1] if curve else 0.0), day
        for p in list(held):
            row = rows.get((p.symbol, ts))
            if row is None:
                continue
            if ts % (8 * HOUR_US) == 0 and panel.venue.endswith("futures"):
                p.funding += p.side * (1e4 * rates[row] if isfinite(rates[row]) else settings.funding_bps_8h)
            price, bid, ask = panel.price[row], panel.bid[row], panel.ask[row]
            if isfinite(price):
                p.price = price
            out = (bid if p.side > 0 else ask) if book else price
            if ts >= p.leave_us and not isfinite(out) and ts >= last_priced[p.symbol]:
                out = p.price - p.side * p.half_spread
            if ts >= p.leave_us and isfinite(out):
                closed_pct += p.size * p.result_bps(out, fee_bps, True) / 100 / horizon / symbols
                held.remove(p)
        for symbol, side, size, leave_us in orders.get(ts, []):
            row = rows.get((symbol, ts))
            quoted = row is not None and isfinite(panel.price[row]) and (not book or isfinite(panel.bid[row]))
            if not side or not quoted or (blocked_day == day and ts >= flat_at):
                continue
            assert row is not None
            bid, ask = (panel.bid[row], panel.ask[row]) if book else (panel.price[row], panel.price[row])
            held.append(
                Position(
                    symbol, side, size, leave_us, ask if side > 0 else bid, (ask - bid) / 2, price=panel.price[row]
                )
            )
            if blocked_day == (flat_at - 1) // DAY_US and ts < flat_at:
                held[-1].leave_us = min(leave_us, flat_at)
        opened = sum(p.size * p.result_bps(p.price, fee_bps, False) for p in held) / 100 / horizon / symbols
        curve[ts] = closed_pct + opened
        if curve[ts] - day_start <= -settings.daily_loss_limit_pct and blocked_day != day:
            blocked_day, flat_at, stopped = day, ts + delay * panel.bucket_us, stopped + 1
            for p in held:
                p.leave_us = min(p.leave_us, flat_at)
    return curve, stopped
