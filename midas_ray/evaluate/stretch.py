"""A representative stretch of forecasts to draw: typical in how far the price moved, not chosen by how it went."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.evaluate.judge import MODEL, Forecasts

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MOST_FANS = 12


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive forecasts of one symbol, each from the end of the one before. o origins, H horizons, Q quantiles."""

    symbol: str
    origin_us: Int
    price_oHQ: Float
    """(o, H + 1, Q) price quantiles; at index 0 the price at the origin."""
    middle: int
    """Position of the median among the quantiles."""
    ts_us: Int
    price: Float
    """Actual prices over the whole stretch."""


def _chains(rows: Int, hold: int, fans: int) -> Int:
    """Rows from which `fans` origins follow each other every `hold` rows."""
    chain = np.ones(len(rows), dtype=np.bool_)
    for step in range(1, fans):
        chain &= np.isin(rows + step * hold, rows)
    return rows[chain]


def representative(panel: Panel, forecasts: Forecasts) -> Stretch:
    """The stretch of up to MOST_FANS forecasts whose price range is the median one, of the symbol with most windows."""
    symbol = int(np.bincount(forecasts.symbol_index).argmax())
    own = np.flatnonzero(forecasts.symbol_index == symbol)
    rows, hold = forecasts.origins[own], forecasts.actual_nH.shape[1]
    fans = next(count for count in range(MOST_FANS, 0, -1) if len(_chains(rows, hold, count)))
    starts = _chains(rows, hold, fans)
    span = starts[:, None] + np.arange(fans * hold + 1)
    moved = np.ptp(np.log(panel.price[span]), axis=1)
    start = starts[np.argsort(moved, kind="stable")[len(moved) // 2]]
    origins = start + hold * np.arange(fans)
    forecast_bps = forecasts.forecast_nHQ[MODEL][own[np.searchsorted(rows, origins)]]
    ahead = np.concatenate([np.zeros((fans, 1, forecast_bps.shape[2])), forecast_bps], axis=1)
    shown = np.arange(start, start + fans * hold + 1)
    return Stretch(
        symbol=panel.symbols[symbol],
        origin_us=panel.ts_us[origins],
        price_oHQ=panel.price[origins][:, None, None] * np.exp(ahead / 1e4),
        middle=int(np.argmin(np.abs(forecasts.quantiles_Q - 0.5))),
        ts_us=panel.ts_us[shown],
        price=panel.price[shown],
    )
