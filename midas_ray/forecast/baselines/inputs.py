"""The inputs of the learning baselines: the network's own scaled columns, at the origin alone.

Legend: n origins, V inputs, S symbols.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.scaling import CLIP, Normalizer
from midas_ray.forecast.baselines.task import Task

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OriginInputs:
    """Scaled inputs and the unit of the targets, fitted on the training part."""

    normalizer: Normalizer

    @classmethod
    def fit(cls, task: Task) -> Self:
        return cls(Normalizer.fit(task.panel, task.train, task.columns, task.input_length, task.output_length))

    def at(self, panel: Panel, origins: Int) -> Float:
        """(n, V) columns, indicators, volatilities and prices in bps from P, at the origins."""
        rows = self.normalizer.transform(panel)
        symbol = rows.symbol[origins]
        bps = rows.log_prices[origins] - rows.log_reference[origins][:, None]
        prices = [
            np.clip((bps[:, k] - np.array(column.center)[symbol]) / np.array(column.scale)[symbol], -CLIP, CLIP)
            for k, column in enumerate(self.normalizer.price_columns)
        ]
        return np.column_stack([rows.inputs[origins].astype(np.float64), *prices])

    def symbol(self, panel: Panel, origins: Int) -> Int:
        """(n,) position among the trained symbols."""
        return self.normalizer.symbol_positions(panel)[origins]

    def scale_bps(self, panel: Panel, origins: Int) -> Float:
        """(n, H) unit of the targets."""
        return self.normalizer.target_scale_bps(panel, origins)
