"""What trading costs: fees of named tiers, the spread, funding of perpetual contracts.

Fees are those of the exchange's public schedule (binance.com/en/fee, USDT-margined futures and spot) as published in
2025, without discounts for BNB: check your own account. Every simulated fill takes, so only the taker's fee is charged.
Legend: n origins. Rates in bps of notional.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.errors import UsageError
from midas_ray.settings import TradingSettings

Float = NDArray[np.float64]
Int = NDArray[np.int64]

FUNDING_PERIOD_US = 8 * 3_600_000_000
"""Perpetual contracts exchange funding at 00:00, 08:00 and 16:00 UTC."""


@dataclass(frozen=True, slots=True)
class Fees:
    """Fees a side, bps of notional."""

    tier: str
    maker_bps: float
    taker_bps: float


TIERS = {
    fees.tier: fees
    for fees in (
        Fees("binance-futures-vip0", 2.0, 5.0),
        Fees("binance-futures-vip1", 1.6, 4.0),
        Fees("binance-futures-vip2", 1.4, 3.5),
        Fees("binance-futures-vip3", 1.2, 3.2),
        Fees("binance-futures-vip4", 1.0, 3.0),
        Fees("binance-futures-vip5", 0.8, 2.7),
        Fees("binance-futures-vip6", 0.6, 2.5),
        Fees("binance-futures-vip7", 0.4, 2.2),
        Fees("binance-futures-vip8", 0.2, 2.0),
        Fees("binance-futures-vip9", 0.0, 1.7),
        Fees("binance-spot-vip0", 10.0, 10.0),
        Fees("binance-spot-vip1", 9.0, 10.0),
        Fees("binance-spot-vip9", 1.1, 2.3),
        Fees("free", 0.0, 0.0),
    )
}


def fees_of(settings: TradingSettings, venue: str) -> Fees:
    """The fees that apply: `--fee-bps` on both sides, else `--fee-tier`, else the venue's regular user.

    Raises UsageError for a tier that is not known.
    """
    if settings.fee_bps is not None:
        return Fees(f"--fee-bps {settings.fee_bps:g}", settings.fee_bps, settings.fee_bps)
    tier = settings.fee_tier or f"{venue}-vip0"
    if tier not in TIERS:
        raise UsageError(f"--fee-tier {tier}: expected one of {', '.join(TIERS)}; or give --fee-bps")
    return TIERS[tier]


def quotes(panel: Panel) -> tuple[Float, Float]:
    """Bid and ask of each row; the close on both sides for a dataset without a book."""
    return (panel.price, panel.price) if panel.price_source == "close" else (panel.bid, panel.ask)


def round_trip_bps(panel: Panel, rows: Int, taker_bps: float) -> Float:
    """(n,) two fees and the spread as quoted at each row; NaN where there is no quote."""
    bid, ask = quotes(panel)
    result: Float = 2 * taker_bps + 1e4 * (ask[rows] - bid[rows]) / panel.price[rows]
    return result


def net_return_bps(side: Int, entry_px: Float, exit_px: Float, fee_bps: float) -> Float:
    """Return on the entry notional after a fee on both notionals.

    Example: long from 100 to 101 with 5 bps a side: 100 - 5 - 5.05 = 89.95 bps.
    """
    ratio = exit_px / entry_px
    result: Float = 1e4 * side * (ratio - 1) - fee_bps * (1 + ratio)
    return result


def funding_bps(panel: Panel, side: Int, entry_row: Int, exit_row: Int, assumed_bps: float) -> Float:
    """(n,) funding paid (+) or received (-) by positions over all funding times they are open at.

    The rate is the `funding_rate` feature of the symbol's last row at or before the payment where it is known, else
    `assumed_bps`; longs pay it. A position entered at the very moment of payment does not pay, one that leaves at it
    does. 0 on a spot venue.
    """
    paid = np.zeros(len(side))
    if not panel.venue.endswith("futures") or not len(side):
        return paid
    rates = 1e4 * panel.column("funding_rate") if "funding_rate" in panel.feature_names else np.full(len(panel), np.nan)
    first, last = (panel.ts_us[row] // FUNDING_PERIOD_US for row in (entry_row, exit_row))
    for later in range(1, int((last - first).max()) + 1):
        at = np.flatnonzero(first + later <= last)
        rate = rates[
            rows_at_or_before(panel, panel.symbol_index[entry_row[at]], (first[at] + later) * FUNDING_PERIOD_US)
        ]
        paid[at] += side[at] * np.where(np.isfinite(rate), rate, assumed_bps)
    return paid


def rows_at_or_before(panel: Panel, symbol_index: Int, ts_us: Int) -> Int:
    """(n,) the last row of each symbol at or before each moment; every symbol must have one."""
    found = np.empty(len(ts_us), dtype=np.int64)
    for symbol in np.unique(symbol_index):
        first, end = np.searchsorted(panel.symbol_index, [symbol, symbol + 1])
        own = symbol_index == symbol
        found[own] = first + np.searchsorted(panel.ts_us[first:end], ts_us[own], side="right") - 1
    return found
