"""Zero return with trailing quantiles: those of the symbol's last W realised h-bucket returns, about their median.

Legend: n origins, H horizons, Q quantiles. Observations are counted, not calendar time: a gap in the data neither ages
nor empties a window.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.volatility import prices_by_symbol
from midas_ray.errors import TooFewRowsError
from midas_ray.forecast.baselines.task import Task
from midas_ray.forecast.scores import pinball_loss_bps

Float = NDArray[np.float64]
Int = NDArray[np.int64]

WINDOWS = (120, 480, 1440, 10080)
"""Candidates for W, realised returns."""
MIN_RETURNS = 30
"""Realised returns before anything is said; NaN until then."""


def trailing_quantiles_bps(panel: Panel, origins: Int, output_length: int, quantiles_Q: Float, window: int) -> Float:
    """(n, H, Q) quantiles of the last `window` realised returns, less their median."""
    result = np.full((len(origins), output_length, len(quantiles_Q)), np.nan)
    for symbol in prices_by_symbol(panel, origins):
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


@dataclass(frozen=True, slots=True)
class TrailingQuantiles:
    """The baseline with the window chosen on the fitting parts."""

    quantiles_Q: Float
    output_length: int
    window: int

    @classmethod
    def fit(cls, task: Task) -> Self:
        """The W of the least mean pinball loss. Raises TooFewRowsError where no origin has MIN_RETURNS before it."""
        actual = task.actual_bps(task.both)
        losses = {}
        for window in WINDOWS:
            forecast = trailing_quantiles_bps(task.panel, task.both, task.output_length, task.quantiles_Q, window)
            known = np.isfinite(forecast).all(axis=(1, 2))
            if not known.any():
                raise TooFewRowsError(
                    f"too few rows: expected training windows with {MIN_RETURNS} realised returns before them for the "
                    "baselines, found none; collect more"
                )
            losses[window] = float(pinball_loss_bps(actual[known], forecast[known], task.quantiles_Q).mean())
        return cls(task.quantiles_Q, task.output_length, min(losses, key=lambda window: losses[window]))

    @property
    def note(self) -> str:
        return f"last {self.window} returns"

    def predict(self, panel: Panel, origins: Int) -> Float:
        """(n, H, Q), bps; NaN where too little is realised."""
        return trailing_quantiles_bps(panel, origins, self.output_length, self.quantiles_Q, self.window)
