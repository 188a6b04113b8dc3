"""Names of the forecasters, what each is fitted on, and the one function that fits a baseline by its name."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.windows import targets_bps
from midas_ray.setting_values import FORECASTERS

Float = NDArray[np.float64]
Int = NDArray[np.int64]

TFT = "tft"
BASELINES = tuple(name for name in FORECASTERS if name != TFT)
LEARNED = (TFT, "linear", "lightgbm")
"""Those whose quantiles are delivered calibrated: they learn from features, and what they learn may not hold."""


class Forecasting(Protocol):
    """A fitted baseline."""

    @property
    def note(self) -> str:
        """What was chosen in fitting, in a few words."""

    def predict(self, panel: Panel, origins: Int) -> Float:
        """(n, H, Q) quantiles in bps, sorted; NaN where it cannot say anything. Reads no row after an origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a baseline may see, and what it shall forecast."""

    panel: Panel
    train: Int
    """Origins to fit on, sorted by (ts, symbol), purged from `validation`."""
    validation: Int
    """Origins after them: early stopping; baselines without it fit their constants on both parts."""
    columns: tuple[str, ...]
    quantiles: tuple[float, ...]
    input_length: int
    output_length: int
    seed: int
    threads: int = 1

    @property
    def quantiles_Q(self) -> Float:
        return np.array(self.quantiles)

    @property
    def both(self) -> Int:
        """Origins of both parts."""
        return np.concatenate([self.train, self.validation])

    def actual_bps(self, origins: Int) -> Float:
        """(n, H) outcomes."""
        return targets_bps(self.panel, origins, self.output_length)


def fit_baseline(name: str, task: Task) -> Forecasting:
    """Fit the baseline `name`. Raises TooFewRowsError where the parts hold too little for it."""
    if name == "trailing":
        from midas_ray.forecast.baselines.trailing import TrailingQuantiles

        return TrailingQuantiles.fit(task)
    if name == "ewma":
        from midas_ray.forecast.baselines.ewma import EwmaQuantiles

        return EwmaQuantiles.fit(task)
    if name == "har":
        from midas_ray.forecast.baselines.har import HarQuantiles

        return HarQuantiles.fit(task)
    if name == "linear":
        from midas_ray.forecast.baselines.linear import LinearQuantiles

        return LinearQuantiles.fit(task)
    if name == "lightgbm":
        from midas_ray.forecast.baselines.boosted import BoostedQuantiles

        return BoostedQuantiles.fit(task)
    raise ValueError(f"expected one of {', '.join(BASELINES)}, got {name}")
