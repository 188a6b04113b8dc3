"""EWMA volatility: sigma_t sqrt(h) z, with exponentially weighted squared one-bucket returns (RiskMetrics 1996).

z are the quantiles of standardised returns of the fitting parts, about their median. Legend: n origins, H horizons,
Q quantiles.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.volatility import prices_by_symbol
from midas_ray.errors import TooFewRowsError
from midas_ray.forecast.baselines.standard import standard_quantiles
from midas_ray.forecast.baselines.task import Task
from midas_ray.forecast.baselines.trailing import MIN_RETURNS
from midas_ray.forecast.scores import pinball_loss_bps

Float = NDArray[np.float64]
Int = NDArray[np.int64]

HALF_LIVES = (10, 30, 90, 270)
"""Candidates for the half-life, realised one-bucket returns."""
_SIGMA_FLOOR_SHARE = 0.05
_SIGMA_FLOOR_BPS = 1e-3


def ewma_volatility_bps(panel: Panel, origins: Int, half_life: float) -> Float:
    """(n,) square root of the exponentially weighted mean of squared one-bucket returns; may be 0."""
    result = np.full(len(origins), np.nan)
    for symbol in prices_by_symbol(panel, origins):
        realised_grid, returns = symbol.realised(1)
        variance = pl.Series(returns**2).ewm_mean(half_life=half_life, min_samples=MIN_RETURNS)
        result[symbol.at] = symbol.last_known(realised_grid, np.sqrt(variance.to_numpy()))
    return result


@dataclass(frozen=True, slots=True)
class EwmaQuantiles:
    """The baseline with half-life and z chosen on the fitting parts."""

    half_life: int
    sigma_floor_bps: float
    z_HQ: Float

    @classmethod
    def fit(cls, task: Task) -> Self:
        """The half-life of the least mean pinball loss. Raises TooFewRowsError where nothing is realised before."""
        volatility = {h: ewma_volatility_bps(task.panel, task.both, h) for h in HALF_LIVES}
        known = np.isfinite(volatility[HALF_LIVES[0]])
        if not known.any():
            raise TooFewRowsError(
                f"too few rows: expected training windows with {MIN_RETURNS} realised returns before them for the "
                "baselines, found none; collect more"
            )
        actual = task.actual_bps(task.both)[known]
        typical_bps = float(np.sqrt(np.mean(volatility[HALF_LIVES[0]][known] ** 2)))
        floor_bps = max(_SIGMA_FLOOR_SHARE * typical_bps, _SIGMA_FLOOR_BPS)
        losses, z = {}, {}
        for half_life, sigma in volatility.items():
            scale = _scale_nH(sigma[known], floor_bps, task.output_length)
            z[half_life] = standard_quantiles(actual / scale, task.quantiles_Q)
            forecast = scale[:, :, None] * z[half_life]
            losses[half_life] = float(pinball_loss_bps(actual, forecast, task.quantiles_Q).mean())
        best = min(losses, key=lambda half_life: losses[half_life])
        return cls(best, floor_bps, z[best])

    @property
    def note(self) -> str:
        return f"half-life {self.half_life} returns"

    def predict(self, panel: Panel, origins: Int) -> Float:
        """(n, H, Q), bps; NaN where too little is realised."""
        sigma = ewma_volatility_bps(panel, origins, self.half_life)
        result: Float = _scale_nH(sigma, self.sigma_floor_bps, len(self.z_HQ))[:, :, None] * self.z_HQ
        return result


def _scale_nH(sigma_n: Float, floor_bps: float, output_length: int) -> Float:
    result: Float = np.maximum(sigma_n, floor_bps)[:, None] * np.sqrt(np.arange(1, output_length + 1))
    return result
