"""What a freshly trained model is worth on its own validation and test parts, beside a baseline that learns nothing.

Legend: w windows, H horizons, Q quantiles. Losses in bps of the price at the origin.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from midas_ray.dataset.panel import FloatArray, IntArray, Panel
from midas_ray.dataset.windows import targets_bps
from midas_ray.forecast.baselines.trailing import trailing_quantiles_bps
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.forecast.scores import inside, pinball_loss_bps, reported

BASELINE_WINDOW = 1440
"""Realised returns whose empirical quantiles, about zero, are the baseline."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A part of the data, what happened in it and what was forecast."""

    origins: IntArray
    actual_wH: FloatArray
    model_wHQ: FloatArray
    """As delivered: calibrated."""
    raw_wHQ: FloatArray
    baseline_wHQ: FloatArray
    """NaN where too little had been realised."""
    quantiles: tuple[float, ...]

    @classmethod
    def of(cls, forecaster: Forecaster, panel: Panel, origins: IntArray) -> "Judgement":
        horizons, quantiles = forecaster.output_length, np.array(forecaster.quantiles)
        raw = forecaster.predict_raw(panel, origins)
        return cls(
            origins=origins,
            actual_wH=targets_bps(panel, origins, horizons),
            model_wHQ=raw if forecaster.calibration is None else forecaster.calibration.apply(raw),
            raw_wHQ=raw,
            baseline_wHQ=trailing_quantiles_bps(panel, origins, horizons, quantiles, BASELINE_WINDOW),
            quantiles=forecaster.quantiles,
        )

    def _coverage(self, forecast_wHQ: FloatArray) -> float:
        """Share of outcomes from P10 to P90."""
        low, _, high = reported(self.quantiles)
        return float(inside(self.actual_wH, forecast_wHQ[:, :, [low, high]]).mean())

    def metrics(self, panel: Panel) -> dict[str, Any]:
        """For metrics.json: pinball losses [horizon][quantile] where both forecast; share from P10 to P90."""
        both = np.isfinite(self.baseline_wHQ).all(axis=(1, 2))
        ts_us = panel.ts_us[self.origins]
        found: dict[str, Any] = {
            "first_origin": iso(ts_us.min()),
            "last_origin": iso(ts_us.max()),
            "windows": len(self.origins),
            "windows_scored": int(both.sum()),
            "coverage": self._coverage(self.model_wHQ),
            "coverage_raw": self._coverage(self.raw_wHQ),
        }
        if both.any():
            losses = {
                name: pinball_loss_bps(self.actual_wH[both], forecast[both], np.array(self.quantiles)).mean(axis=0)
                for name, forecast in (
                    ("model", self.model_wHQ),
                    ("model_raw", self.raw_wHQ),
                    ("baseline", self.baseline_wHQ),
                )
            }
            means = {name: float(loss.mean()) for name, loss in losses.items()}
            found["pinball_bps"] = {name: loss.tolist() for name, loss in losses.items()}
            found["mean_pinball_bps"] = means
            found["skill"] = 1 - means["model"] / means["baseline"] if means["baseline"] > 0 else None
        return found

    def predictions(self, panel: Panel) -> pa.Table:
        """Long table: ts and symbol of the origin, horizon, quantile, its value in bps and as a price, the outcome."""
        windows, horizons, quantiles = self.model_wHQ.shape
        price = panel.price[self.origins][:, None, None] * np.exp(self.model_wHQ / 1e4)
        each = horizons * quantiles
        symbols = np.array(panel.symbols, dtype=object)[panel.symbol_index[self.origins]]
        return pa.table(
            {
                "ts": pa.array(np.repeat(panel.ts_us[self.origins], each), pa.timestamp("us", tz="UTC")),
                "symbol": pa.array(np.repeat(symbols, each), pa.string()),
                "horizon": pa.array(np.tile(np.repeat(np.arange(1, horizons + 1), quantiles), windows), pa.int32()),
                "quantile": pa.array(np.tile(self.quantiles, windows * horizons)),
                "value_bps": pa.array(self.model_wHQ.ravel()),
                "raw_bps": pa.array(self.raw_wHQ.ravel()),
                "price": pa.array(price.ravel()),
                "actual_bps": pa.array(np.repeat(self.actual_wH.ravel(), quantiles)),
            }
        )


def iso(ts_us: int) -> str:
    return f"{np.datetime64(int(ts_us), 'us')}Z"
