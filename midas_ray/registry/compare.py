"""Two models on the same rows, which neither of them has seen."""

from dataclasses import dataclass

import numpy as np

from midas_ray.dataset.final_period import FinalPeriod
from midas_ray.dataset.panel import Panel
from midas_ray.dataset.windows import targets_bps, window_origins
from midas_ray.errors import DataError, TooFewRowsError
from midas_ray.evaluate.judge import Forecasts, Scores, score
from midas_ray.forecast.forecaster import Forecaster


@dataclass(frozen=True, slots=True)
class Comparison:
    """The first model judged against the second, as each delivers."""

    names: tuple[str, str]
    scores: Scores
    first_us: int
    last_us: int


def compare(panel: Panel, models: dict[str, Forecaster], final: FinalPeriod | None) -> Comparison:
    """Judge the first model against the second on the windows after both training ends, before the final period.

    Raises DataError where their horizons or quantiles differ, TooFewRowsError where no such window is there.
    """
    (first, one), (second, two) = models.items()
    for what, ours, theirs in (
        ("horizons", one.output_length, two.output_length),
        ("quantiles", one.quantiles, two.quantiles),
    ):
        if ours != theirs:
            raise DataError(f"{first} and {second} differ in {what}: expected one, found {ours} and {theirs}")
    end_us = max(one.fit_end_us, two.fit_end_us)
    own = [window_origins(panel, each.input_length, each.output_length, each.columns) for each in models.values()]
    origins = own[0][np.isin(own[0], own[1]) & (panel.ts_us[own[0]] > end_us)]
    if final is not None:
        origins = final.before(panel, origins, one.output_length)
    if not len(origins):
        end = np.datetime64(end_us, "us").astype("datetime64[s]")
        raise TooFewRowsError(
            f"{first}, {second}: expected windows after both training ends, {end} UTC, and before the final period, "
            "found none; collect newer data"
        )
    said = {name: each.predict(panel, origins).astype(np.float32) for name, each in models.items()}
    forecasts = Forecasts(
        judged=first,
        quantiles_Q=np.array(one.quantiles),
        origins=origins,
        ts_us=panel.ts_us[origins],
        symbol_index=panel.symbol_index[origins],
        fold=np.ones(len(origins), dtype=np.int64),
        regime=np.zeros(len(origins), dtype=np.int64),
        actual_nH=targets_bps(panel, origins, one.output_length),
        raw_nHQ=said,
        calibrated_nHQ=said,
        adaptive_nHQ={},
    )
    return Comparison(
        (first, second), score(forecasts, every_form=False), int(panel.ts_us[origins[0]]), int(panel.ts_us[origins[-1]])
    )
