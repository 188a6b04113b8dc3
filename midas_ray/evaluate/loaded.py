"""Judging a finished model: on windows after its training end alone."""

import time
from dataclasses import dataclass

import numpy as np

from midas_ray.dataset.columns import ColumnChoice
from midas_ray.dataset.final_period import FinalPeriod
from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.dataset.splits import Split, time_split
from midas_ray.dataset.windows import require_windows, window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.evaluate.folds import FittedForecasts, FoldPlan, count_parameters
from midas_ray.features.registry import FEATURES
from midas_ray.forecast.baselines import TFT
from midas_ray.forecast.forecaster import Forecaster

LEAST_FITTING_WINDOWS = 100
"""Windows before the training end, without which the baselines' constants cannot be fitted."""


@dataclass(frozen=True, slots=True)
class LoadedPlan:
    """What the baselines are fitted on and the model is judged on, and how many windows were refused."""

    plan: FoldPlan
    refused: int


def plan_model(
    panel: Panel, forecaster: Forecaster, name: str, final: FinalPeriod | None, open_final: bool
) -> LoadedPlan:
    """Every window after the training end of a finished model, before the final period or, opened, within it.

    The baselines are fitted on the windows whose outcome was known by the training end. `name` is what errors call the
    model. Raises DataError for features of another kind, TooFewRowsError where all windows are earlier or too few of
    those are there.
    """
    forecaster.check_panel(panel)
    horizons = forecaster.output_length
    origins = window_origins(panel, forecaster.input_length, horizons, forecaster.columns)
    require_windows(panel, origins, forecaster.input_length, horizons, forecaster.columns)
    ts_us, end_us = panel.ts_us[origins], forecaster.fit_end_us
    later, known_by_end = origins[ts_us > end_us], origins[ts_us + horizons * panel.bucket_us <= end_us]
    refused = len(origins) - len(later)
    judged = later
    if final is not None:
        judged = final.inside(panel, later) if open_final else final.before(panel, later, horizons)
    if not len(judged):
        raise TooFewRowsError(_nothing_left(name, end_us, refused, len(later)))
    if len(known_by_end) < LEAST_FITTING_WINDOWS:
        raise TooFewRowsError(
            f"{name}: expected {LEAST_FITTING_WINDOWS} windows before the model's training end to fit the baselines "
            f"on, found {len(known_by_end)}; keep the features it was trained on in DATA_DIR"
        )
    left_out = {f.name: "not an input of this model" for f in FEATURES if f.name not in forecaster.columns}
    split = _fitting_split(panel, known_by_end, judged, horizons)
    return LoadedPlan(FoldPlan(1, split, ColumnChoice(forecaster.columns, left_out)), refused)


def _nothing_left(name: str, end_us: int, refused: int, later: int) -> str:
    end = np.datetime64(end_us, "us").astype("datetime64[m]").item()
    if later:
        return (
            f"{name}: expected windows between the model's training end {end:%Y-%m-%d %H:%M} UTC and the final period, "
            f"found none: {later} later ones lie in it; give --final-share 0, or --open-final to judge on it once"
        )
    return (
        f"{name}: expected windows after the model's training end {end:%Y-%m-%d %H:%M} UTC, found "
        f"{refused} windows, all before it; collect newer data, or leave out --model to walk forward"
    )


def _fitting_split(panel: Panel, known: IntArray, judged: IntArray, horizons: int) -> Split:
    span = panel.ts_us[known].max() - panel.ts_us[known].min() + panel.bucket_us
    parts = time_split(panel, known, 0.1, panel.bucket_us / span, horizons, calibration_share=0.15)
    return Split(parts.train, parts.validation, parts.calibration, judged)


def forecast_with(panel: Panel, forecaster: Forecaster, plan: FoldPlan, device: str | None) -> FittedForecasts:
    """The model's raw forecasts of the plan's calibration and test part."""
    started = time.monotonic()
    split = plan.split
    origins = np.concatenate([split.calibration, split.test])
    forecast = forecaster.predict_raw(panel, origins, device).astype(np.float32)
    parameters = count_parameters(forecaster)
    return FittedForecasts(
        fold=plan.number,
        name=TFT,
        seed=0,
        calibration_nHQ=forecast[: len(split.calibration)],
        test_nHQ=forecast[len(split.calibration) :],
        seconds=time.monotonic() - started,
        note=f"{parameters:,} parameters, loaded",
        epochs=None,
        n_parameters=parameters,
        interpretation=forecaster.interpret(panel, split.test, device),
        conformal=forecaster.calibration,
    )
