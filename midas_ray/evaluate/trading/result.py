"""A whole trading simulation of judged forecasts, with its controls."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.errors import UsageError
from midas_ray.evaluate.judge import Forecasts, mean_per_trade
from midas_ray.evaluate.significance import Estimates
from midas_ray.evaluate.trading.costs import Fees, fees_of, round_trip_bps
from midas_ray.evaluate.trading.equity import Equity, equity
from midas_ray.evaluate.trading.execution import Market, Trades, entry_delay, execute
from midas_ray.evaluate.trading.limits import limit_positions, stop_after_losses
from midas_ray.evaluate.trading.performance import Performance, performance
from midas_ray.evaluate.trading.signals import Signals, decide
from midas_ray.settings import TradingSettings

Float = NDArray[np.float64]
Int = NDArray[np.int64]

DRAWS = 500
COSTS_BPS = np.linspace(0.0, 30.0, 61)


@dataclass(frozen=True, slots=True)
class BreakEven:
    """What the same rule would have earned at other costs; arrays (C,)."""

    cost_bps: Float
    """Round trip, all in."""
    net_bps: Float
    """Mean a round trip, weighted by size; NaN where the rule would not have traded."""
    trades: Int
    """Round trips at that cost."""
    break_even_bps: float | None
    """The highest cost up to which it earns at every cost; the last of `cost_bps`: at least that; None where it does
    not even earn at no cost."""


@dataclass(frozen=True, slots=True)
class RandomEntries:
    """As many round trips of the same sizes at random times and sides, after the same costs; % of the stake."""

    mean_pct: float
    lower_pct: float
    """2.5th percentile of the draws."""
    upper_pct: float
    better_share: float
    """Share of the draws that earned at least as much as the strategy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingResult:
    """The strategy's trades, what they earned, and what chance would have earned."""

    fees: Fees
    delay: int
    """Buckets from decision to fill."""
    horizon: int
    trades: Trades
    signals: int
    """Origins at which the rule wanted to trade."""
    unfilled: int
    """Of these, without a quote at the entry."""
    stopped_days: int
    """Days on which the loss limit ended trading."""
    curve: Equity
    performance: Performance
    per_trade: Estimates | None
    """Mean net bps a round trip, weighted by size, with its interval; None without trades."""
    break_even: BreakEven
    random_entries: RandomEntries | None
    """None without trades."""
    funding_is_assumed: bool
    """On a futures venue whose data hold no funding rate."""


def trade(panel: Panel, forecasts: Forecasts, settings: TradingSettings, trials: int) -> TradingResult:
    """Trade the delivered forecasts of the judged forecaster at its last horizon H.

    `trials`: configurations tried before this one, for the deflated Sharpe ratio. Raises UsageError where the latency
    leaves no time before the exit.
    """
    horizon = forecasts.actual_nH.shape[1]
    fees = fees_of(settings, panel.venue)
    delay = entry_delay(settings.latency_ms, panel.bucket_ms)
    if delay >= horizon:
        raise UsageError(
            f"--latency-ms {settings.latency_ms:g}: expected a fill before the exit after {horizon} buckets of "
            f"{panel.bucket_ms} ms, found one after {delay}; lower it"
        )
    market = Market.of(panel, fees, settings.funding_bps_8h)
    last = forecasts.delivered(forecasts.judged)[:, -1].astype(np.float64)
    cost = round_trip_bps(panel, forecasts.origins, fees.taker_bps)
    signals = decide(last, forecasts.quantiles_Q, cost, settings)
    trades, unfilled = execute(market, forecasts.origins, signals, horizon, delay)
    trades = limit_positions(trades, settings.max_position)
    trades, stopped = stop_after_losses(
        market, forecasts.origins, trades, horizon, delay, settings.daily_loss_limit_pct
    )
    curve = equity(panel, forecasts.origins, trades, horizon, fees.taker_bps)
    symbols = len(np.unique(forecasts.symbol_index))
    return TradingResult(
        fees=fees,
        delay=delay,
        horizon=horizon,
        trades=trades,
        signals=int(np.count_nonzero(signals.side)),
        unfilled=unfilled,
        stopped_days=stopped,
        curve=curve,
        performance=performance(curve, trades, horizon, symbols, trials, panel.bucket_us),
        per_trade=mean_per_trade(forecasts, trades.origin, trades.net_bps, trades.size) if len(trades) else None,
        break_even=_break_even(panel, forecasts, last, settings, delay),
        random_entries=_random_entries(market, forecasts, trades, horizon, delay, symbols) if len(trades) else None,
        funding_is_assumed=panel.venue.endswith("futures") and not _knows_funding(panel, forecasts.origins),
    )


def _knows_funding(panel: Panel, origins: Int) -> bool:
    return "funding_rate" in panel.feature_names and bool(np.isfinite(panel.column("funding_rate")[origins]).any())


def _break_even(panel: Panel, forecasts: Forecasts, last: Float, settings: TradingSettings, delay: int) -> BreakEven:
    origins, horizon = forecasts.origins, forecasts.actual_nH.shape[1]
    moved = 1e4 * (panel.price[origins + horizon] / panel.price[origins + delay] - 1)
    net = np.full(len(COSTS_BPS), np.nan)
    count = np.zeros(len(COSTS_BPS), dtype=np.int64)
    for k, cost in enumerate(COSTS_BPS):
        signals = decide(last, forecasts.quantiles_Q, np.full(len(origins), cost), settings)
        taken = (signals.side != 0) & np.isfinite(moved)
        count[k] = int(taken.sum())
        if signals.size[taken].sum() > 0:
            net[k] = np.average(signals.side[taken] * moved[taken] - cost, weights=signals.size[taken])
    earning = int(np.logical_and.accumulate(net > 0).sum())
    return BreakEven(COSTS_BPS, net, count, float(COSTS_BPS[earning - 1]) if earning else None)


def _random_entries(
    market: Market, forecasts: Forecasts, trades: Trades, horizon: int, delay: int, symbols: int
) -> RandomEntries:
    """Draws keep each trade's symbol and size; its moment and side are random."""
    panel, rng = market.panel, np.random.default_rng(0)
    net = {}
    for side in (1, -1):
        n = len(forecasts.origins)
        every = Signals(np.full(n, side), np.ones(n), np.zeros(n))
        filled, _ = execute(market, forecasts.origins, every, horizon, delay)
        at = np.full(len(forecasts.origins), np.nan)
        at[filled.origin] = filled.net_bps
        net[side] = at
    symbol = panel.symbol_index[trades.entry_row]
    totals = np.zeros(DRAWS)
    for index in np.unique(symbol):
        candidates = np.flatnonzero((forecasts.symbol_index == index) & np.isfinite(net[1]))
        size = trades.size[symbol == index]
        for draw in range(DRAWS):
            at = rng.choice(candidates, len(size))
            long = rng.integers(0, 2, len(size)) == 1
            totals[draw] += float((size * np.where(long, net[1][at], net[-1][at])).sum())
    pct = 0.01 * totals / (horizon * symbols)
    own = 0.01 * float((trades.size * trades.net_bps).sum()) / (horizon * symbols)
    lower, upper = np.percentile(pct, [2.5, 97.5])
    return RandomEntries(float(pct.mean()), float(lower), float(upper), float((pct >= own).mean()))
