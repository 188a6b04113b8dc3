"""HAR volatility: the forecast volatility of `dataset.volatility` times quantiles of standardised returns, about zero.

What the untrained network says too. Legend: n origins, H horizons, Q quantiles.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.volatility import HarVolatility
from midas_ray.forecast.baselines.standard import standard_quantiles
from midas_ray.forecast.baselines.task import Task

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HarQuantiles:
    """The baseline with regression and z fitted on the fitting parts."""

    symbols: tuple[str, ...]
    volatility: HarVolatility
    z_HQ: Float

    @classmethod
    def fit(cls, task: Task) -> Self:
        """Fit on both parts."""
        volatility = HarVolatility.fit(task.panel, task.both, task.output_length)
        sigma = volatility.sigma_bps(volatility.log_terms(task.panel, task.both, task.panel.symbol_index))
        z = standard_quantiles(task.actual_bps(task.both) / sigma[:, None], task.quantiles_Q)
        return cls(task.panel.symbols, volatility, z)

    @property
    def note(self) -> str:
        return "weights " + ", ".join(f"{x:.2f}" for x in self.volatility.coefficients)

    def predict(self, panel: Panel, origins: Int) -> Float:
        """(n, H, Q), bps."""
        symbol = np.array([self.symbols.index(name) for name in panel.symbols])[panel.symbol_index]
        sigma = self.volatility.sigma_bps(self.volatility.log_terms(panel, origins, symbol))
        result: Float = sigma[:, None, None] * self.z_HQ
        return result
