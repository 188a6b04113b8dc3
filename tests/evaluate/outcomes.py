"""Whole outcomes of made-up backtests, for the page and its sentences."""

from dataclasses import replace
from typing import Any

import numpy as np

from midas_ray.dataset.panel import Panel
from midas_ray.evaluate.outcome import Conditions, FinalState, FoldRecord, Outcome, Part, conclude, data_used
from midas_ray.forecast.interpretation import Interpretation
from midas_ray.settings import TradingSettings
from tests.evaluate.markets import forecasts_of, price_panel, random_walk

NAMES = ("tft", "trailing", "ewma", "har", "linear", "lightgbm")
QUANTILES_Q = np.array([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])
Z_Q = np.array([-2.0537, -1.2816, -0.6745, 0.0, 0.6745, 1.2816, 2.0537])
WIDTHS = {"tft": 1.0, "trailing": 1.5, "ewma": 1.2, "har": 1.01, "linear": 1.0, "lightgbm": 0.95}
_DAY_US = 86_400_000_000


def conditions(names: tuple[str, ...], horizon: int, **changes: Any) -> Conditions:
    values: dict[str, Any] = {
        "model": None, "training_end_us": None, "refused": 0, "without_baseline": 3, "input_length": 10,
        "output_length": horizon, "network": {"hidden_dim": 16, "seed": 0}, "forecasters": names, "seeds": 2,
        "cross_validation": "walk-forward", "trading": TradingSettings(fee_bps=1.0, rule="median"), "trials": 4,
        "command": "midas backtest --symbols coin0usdt",
    }  # fmt: skip
    return Conditions(**(values | changes))


def _fold(number: int, ts_us: np.ndarray, names: tuple[str, ...], length: int) -> FoldRecord:
    first, last = int(ts_us.min()), int(ts_us.max())
    start = first - 3 * _DAY_US
    weights = np.linspace(2, 1, length) / np.linspace(2, 1, length).sum()
    return FoldRecord(
        number=number,
        train=Part(1000, start, first - 2 * _DAY_US),
        validation=Part(100, first - _DAY_US, first - _DAY_US // 2),
        calibration=Part(100, first - _DAY_US // 2, first - _DAY_US // 10),
        test=Part(len(ts_us), first, last),
        columns=("ofi", "volume"),
        left_out={"vpin": "absent: the data has none"},
        n_parameters=4321,
        epochs=(3, 5),
        notes={name: f"{name} chose well" for name in names},
        seconds=dict.fromkeys(names, 2.0),
        seed_loss_bps={0: 3.01, 1: 3.05},
        interpretation=Interpretation(
            len(ts_us), {"ofi": 0.7, "volume": 0.3}, {"hour_sin": 0.6, "hour_cos": 0.4}, {"symbol": 1.0}, tuple(weights)
        ),
    )


def outcome_of(
    panel: Panel | None = None,
    names: tuple[str, ...] = NAMES,
    horizon: int = 5,
    drift_bps: float = 0.0,
    final: FinalState | None = None,
    **changes: Any,
) -> Outcome:
    """Forecasts of a random walk, each `WIDTHS` times as wide as the truth; the first one's median is `drift_bps`."""
    panel = price_panel(random_walk(1500, 0)) if panel is None else panel
    truth_HQ = 5 * np.sqrt(np.arange(1, horizon + 1))[:, None] * Z_Q
    said = {name: WIDTHS[name] * truth_HQ + (drift_bps if name == names[0] else 0) for name in names}
    forecasts = forecasts_of(panel, said, horizon, QUANTILES_Q)
    raw = {**forecasts.raw_nHQ, names[0]: 0.8 * forecasts.raw_nHQ[names[0]]}
    fold = 1 + np.arange(len(forecasts.origins)) * 2 // len(forecasts.origins)
    forecasts = replace(forecasts, raw_nHQ=raw, fold=fold)
    folds = [_fold(number, forecasts.ts_us[fold == number], names, 10) for number in (1, 2)]
    state = FinalState(period=None, opened_now=False, earlier=None) if final is None else final
    terms = conditions(names, horizon, **changes)
    return conclude(panel, terms, data_used(panel, "3.0.0+abc"), state, folds, forecasts, [])
