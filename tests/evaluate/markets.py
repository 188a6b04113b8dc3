"""Made-up markets whose right answer is known, and a small learner that stands in for the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.windows import targets_bps, window_origins
from midas_ray.evaluate.judge import Forecasts
from midas_ray.features.registry import POSITION
from midas_ray.forecast.interpretation import Interpretation
from midas_ray.settings import NetworkSettings
from tests.dataset.synthetic import BUCKET_US, START_US, rebuilt, synthetic_panel

Float = NDArray[np.float64]
Int = NDArray[np.int64]
QUANTILES_Q = np.array([0.1, 0.5, 0.9])


def forecasts_of(
    panel: Panel, by_name: dict[str, Float], horizon: int = 10, quantiles_Q: Float = QUANTILES_Q, **changes: Any
) -> Forecasts:
    """Every forecaster says the same (H, Q), or its own (n, H, Q), at all origins, in all forms; judged: the first."""
    origins = window_origins(panel, 10, horizon, ())
    shape = (len(origins), horizon, len(quantiles_Q))
    said = {name: np.broadcast_to(forecast, shape).astype(np.float32) for name, forecast in by_name.items()}
    judged = next(iter(said))
    values: dict[str, Any] = {
        "judged": judged,
        "quantiles_Q": quantiles_Q,
        "origins": origins,
        "ts_us": panel.ts_us[origins],
        "symbol_index": panel.symbol_index[origins],
        "fold": np.ones(len(origins), dtype=np.int64),
        "regime": np.arange(len(origins)) // 100 % 3,
        "actual_nH": targets_bps(panel, origins, horizon),
        "raw_nHQ": said,
        "calibrated_nHQ": said,
        "adaptive_nHQ": {judged: said[judged]},
    }
    return Forecasts(**(values | changes))


def price_panel(
    price: Float, spread_bps: float = 2.0, book: bool = True, symbols: int = 1, ts_us: Int | None = None
) -> Panel:
    """A panel with prices and quotes and no feature that matters; `price` holds the symbols one after the other."""
    rows = len(price) // symbols
    half = price * spread_bps / 2e4
    nothing = np.full(len(price), np.nan)
    return Panel(
        venue="binance-futures",
        symbols=tuple(f"coin{k}usdt" for k in range(symbols)),
        symbol_index=np.repeat(np.arange(symbols), rows),
        ts_us=np.tile(START_US + BUCKET_US * np.arange(1, rows + 1), symbols) if ts_us is None else ts_us,
        values=np.zeros((len(price), 1)),
        kinds=np.zeros((len(price), 1), dtype=np.uint8),
        price=price,
        bid=price - half if book else nothing,
        ask=price + half if book else nothing,
        feature_names=("nothing",),
        bucket_ms=60_000,
        price_source="midprice" if book else "close",
    )


def random_walk(rows: int, seed: int, sd_bps: float | Float = 5.0) -> Float:
    """Prices around 100 whose returns are independent."""
    rng = np.random.default_rng(seed)
    return 100 * np.exp(np.cumsum(sd_bps * 1e-4 * rng.standard_normal(rows)))


def signal_panel(rows: int, strength_bps: float, seed: int = 0) -> Panel:
    """All 72 columns; `ofi` holds a persistent signal that moves the next bucket's price by `strength_bps` a unit."""
    rng = np.random.default_rng(seed)
    signal = np.zeros(rows)
    for row in range(1, rows):
        signal[row] = 0.9 * signal[row - 1] + np.sqrt(1 - 0.81) * rng.standard_normal()
    returns_bps = 5 * rng.standard_normal(rows)
    returns_bps[1:] += strength_bps * signal[:-1]
    panel = synthetic_panel(rows, seed=seed)
    values = panel.values.copy()
    values[:, POSITION["midprice"]] = 100 * np.exp(np.cumsum(returns_bps) * 1e-4)
    values[:, POSITION["ofi"]] = signal
    values[:, POSITION["funding_rate"]] = 0.0
    return rebuilt(panel, values)


@dataclass(frozen=True, slots=True)
class Size:
    """Stands in for a tensor."""

    count: int

    def numel(self) -> int:
        return self.count


@dataclass(frozen=True, slots=True)
class Progress:
    epoch: int


@dataclass(frozen=True, slots=True)
class Linear:
    """Least squares on `ofi` at the origin, with the quantiles of its training residuals."""

    slope_H: Float
    quantiles_HQ: Float

    @property
    def weights(self) -> dict[str, Any]:
        return {"slope": Size(self.slope_H.size), "quantiles": Size(self.quantiles_HQ.size)}

    def predict(self, panel: Panel, origins: Int, device: str | None = None) -> Float:  # noqa: ARG002
        x = panel.column("ofi")[origins]
        return x[:, None, None] * self.slope_H[:, None] + self.quantiles_HQ

    def interpret(self, panel: Panel, origins: Int, device: str | None = None) -> Interpretation:  # noqa: ARG002
        return Interpretation(
            len(origins), {"ofi": 0.9, "volume": 0.1}, {"hour_sin": 1.0}, {"symbol": 1.0}, (0.1,) * 10
        )


def fit_linear(
    panel: Panel,
    train: Int,
    validation: Int,
    network: NetworkSettings,
    work_dir: Path,
    *,
    columns: Sequence[str],
    quantiles: tuple[float, ...],
    report: Any,
    accelerator: str,
) -> Linear:
    """The signature of `midas_ray.forecast.fitting.fit`."""
    assert len(validation)
    assert work_dir.is_dir()
    assert accelerator == "cpu"
    assert "ofi" in columns
    report(Progress(epoch=1))
    x = panel.column("ofi")[train]
    y = targets_bps(panel, train, network.output_length)
    slope = (x @ y) / (x @ x)
    return Linear(slope, np.quantile(y - x[:, None] * slope, quantiles, axis=0).T)
