"""What a forecast must beat: two quantile forecasts without any learning from features.

Both forecast a median return of zero, and both are causal: at origin t they use only returns that have been fully
realised by t, and the few constants are fitted on a training part alone.

(a) trailing: the empirical quantiles of the symbol's last W realised h-bucket returns, about their median.
(b) EWMA volatility: sigma_t sqrt(h) z, with sigma_t from exponentially weighted squared one-bucket returns (as
    RiskMetrics 1996) and z the quantiles, about their median, of standardised returns of the training part.

Legend: n origins, H horizons, Q quantiles. Returns in bps. Observations are counted, not calendar time: a gap in the
data neither ages nor empties a window.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.errors import TooFewRowsError
from midas_ray.forecast.scores import pinball_loss_bps

Float = NDArray[np.float64]
Int = NDArray[np.int64]

WINDOWS = (120, 480, 1440, 10080)
"""Candidates for W, realised returns."""
HALF_LIVES = (10, 30, 90, 270)
"""Candidates for the half-life of (b), realised one-bucket returns."""
MIN_RETURNS = 30
"""Realised returns before either baseline says anything; NaN until then."""
_SIGMA_FLOOR_SHARE = 0.05
_SIGMA_FLOOR_BPS = 1e-3


@dataclass(frozen=True, slots=True)
class _Symbol:
    """Prices of one symbol on a calendar grid, and which origins belong to it."""

    at: Int
    """Positions in the array of origins."""
    origin_grid: Int
    """Grid index of each of these origins."""
    log_price_bps: Float
    """1e4 ln P on the grid; NaN where unknown."""

    def realised(self, horizon: int) -> tuple[Int, Float]:
        """Grid index of the moment of realisation, and the return over the `horizon` buckets that end there."""
        returns = self.log_price_bps[horizon:] - self.log_price_bps[:-horizon]
        known = np.flatnonzero(np.isfinite(returns))
        return known + horizon, returns[known]

    def last_known(self, realised_grid: Int, series: Float) -> Float:
        """Of a series aligned with `realised_grid`, the newest value at each origin; NaN before the first."""
        position = np.searchsorted(realised_grid, self.origin_grid, side="right") - 1
        return np.where(position >= 0, np.append(series, np.nan)[position], np.nan)


def _by_symbol(panel: Panel, origins: Int) -> Iterator[_Symbol]:
    for symbol in np.unique(panel.symbol_index[origins]):
        rows = np.flatnonzero(panel.symbol_index == symbol)
        start_us = panel.ts_us[rows[0]]
        grid = (panel.ts_us[rows] - start_us) // panel.bucket_us
        log_price_bps = np.full(grid[-1] + 1, np.nan)
        log_price_bps[grid] = 1e4 * np.log(panel.price[rows])
        at = np.flatnonzero(panel.symbol_index[origins] == symbol)
        yield _Symbol(at, (panel.ts_us[origins[at]] - start_us) // panel.bucket_us, log_price_bps)


def trailing_quantiles_bps(panel: Panel, origins: Int, output_length: int, quantiles_Q: Float, window: int) -> Float:
    """Baseline (a): (n, H, Q) quantiles of the last `window` realised returns, less their median."""
    result = np.full((len(origins), output_length, len(quantiles_Q)), np.nan)
    for symbol in _by_symbol(panel, origins):
        for horizon in range(1, output_length + 1):
            realised_grid, returns = symbol.realised(horizon)
            series = pl.Series(returns)
            for k, tau in enumerate(np.append(quantiles_Q, 0.5)):
                rolled = series.rolling_quantile(
                    float(tau), "linear", window_size=window, min_samples=MIN_RETURNS
                ).to_numpy()
                known = symbol.last_known(realised_grid, rolled)
                if k < len(quantiles_Q):
                    result[symbol.at, horizon - 1, k] = known
                else:
                    result[symbol.at, horizon - 1] -= known[:, None]
    return result


def ewma_volatility_bps(panel: Panel, origins: Int, half_life: float) -> Float:
    """(n,) square root of the exponentially weighted mean of squared one-bucket returns; may be 0."""
    result = np.full(len(origins), np.nan)
    for symbol in _by_symbol(panel, origins):
        realised_grid, returns = symbol.realised(1)
        variance = pl.Series(returns**2).ewm_mean(half_life=half_life, min_samples=MIN_RETURNS)
        result[symbol.at] = symbol.last_known(realised_grid, np.sqrt(variance.to_numpy()))
    return result


@dataclass(frozen=True, slots=True)
class Baselines:
    """Both baselines with the constants chosen on a training part."""

    quantiles_Q: Float
    window: int
    half_life: int
    sigma_floor_bps: float
    z_HQ: Float
    """Quantiles of standardised returns about their median."""

    @classmethod
    def fit(cls, panel: Panel, origins: Int, actual_nH: Float, quantiles_Q: Float) -> "Baselines":
        """Choose W, the half-life and z on training `origins` with outcomes `actual_nH`, by mean pinball loss.

        Raises TooFewRowsError where no origin has MIN_RETURNS realised returns before it.
        """
        output_length = actual_nH.shape[1]

        def mean_loss(forecast: Float) -> float:
            known = np.isfinite(forecast).all(axis=(1, 2))
            return float(pinball_loss_bps(actual_nH[known], forecast[known], quantiles_Q).mean())

        volatility = {h: ewma_volatility_bps(panel, origins, h) for h in HALF_LIVES}
        known = np.isfinite(volatility[HALF_LIVES[0]])
        if not known.any():
            raise TooFewRowsError(
                f"too few rows: expected training windows with {MIN_RETURNS} realised returns before them for the "
                "baselines, found none; collect more"
            )
        typical_bps = float(np.sqrt(np.mean(volatility[HALF_LIVES[0]][known] ** 2)))
        floor_bps = max(_SIGMA_FLOOR_SHARE * typical_bps, _SIGMA_FLOOR_BPS)
        scale = {h: _scale_nH(sigma, floor_bps, output_length) for h, sigma in volatility.items()}
        z = {h: _standard_quantiles(actual_nH[known] / s[known], quantiles_Q) for h, s in scale.items()}
        half_life = min(HALF_LIVES, key=lambda h: mean_loss(scale[h][:, :, None] * z[h]))
        window = min(
            WINDOWS,
            key=lambda w: mean_loss(trailing_quantiles_bps(panel, origins, output_length, quantiles_Q, w)),
        )
        return cls(quantiles_Q, window, half_life, floor_bps, z[half_life])

    def trailing_bps(self, panel: Panel, origins: Int) -> Float:
        """Baseline (a), (n, H, Q); NaN where too little is realised."""
        return trailing_quantiles_bps(panel, origins, len(self.z_HQ), self.quantiles_Q, self.window)

    def ewma_bps(self, panel: Panel, origins: Int) -> Float:
        """Baseline (b), (n, H, Q); NaN where too little is realised."""
        sigma = ewma_volatility_bps(panel, origins, self.half_life)
        return _scale_nH(sigma, self.sigma_floor_bps, len(self.z_HQ))[:, :, None] * self.z_HQ


def _scale_nH(sigma_n: Float, floor_bps: float, output_length: int) -> Float:
    return np.maximum(sigma_n, floor_bps)[:, None] * np.sqrt(np.arange(1, output_length + 1))


def _standard_quantiles(standard_nH: Float, quantiles_Q: Float) -> Float:
    quantiles = np.quantile(standard_nH, np.append(quantiles_Q, 0.5), axis=0)
    return (quantiles[:-1] - quantiles[-1]).T
