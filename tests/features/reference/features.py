"""All columns of the reference, and where a feature table differs from them."""

import math

import numpy as np
import polars as pl

from midas_ray.features.registry import FEATURE_NAMES
from tests.features.reference import book, trades, windows
from tests.features.reference.buckets import Buckets
from tests.features.reference.clean import Cell, Column, Null


def reference_features(b: Buckets, cost_buckets: set[int] | None = None) -> dict[str, Column]:
    """Every feature by name, by ts (us). cost_buckets: those in which the slow cost_to_* are computed (None = all)."""
    bars, flow = trades.bars(b), trades.trade_flow(b)
    volatility = windows.volatility(b, bars)
    wanted = set(b.times) if cost_buckets is None else cost_buckets
    return {
        **bars,
        **flow,
        **book.top_of_book(b),
        **book.liquidity(b),
        **book.imbalance(b),
        **book.book_shape(b),
        "cost_to_buy_bps": book.cost(b, "buy", wanted),
        "cost_to_sell_bps": book.cost(b, "sell", wanted),
        **book.order_flow(b),
        **volatility,
        **windows.impact(b, volatility["returns"], flow["signed_volume"], bars["quote_volume"]),
        "vpin": trades.vpin(b),
        "roll_spread": b.of_prints(trades.roll),
        "effective_spread_bps": trades.effective_spread(b),
        **windows.derivatives(b),
        **windows.calendar(b),
    }


EXACT = {
    *("open", "high", "low", "close", "volume", "quote_volume", "number_of_trades"),
    *("taker_buy_volume", "taker_sell_volume", "signed_volume", "whale_volume", "whale_signed_volume"),
    *("midprice", "spread", "queue_imb_2", "queue_imb_3", "queue_imb_4", "queue_imb_5"),
    *("ofi", "ofi_10", "ofi_cumulative", "funding_rate"),
}
"""Sums and ratios of integers, rounded once: no bit may differ."""
ROUNDING = 1e-15
"""Of a logarithm of a price ratio, of sin and cos: absolute, since they may be about 0."""


def agree(name: str, found: float, cell: float, typical: float) -> bool:
    """typical: root mean square of the column. A slope of rounded prices cancels: 1e-9 of that counts."""
    if name in EXACT:
        return found == cell
    slack = 1e-9 * typical if name in ("kyle_lambda", "vol_of_vol") else ROUNDING
    return math.isclose(found, cell, rel_tol=1e-9, abs_tol=slack)


def differences(name: str, table: pl.DataFrame, column: Column) -> list[str]:
    """What differs between a feature of the product's table and the reference, a line each: value, kind or row."""
    position = FEATURE_NAMES.index(name)
    numbers = [cell for cell in column.values() if isinstance(cell, float)]
    typical = float(np.sqrt(np.mean(np.square(numbers)))) if numbers else 0.0
    lines = []
    rows = table.select(pl.col("ts").cast(pl.Int64), name, "null_kinds").rows()
    for ts, found, kinds in rows:
        if ts not in column:
            continue
        cell: Cell = column[ts]
        kind = cell.value if isinstance(cell, Null) else 0
        same = kinds[position] == kind and (found is None) == (kind != 0)
        if not same or (isinstance(cell, float) and not agree(name, found, cell, typical)):
            lines.append(
                f"{name} at {np.datetime64(ts, 'us')}: expected {cell}, found {found} of kind {kinds[position]}"
            )
    return lines
