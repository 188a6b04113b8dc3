"""Fills of decisions, without looking ahead.

A decision at origin t is filled at the first bucket end at or after t plus the latency, at the earliest the next one:
buy at its ask, sell at its bid. The quote within a bucket is not known, so a latency below the bucket's length is a
whole bucket, and so on. The position is left at t + H the same way: that order is planned, and sent ahead. Where the
entry has no quote, nothing is bought; where the exit has none, the position stays until the next quote of the symbol,
or, where none follows, is valued at its last known price less half the spread of its entry. Without a book both fills
are at the close, and no spread is paid.

H sleeves a symbol share its stake equally; the one whose turn it is takes the decision, so that overlapping forecasts
are all traded and every sleeve is free when its turn comes (as Jegadeesh and Titman 1993). Costs are charged on every
sleeve's fills: orders of different sleeves are not netted.

Legend: n origins, m trades, H horizons.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.evaluate.trading.costs import Fees, funding_bps, net_return_bps, quotes
from midas_ray.evaluate.trading.signals import Signals

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trades:
    """Round trips in order of entry; every array is (m,). Rows are rows of the panel."""

    origin: Int
    """Position of the decision among the judged origins."""
    entry_row: Int
    exit_row: Int
    side: Int
    """+1 long, -1 short."""
    size: Float
    """Share of the sleeve's stake."""
    sleeve: Int
    expected_bps: Float
    entry_px: Float
    exit_px: Float
    gross_bps: Float
    """Move of the reference price from entry to exit, times side: no spread, no fee, no funding."""
    funding_bps: Float
    """Paid (+) or received (-)."""
    net_bps: Float
    """At the quotes, after fees and funding, relative to the notional at entry."""

    def __len__(self) -> int:
        return len(self.side)

    def mean(self, values: Float) -> float:
        """Mean of a result weighted by size, as the stake feels it. Raises ZeroDivisionError without trades."""
        return float(np.average(values, weights=self.size))

    def select(self, picked: NDArray[np.bool_] | Int) -> "Trades":
        """These trades only, by a mask or by positions."""
        return replace(self, **{field.name: getattr(self, field.name)[picked] for field in fields(self)})


@dataclass(frozen=True, slots=True)
class Market:
    """The panel with what fills need."""

    panel: Panel
    fees: Fees
    assumed_funding_bps: float
    bid: Float
    ask: Float
    next_quote: Int
    """(rows,) the row itself where it has a quote, else the symbol's next row with one; -1 where there is none."""
    last_price: Int
    """(symbols,) the last row of each symbol whose price is known; -1 where none is."""

    @classmethod
    def of(cls, panel: Panel, fees: Fees, assumed_funding_bps: float) -> "Market":
        bid, ask = quotes(panel)
        known = np.isfinite(bid) & np.isfinite(ask)
        last = len(panel)
        following = np.minimum.accumulate(np.where(known, np.arange(last), last)[::-1])[::-1]
        same = (following < last) & (
            panel.symbol_index[np.minimum(following, last - 1)] == panel.symbol_index[np.arange(last)]
        )
        priced = np.full(len(panel.symbols), -1)
        rows = np.flatnonzero(np.isfinite(panel.price))
        np.maximum.at(priced, panel.symbol_index[rows], rows)
        return cls(panel, fees, assumed_funding_bps, bid, ask, np.where(same, following, -1), priced)

    def settle(self, side: Int, entry_row: Int, wanted_exit: Int) -> tuple[Int, Float, Float, Float, Float, Float]:
        """Exit rows, entry and exit prices, gross, funding and net of positions entered at rows with a quote."""
        panel = self.panel
        exit_row = self.next_quote[wanted_exit]
        stranded = exit_row < 0
        exit_row = np.where(stranded, self.last_price[panel.symbol_index[entry_row]], exit_row)
        entry_px = np.where(side > 0, self.ask[entry_row], self.bid[entry_row])
        half_spread = (self.ask[entry_row] - self.bid[entry_row]) / 2
        last_price = panel.price[exit_row] - side * half_spread
        exit_px = np.where(side > 0, self.bid[exit_row], self.ask[exit_row])
        exit_px = np.where(stranded, last_price, exit_px)
        gross = 1e4 * side * (panel.price[exit_row] / panel.price[entry_row] - 1)
        funding = funding_bps(panel, side, entry_row, exit_row, self.assumed_funding_bps)
        net = net_return_bps(side, entry_px, exit_px, self.fees.taker_bps) - funding
        return exit_row, entry_px, exit_px, gross, funding, net


def entry_delay(latency_ms: float, bucket_ms: int) -> int:
    """Buckets from the decision to the fill."""
    return max(1, int(np.ceil(latency_ms / bucket_ms)))


def sleeves(panel: Panel, origins: Int, horizon: int) -> Int:
    """(n,) whose turn it is at each origin, 0 ... H - 1."""
    return panel.ts_us[origins] // panel.bucket_us % horizon


def execute(market: Market, origins: Int, signals: Signals, horizon: int, delay: int) -> tuple[Trades, int]:
    """All fills of the signals, sorted by (entry time, symbol), and how many decisions found no quote at entry.

    Raises ValueError where the fill would come after the exit.
    """
    if delay >= horizon:
        raise ValueError(f"expected a fill before the exit at {horizon} buckets, got a delay of {delay}")
    panel = market.panel
    wanted = np.flatnonzero(signals.side)
    entry = origins[wanted] + delay
    filled = np.isfinite(market.bid[entry]) & np.isfinite(market.ask[entry])
    at, entry = wanted[filled], entry[filled]
    side = signals.side[at]
    exit_row, entry_px, exit_px, gross, funding, net = market.settle(side, entry, origins[at] + horizon)
    trades = Trades(
        origin=at,
        entry_row=entry,
        exit_row=exit_row,
        side=side,
        size=signals.size[at],
        sleeve=sleeves(panel, origins[at], horizon),
        expected_bps=signals.expected_bps[at],
        entry_px=entry_px,
        exit_px=exit_px,
        gross_bps=gross,
        funding_bps=funding,
        net_bps=net,
    )
    order = np.lexsort((panel.symbol_index[entry], panel.ts_us[entry]))
    return trades.select(order), int((~filled).sum())
