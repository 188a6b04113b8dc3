"""What a forecast must beat: quantile forecasters without a network, each fitted and used like the network.

A forecaster's `predict(panel, origins)` gives (n, H, Q) quantiles of 1e4 ln(P_{t+h}/P_t) in bps; NaN where too little
is known. All are causal: at origin t they read rows up to t alone, and what is fitted is fitted on the parts of `Task`.
"""

from midas_ray.forecast.baselines.task import BASELINES, LEARNED, TFT, Forecasting, Task, fit_baseline
from midas_ray.setting_values import FORECASTERS

__all__ = ["BASELINES", "FORECASTERS", "LEARNED", "TFT", "Forecasting", "Task", "fit_baseline"]
