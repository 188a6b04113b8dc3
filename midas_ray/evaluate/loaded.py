"""Judging a finished model: on windows after its training end alone."""

import time
from dataclasses import dataclass

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.windows import require_windows, window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.evaluate.figures import moment
from midas_ray.evaluate.folds import FoldResult, count_parameters, fit_baselines, forecast, leave_out_unknown
from midas_ray.evaluate.outcome import FoldRecord, Part
from midas_ray.features.registry import FEATURES
from midas_ray.forecast.forecaster import Forecaster

LEAST_FITTING_WINDOWS = 100
"""Windows before the training end, without which the baselines' constants cannot be fitted."""


@dataclass(frozen=True, slots=True)
class LoadedResult:
    """The forecasts of a finished model, and how many windows were refused."""

    fold: FoldResult
    refused: int


def judge_model(panel: Panel, forecaster: Forecaster, name: str, device: str | None) -> LoadedResult:
    """Forecast every window after the training end of a finished model; `name` is what errors call it.

    The baselines' constants are fitted on the windows whose outcome was known by that moment. Raises DataError for
    features of another kind, TooFewRowsError where all windows are earlier or too few of those are there.
    """
    started = time.monotonic()
    forecaster.check_panel(panel)
    horizons = forecaster.output_length
    origins = window_origins(panel, forecaster.input_length, horizons, forecaster.columns)
    require_windows(panel, origins, forecaster.input_length, horizons, forecaster.columns)
    ts_us, end_us = panel.ts_us[origins], forecaster.fit_end_us
    later, known_by_end = origins[ts_us > end_us], origins[ts_us + horizons * panel.bucket_us <= end_us]
    refused = len(origins) - len(later)
    if not len(later):
        raise TooFewRowsError(
            f"{name}: expected windows after the model's training end {moment(end_us):%Y-%m-%d %H:%M} UTC, found "
            f"{refused} windows, all before it; collect newer data, or leave out --model to walk forward"
        )
    if len(known_by_end) < LEAST_FITTING_WINDOWS:
        raise TooFewRowsError(
            f"{name}: expected {LEAST_FITTING_WINDOWS} windows before the model's training end to fit the baselines "
            f"on, found {len(known_by_end)}; keep the features it was trained on in DATA_DIR"
        )
    baselines = fit_baselines(panel, known_by_end, horizons, forecaster.quantiles)
    judged, without_baseline = leave_out_unknown(forecast(panel, later, forecaster, baselines, 1, device))
    record = FoldRecord(
        number=1,
        train=None,
        validation=None,
        test=Part.of(panel.ts_us[later]),
        columns=forecaster.columns,
        left_out={f.name: "not an input of this model" for f in FEATURES if f.name not in forecaster.columns},
        n_parameters=count_parameters(forecaster),
        epochs=None,
        baseline_window=baselines.window,
        baseline_half_life=baselines.half_life,
        seconds=time.monotonic() - started,
    )
    return LoadedResult(FoldResult(record, judged, without_baseline), refused)
