"""What trading costs: fees of named tiers, the spread, funding of perpetual contracts.

Fees from the exchange's public schedule, regular users without discounts, as of November 2026: check your own account.
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
    """(n,) funding paid (+) or received (-) by positions open over a funding time, at most one each.

    The rate is the `funding_rate` feature of the row of payment where it is known, else `assumed_bps`; longs pay it.
    A position entered at the very moment of payment does not pay, one that leaves at it does. 0 on a spot venue.
    """
    if not panel.venue.endswith("futures"):
        return np.zeros(len(side))
    paid_us = panel.ts_us[exit_row] // FUNDING_PERIOD_US * FUNDING_PERIOD_US
    pays = panel.ts_us[entry_row] < paid_us
    back = (panel.ts_us[exit_row] - paid_us) // panel.bucket_us
    row = np.maximum(exit_row - back, entry_row)
    known = np.full(len(side), np.nan)
    if "funding_rate" in panel.feature_names:
        known = 1e4 * panel.column("funding_rate")[row]
    rate = np.where(np.isfinite(known), known, assumed_bps)
    return np.where(pays, side * rate, 0.0)
