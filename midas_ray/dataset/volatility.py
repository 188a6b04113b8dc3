"""How far a price moves at a time: causal volatility from one-bucket returns, and its HAR forecast.

At a row t only returns that ended by t count. Observations are counted, not calendar time: a gap in the data neither
ages nor empties a window. Legend: n rows asked for, S symbols, K windows, H horizons. Volatilities in bps a bucket.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from midas_ray.dataset.panel import FloatArray, IntArray, Panel

HAR_WINDOWS = (10, 60, 360, 1440)
"""Realised returns whose root mean square is a term of the HAR forecast; with fewer, all there are."""
_LEAST_RETURNS = 10
"""With fewer realised returns than this the typical volatility stands in for the missing ones."""
_FLOOR = 0.05
"""No volatility is below this share of the symbol's typical one: in quiet markets prices stand still for minutes."""
_LEAST_BPS = 1e-3
_RIDGE = 10.0
"""Weight of the ridge, in windows that do not overlap."""
_REACH = 3.0
"""The forecast stays within this factor of its smallest and largest term: no straight line holds far outside."""


@dataclass(frozen=True, slots=True)
class SymbolPrices:
    """Prices of one symbol on a calendar grid of buckets, and which of the asked rows belong to it."""

    symbol: int
    """Position among the panel's symbols."""
    at: IntArray
    """Positions among the asked rows."""
    asked_grid: IntArray
    """Grid index of each of these rows."""
    log_price_bps: FloatArray
    """1e4 ln P on the grid; NaN where unknown."""

    def realised(self, horizon: int) -> tuple[IntArray, FloatArray]:
        """Grid index of the moment of realisation, and the return in bps over the `horizon` buckets that end there."""
        returns = self.log_price_bps[horizon:] - self.log_price_bps[:-horizon]
        known = np.flatnonzero(np.isfinite(returns))
        return known + horizon, returns[known]

    def realised_before(self, realised_grid: IntArray) -> IntArray:
        """How many of the realised returns had ended by each asked row."""
        return np.searchsorted(realised_grid, self.asked_grid, side="right")

    def last_known(self, realised_grid: IntArray, series: FloatArray) -> FloatArray:
        """Of a series aligned with `realised_grid`, the newest value at each asked row; NaN before the first."""
        position = self.realised_before(realised_grid) - 1
        return np.where(position >= 0, np.append(series, np.nan)[position], np.nan)


def prices_by_symbol(panel: Panel, rows: IntArray) -> Iterator[SymbolPrices]:
    """The prices of each symbol that has one of `rows`."""
    for symbol in np.unique(panel.symbol_index[rows]):
        own = np.flatnonzero(panel.symbol_index == symbol)
        start_us = panel.ts_us[own[0]]
        grid = (panel.ts_us[own] - start_us) // panel.bucket_us
        log_price_bps = np.full(grid[-1] + 1, np.nan)
        log_price_bps[grid] = 1e4 * np.log(panel.price[own])
        at = np.flatnonzero(panel.symbol_index[rows] == symbol)
        yield SymbolPrices(int(symbol), at, (panel.ts_us[rows[at]] - start_us) // panel.bucket_us, log_price_bps)


def _squares_before(panel: Panel, rows: IntArray, window: int) -> tuple[FloatArray, IntArray]:
    """(n,) sum of the last `window` squared one-bucket returns realised by each row, and how many there were."""
    total, count = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    for prices in prices_by_symbol(panel, rows):
        realised_grid, returns = prices.realised(1)
        running = np.concatenate([[0.0], np.cumsum(returns**2)])
        end = prices.realised_before(realised_grid)
        start = np.maximum(end - window, 0)
        total[prices.at], count[prices.at] = running[end] - running[start], end - start
    return total, count


@dataclass(frozen=True, slots=True)
class HarVolatility:
    """Volatility of the coming buckets from that of the last 10, 60, 360 and 1440 (heterogeneous autoregression).

    ln sigma_t = intercept + sum_k coefficient_k ln v_{t,k}, with v_{t,k} the root mean square of the last
    `HAR_WINDOWS[k]` one-bucket returns. Source: Corsi 2009, "A simple approximate long-memory model of realized
    volatility", in logs.
    """

    typical_bps: tuple[float, ...]
    """(S,) root mean square of the training part's one-bucket returns."""
    intercept: float
    coefficients: tuple[float, ...]
    """(K,)"""

    @classmethod
    def fit(cls, panel: Panel, origins: IntArray, output_length: int) -> Self:
        """Ridge regression on training `origins`: the dependent variable is ln of the root mean square of the next H
        one-bucket returns, which must be known. All symbols together. The ridge holds the coefficients near 0 where
        the history is too short to tell its windows apart.
        """
        ahead = origins[:, None] + np.arange(output_length + 1)
        future = np.sqrt(np.mean(np.diff(1e4 * np.log(panel.price[ahead]), axis=1) ** 2, axis=1))
        pooled = max(float(np.sqrt(np.mean(future**2))), _LEAST_BPS)
        typical = []
        for symbol in range(len(panel.symbols)):
            own = future[panel.symbol_index[origins] == symbol]
            typical.append(max(float(np.sqrt(np.mean(own**2))), _LEAST_BPS) if own.any() else pooled)
        unfitted = cls(tuple(typical), 0.0, (0.0,) * len(HAR_WINDOWS))
        floor = _FLOOR * np.array(typical)[panel.symbol_index[origins]]
        terms = unfitted.log_terms(panel, origins, panel.symbol_index)
        wanted = np.log(np.maximum(future, floor))
        centred = terms - terms.mean(axis=0)
        ridge = _RIDGE * output_length * max(float(centred.var(axis=0).mean()), 1e-12)
        inner = centred.T @ centred + ridge * np.eye(len(HAR_WINDOWS))
        coefficients = np.linalg.solve(inner, centred.T @ (wanted - wanted.mean()))
        intercept = float(wanted.mean() - terms.mean(axis=0) @ coefficients)
        return cls(tuple(typical), intercept, tuple(float(x) for x in coefficients))

    def log_terms(self, panel: Panel, rows: IntArray, symbol: IntArray) -> FloatArray:
        """(n, K) ln v_{t,k} at `rows`. `symbol`: position of each row of the panel among the trained symbols."""
        typical = np.array(self.typical_bps)[symbol[rows]]
        terms = np.empty((len(rows), len(HAR_WINDOWS)))
        for k, window in enumerate(HAR_WINDOWS):
            total, count = _squares_before(panel, rows, window)
            missing = np.maximum(_LEAST_RETURNS - count, 0)
            mean = (np.maximum(total, 0.0) + missing * typical**2) / (count + missing)
            terms[:, k] = np.log(np.maximum(np.sqrt(mean), _FLOOR * typical))
        return terms

    def sigma_bps(self, log_terms: FloatArray) -> FloatArray:
        """(n,) forecast of the root mean square of the next one-bucket returns, from `log_terms` (n, K)."""
        forecast = self.intercept + log_terms @ np.array(self.coefficients)
        low, high = log_terms.min(axis=1) - np.log(_REACH), log_terms.max(axis=1) + np.log(_REACH)
        result: FloatArray = np.exp(np.clip(forecast, low, high))
        return result
