"""What of the forecasts is drawn over time, not chosen by how it went: a stretch, and the whole test period."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.evaluate.judge import Forecasts
from midas_ray.forecast.scores import reported

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MOST_FANS = 12
MOST_SPANS = 150
LEAST_WINDOWS_A_SPAN = 40


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive forecasts of one symbol, each from the end of the one before. o origins, H horizons, Q quantiles."""

    symbol: str
    origin_us: Int
    price_oHQ: Float
    """(o, H + 1, Q) price quantiles; at index 0 the price at the origin."""
    ts_us: Int
    price: Float
    """Actual prices over the whole stretch."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole test period of one symbol in spans of equal length; s spans, the last horizon, bps."""

    symbol: str
    span_us: int
    ts_us: Int
    """(s,) middle of each span."""
    forecast_s2: Float
    """(s, 2) mean forecast of P10 and of P90; NaN in a span of too few windows."""
    actual_s2: Float
    """(s, 2) tenth and ninetieth percentile of the outcomes."""

    @property
    def width_correlation(self) -> float:
        """Rank correlation of the widths forecast and realised, over the spans; NaN under ten or for one width."""
        widths = np.stack([pair[:, 1] - pair[:, 0] for pair in (self.forecast_s2, self.actual_s2)])
        widths = widths[:, np.isfinite(widths).all(axis=0)]
        if widths.shape[1] < 10 or (widths == widths[:, :1]).all(axis=1).any():
            return float("nan")
        ranks = widths.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        return float(np.asarray(np.corrcoef(ranks))[0, 1])


def main_symbol(forecasts: Forecasts) -> int:
    """Index of the symbol with most windows, the first of several."""
    return int(np.bincount(forecasts.symbol_index).argmax())


def _chains(rows: Int, hold: int, fans: int) -> Int:
    """Rows from which `fans` origins follow each other every `hold` rows."""
    chain = np.ones(len(rows), dtype=np.bool_)
    for step in range(1, fans):
        chain &= np.isin(rows + step * hold, rows)
    return rows[chain]


def representative(panel: Panel, forecasts: Forecasts) -> Stretch:
    """The stretch of up to MOST_FANS forecasts whose price range is the median one, of the symbol with most windows."""
    symbol = main_symbol(forecasts)
    own = np.flatnonzero(forecasts.symbol_index == symbol)
    rows, hold = forecasts.origins[own], forecasts.actual_nH.shape[1]
    fans = next(count for count in range(MOST_FANS, 0, -1) if len(_chains(rows, hold, count)))
    starts = _chains(rows, hold, fans)
    span = starts[:, None] + np.arange(fans * hold + 1)
    moved = np.ptp(np.log(panel.price[span]), axis=1)
    start = starts[np.argsort(moved, kind="stable")[len(moved) // 2]]
    origins = start + hold * np.arange(fans)
    forecast_bps = forecasts.delivered(forecasts.judged)[own[np.searchsorted(rows, origins)]].astype(np.float64)
    ahead = np.concatenate([np.zeros((fans, 1, forecast_bps.shape[2])), forecast_bps], axis=1)
    shown = np.arange(start, start + fans * hold + 1)
    return Stretch(
        symbol=panel.symbols[symbol],
        origin_us=panel.ts_us[origins],
        price_oHQ=panel.price[origins][:, None, None] * np.exp(ahead / 1e4),
        ts_us=panel.ts_us[shown],
        price=panel.price[shown],
    )


def overview(panel: Panel, forecasts: Forecasts) -> Overview:
    """The band forecast and the band realised over the whole test period, of the symbol with most windows."""
    symbol = main_symbol(forecasts)
    own = forecasts.symbol_index == symbol
    ts_us, actual = forecasts.ts_us[own], forecasts.actual_nH[own, -1]
    low, _, high = reported(forecasts.quantiles_Q)
    forecast = forecasts.delivered(forecasts.judged)[own, -1][:, [low, high]].astype(np.float64)
    spans = int(np.clip(len(ts_us) // LEAST_WINDOWS_A_SPAN, 1, MOST_SPANS))
    span_us = int(ts_us[-1] - ts_us[0]) // spans + 1
    span = (ts_us - ts_us[0]) // span_us
    means, percentiles = np.full((2, spans, 2), np.nan)
    for number in range(spans):
        inside = span == number
        if inside.sum() >= LEAST_WINDOWS_A_SPAN // 2:
            means[number] = forecast[inside].mean(axis=0)
            percentiles[number] = np.percentile(actual[inside], [10, 90])
    return Overview(
        symbol=panel.symbols[symbol],
        span_us=span_us,
        ts_us=ts_us[0] + span_us * np.arange(spans) + span_us // 2,
        forecast_s2=means,
        actual_s2=percentiles,
    )
