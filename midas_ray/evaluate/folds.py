"""Walk-forward folds: which windows each trains on and is judged on, and judging one of them. No Ray here."""

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.columns import ColumnChoice, choose_columns
from midas_ray.dataset.panel import Panel
from midas_ray.dataset.splits import Split, walk_forward
from midas_ray.dataset.windows import require_windows, targets_bps, window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.evaluate.judge import EWMA, MODEL, TRAILING, Forecasts
from midas_ray.evaluate.outcome import FoldRecord, Part
from midas_ray.forecast.baselines import Baselines
from midas_ray.settings import NetworkSettings

Float = NDArray[np.float64]
Int = NDArray[np.int64]

QUANTILES = (0.1, 0.5, 0.9)
VALIDATION_SHARE = 0.15


class Fitted(Protocol):
    """What is judged: a trained forecaster (`midas_ray.forecast.forecaster.Forecaster`)."""

    @property
    def weights(self) -> dict[str, Any]:
        """Parameters by name, each with `numel()`."""

    def predict(self, panel: Panel, origins: Int, device: str | None = None) -> Float:
        """(n, H, Q) quantiles, bps."""


Fit = Callable[..., Fitted]
"""`midas_ray.forecast.fitting.fit`, or a stand-in with its signature."""


@dataclass(frozen=True, slots=True)
class FoldPlan:
    """The windows of one fold, and the columns that its training rows allow."""

    number: int
    split: Split
    choice: ColumnChoice


@dataclass(frozen=True, slots=True)
class FoldResult:
    """Out-of-sample forecasts of one fold."""

    record: FoldRecord
    forecasts: Forecasts
    without_baseline: int


def plan_folds(panel: Panel, input_length: int, output_length: int, folds: int) -> list[FoldPlan]:
    """Split by time what the prices allow; each fold then chooses columns on its own training rows alone.

    Raises TooFewRowsError, saying what is needed and what was found.
    """
    by_price = window_origins(panel, input_length, output_length, ())
    require_windows(panel, by_price, input_length, output_length, ())
    needed = (folds + 1) * (math.ceil(output_length / VALIDATION_SHARE) + output_length)
    if len(by_price) < needed:
        raise TooFewRowsError(
            f"too few rows for {folds} folds: expected at least {needed} windows of {input_length} + {output_length} "
            f"buckets, found {len(by_price)}; collect more, or lower --output-length"
        )
    splits = walk_forward(panel, by_price, folds, purge=output_length, validation_share=VALIDATION_SHARE)
    return [
        _plan_fold(panel, number, split, input_length, output_length) for number, split in enumerate(splits, start=1)
    ]


def _plan_fold(panel: Panel, number: int, split: Split, input_length: int, output_length: int) -> FoldPlan:
    training_rows = np.flatnonzero(panel.ts_us <= panel.ts_us[split.train].max())
    choice = choose_columns(panel, training_rows, input_length, output_length)
    usable = window_origins(panel, input_length, output_length, choice.columns)
    parts = [part[np.isin(part, usable)] for part in (split.train, split.validation, split.test)]
    if not all(len(part) for part in parts):
        found = ", ".join(str(len(part)) for part in parts)
        raise TooFewRowsError(
            f"too few rows: expected windows in the training, validation and test part of fold {number}, found {found} "
            "without gap or warm-up; collect more, or lower --input-length"
        )
    return FoldPlan(number, Split(*parts), choice)


def judge_fold(panel: Panel, plan: FoldPlan, network: NetworkSettings, fit: Fit, accelerator: str) -> FoldResult:
    """Train on the fold's training part, stop early on its validation part, forecast its test part."""
    started = time.monotonic()
    split = plan.split
    epochs = 0

    def count(progress: Any) -> None:
        nonlocal epochs
        epochs = max(epochs, progress.epoch)

    with tempfile.TemporaryDirectory(prefix="midas-fold-") as work_dir:
        fitted = fit(
            panel,
            split.train,
            split.validation,
            network,
            Path(work_dir),
            columns=plan.choice.columns,
            quantiles=QUANTILES,
            report=count,
            accelerator=accelerator,
        )
    fitting = np.concatenate([split.train, split.validation])
    baselines = fit_baselines(panel, fitting, network.output_length, QUANTILES)
    forecasts = forecast(panel, split.test, fitted, baselines, plan.number, "cpu" if accelerator == "cpu" else None)
    judged, without_baseline = leave_out_unknown(forecasts)
    record = FoldRecord(
        number=plan.number,
        train=Part.of(panel.ts_us[split.train]),
        validation=Part.of(panel.ts_us[split.validation]),
        test=Part.of(panel.ts_us[split.test]),
        columns=plan.choice.columns,
        left_out=plan.choice.left_out,
        n_parameters=count_parameters(fitted),
        epochs=epochs,
        baseline_window=baselines.window,
        baseline_half_life=baselines.half_life,
        seconds=time.monotonic() - started,
    )
    return FoldResult(record, judged, without_baseline)


def count_parameters(fitted: Fitted) -> int:
    """Trained numbers of a model."""
    return sum(int(weight.numel()) for weight in fitted.weights.values())


def fit_baselines(panel: Panel, origins: Int, output_length: int, quantiles: Sequence[float]) -> Baselines:
    """Baselines with constants from `origins`, in any order."""
    return Baselines.fit(panel, origins, targets_bps(panel, origins, output_length), np.array(quantiles))


def forecast(
    panel: Panel, origins: Int, fitted: Fitted, baselines: Baselines, fold: int, device: str | None
) -> Forecasts:
    """Model and baselines on the same origins. `device` of the model: a GPU where there is one unless given."""
    return Forecasts(
        quantiles_Q=baselines.quantiles_Q,
        origins=origins,
        ts_us=panel.ts_us[origins],
        symbol_index=panel.symbol_index[origins],
        fold=np.full(len(origins), fold, dtype=np.int64),
        actual_nH=targets_bps(panel, origins, len(baselines.z_HQ)),
        forecast_nHQ={
            MODEL: fitted.predict(panel, origins, device),
            TRAILING: baselines.trailing_bps(panel, origins),
            EWMA: baselines.ewma_bps(panel, origins),
        },
    )


def leave_out_unknown(forecasts: Forecasts) -> tuple[Forecasts, int]:
    """Without origins for which a baseline says nothing yet, and how many they are."""
    sums = sum(forecasts.forecast_nHQ[name].sum(axis=(1, 2)) for name in (TRAILING, EWMA))
    known = np.isfinite(np.asarray(sums))
    return (forecasts if known.all() else forecasts.select(known)), int((~known).sum())
