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
from midas_ray.dataset.final_period import FinalPeriod, require_before
from midas_ray.dataset.panel import Panel
from midas_ray.dataset.splits import Split, time_split, walk_forward
from midas_ray.dataset.volatility import HarVolatility
from midas_ray.dataset.windows import require_windows, targets_bps, window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.evaluate.judge import REGIMES, Forecasts, delivered_form
from midas_ray.evaluate.outcome import FoldRecord, Part
from midas_ray.forecast.baselines import TFT, Task, fit_baseline
from midas_ray.forecast.conformal import Conformal, adapt, independent_windows
from midas_ray.forecast.interpretation import Interpretation
from midas_ray.forecast.scores import pinball_loss_bps
from midas_ray.settings import NetworkSettings

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int = NDArray[np.int64]

VALIDATION_SHARE = 0.1
CALIBRATION_SHARE = 0.15
PART_TITLES = {"train": "training", "validation": "validation", "calibration": "calibration", "test": "test"}


class Fitted(Protocol):
    """What is judged: a trained forecaster (`midas_ray.forecast.forecaster.Forecaster`)."""

    @property
    def weights(self) -> dict[str, Any]:
        """Parameters by name, each with `numel()`."""

    def predict(self, panel: Panel, origins: Int, device: str | None = None) -> Float:
        """(n, H, Q) quantiles, bps."""

    def interpret(self, panel: Panel, origins: Int, device: str | None = None) -> Interpretation:
        """What the forecasts of these origins were made from."""


Fit = Callable[..., Fitted]
"""`midas_ray.forecast.fitting.fit`, or a stand-in with its signature."""


@dataclass(frozen=True, slots=True)
class FoldPlan:
    """The windows of one fold, and the columns that its training rows allow."""

    number: int
    split: Split
    choice: ColumnChoice


@dataclass(frozen=True, slots=True)
class FittedForecasts:
    """What one forecaster, fitted in one fold with one seed, says about its calibration and test part."""

    fold: int
    name: str
    seed: int
    calibration_nHQ: Float32
    test_nHQ: Float32
    seconds: float
    note: str
    """What was chosen in fitting."""
    epochs: int | None
    n_parameters: int | None
    interpretation: Interpretation | None
    """What the network looked at in the test part."""
    conformal: Conformal | None = None
    """The calibration that a finished model brings; None = to be fitted on the calibration part."""


@dataclass(frozen=True, slots=True)
class FoldResult:
    """Out-of-sample forecasts of one fold, by all forecasters."""

    record: FoldRecord
    forecasts: Forecasts
    without_baseline: int


def plan_folds(
    panel: Panel, input_length: int, output_length: int, folds: int, final: FinalPeriod | None = None
) -> list[FoldPlan]:
    """Split by time what the prices allow before the final period; each fold then chooses columns on its own training
    rows alone.

    Raises TooFewRowsError, saying what is needed and what was found.
    """
    by_price = _origins_by_price(panel, input_length, output_length, final)
    least_part = math.ceil(output_length / VALIDATION_SHARE)
    needed = (folds + 1) * (least_part + output_length)
    if len(by_price) < needed:
        raise TooFewRowsError(
            f"too few rows for {folds} folds: expected at least {needed} windows of {input_length} + {output_length} "
            f"buckets, found {len(by_price)}; collect more, or lower --output-length"
        )
    splits = walk_forward(panel, by_price, folds, output_length, VALIDATION_SHARE, CALIBRATION_SHARE)
    return [
        plan_fold(panel, number, split, input_length, output_length) for number, split in enumerate(splits, start=1)
    ]


def plan_final(panel: Panel, input_length: int, output_length: int, final: FinalPeriod) -> FoldPlan:
    """One fold that trains on everything before the final period and is judged on that."""
    before = _origins_by_price(panel, input_length, output_length, final)
    inside = final.inside(panel, window_origins(panel, input_length, output_length, ()))
    if not len(inside):
        raise TooFewRowsError("too few rows: expected windows in the final period, found none; raise --final-share")
    # The share of the test part is a dummy of one bucket that the final period takes the place of.
    span = panel.ts_us[before].max() - panel.ts_us[before].min() + panel.bucket_us
    parts = time_split(
        panel, before, VALIDATION_SHARE, panel.bucket_us / span, output_length, calibration_share=CALIBRATION_SHARE
    )
    return plan_fold(
        panel, 1, Split(parts.train, parts.validation, parts.calibration, inside), input_length, output_length
    )


def _origins_by_price(panel: Panel, input_length: int, output_length: int, final: FinalPeriod | None) -> Int:
    by_price = window_origins(panel, input_length, output_length, ())
    require_windows(panel, by_price, input_length, output_length, ())
    if final is not None:
        by_price = final.before(panel, by_price, output_length)
        require_before(by_price)
    return by_price


def plan_fold(panel: Panel, number: int, split: Split, input_length: int, output_length: int) -> FoldPlan:
    """Choose columns on the rows that the training part spans, and leave only windows that these allow.

    Raises TooFewRowsError where a part has none left.
    """
    choice = choose_columns(panel, _training_rows(panel, split), input_length, output_length)
    usable = window_origins(panel, input_length, output_length, choice.columns)
    parts = {name: part[np.isin(part, usable)] for name, part in zip(PART_TITLES, _parts(split), strict=True)}
    for name, part in parts.items():
        if not len(part):
            raise TooFewRowsError(
                f"too few rows: expected windows in the {PART_TITLES[name]} part of fold {number}, found none of "
                f"{len(getattr(split, name))} without gap or warm-up; collect more, or lower --input-length"
            )
    return FoldPlan(number, Split(**parts), choice)


def _training_rows(panel: Panel, split: Split) -> Int:
    """Rows between the first and last training origin, without those between a training and a test origin: training
    windows may lie on both sides of a test group.
    """
    train, test = np.unique(panel.ts_us[split.train]), np.unique(panel.ts_us[split.test])
    inside = (panel.ts_us >= train[0]) & (panel.ts_us <= train[-1])
    before = train[np.maximum(np.searchsorted(train, panel.ts_us, side="right") - 1, 0)]
    after = train[np.minimum(np.searchsorted(train, panel.ts_us), len(train) - 1)]
    return np.flatnonzero(inside & (np.searchsorted(test, before) == np.searchsorted(test, after)))


def _parts(split: Split) -> tuple[Int, Int, Int, Int]:
    return split.train, split.validation, split.calibration, split.test


def fit_and_forecast(
    panel: Panel, plan: FoldPlan, name: str, seed: int, network: NetworkSettings, fit: Fit, accelerator: str
) -> FittedForecasts:
    """Fit one forecaster on the fold's training part, with its validation part; forecast calibration and test part."""
    started = time.monotonic()
    split = plan.split
    origins = np.concatenate([split.calibration, split.test])
    epochs = parameters = interpretation = None
    if name == TFT:
        seeded = network.model_copy(update={"seed": seed})
        device = "cpu" if accelerator == "cpu" else None
        fitted, epochs = _fit_network(panel, plan, seeded, fit, accelerator)
        parameters = count_parameters(fitted)
        forecast = fitted.predict(panel, origins, device)
        interpretation = fitted.interpret(panel, split.test, device)
        note = f"{parameters:,} parameters, best of {epochs} epochs"
    else:
        baseline = fit_baseline(name, _task(panel, plan, network, seed))
        forecast = baseline.predict(panel, origins)
        note = baseline.note
    said = forecast.astype(np.float32)
    return FittedForecasts(
        fold=plan.number,
        name=name,
        seed=seed,
        calibration_nHQ=said[: len(split.calibration)],
        test_nHQ=said[len(split.calibration) :],
        seconds=time.monotonic() - started,
        note=note,
        epochs=epochs,
        n_parameters=parameters,
        interpretation=interpretation,
    )


def _task(panel: Panel, plan: FoldPlan, network: NetworkSettings, seed: int) -> Task:
    return Task(
        panel=panel,
        train=plan.split.train,  # --stride spares the network's time: what it must beat sees everything
        validation=plan.split.validation,
        columns=plan.choice.columns,
        quantiles=network.quantiles,
        input_length=network.input_length,
        output_length=network.output_length,
        seed=seed,
    )


def _fit_network(
    panel: Panel, plan: FoldPlan, network: NetworkSettings, fit: Fit, accelerator: str
) -> tuple[Fitted, int]:
    epochs = 0

    def count(progress: Any) -> None:
        nonlocal epochs
        epochs = max(epochs, progress.epoch)

    with tempfile.TemporaryDirectory(prefix="midas-fold-") as work_dir:
        fitted = fit(
            panel,
            plan.split.train,
            plan.split.validation,
            network,
            Path(work_dir),
            columns=plan.choice.columns,
            quantiles=network.quantiles,
            report=count,
            accelerator=accelerator,
        )
    return fitted, epochs


def count_parameters(fitted: Fitted) -> int:
    """Trained numbers of a model."""
    return sum(int(weight.numel()) for weight in fitted.weights.values())


def assemble(
    panel: Panel, plan: FoldPlan, results: Sequence[FittedForecasts], quantiles: tuple[float, ...]
) -> FoldResult:
    """Put the forecasters of one fold side by side, calibrated on its calibration part.

    The first name is the judged one; several seeds of it become the mean of their quantiles. Test origins at which any
    forecaster cannot say anything are left out of all, and counted.
    """
    names = list(dict.fromkeys(result.name for result in results))
    split = plan.split
    horizon = results[0].test_nHQ.shape[1]
    actual = {name: targets_bps(panel, getattr(split, name), horizon) for name in ("calibration", "test")}
    raw = {name: _mean_of_seeds([r.test_nHQ for r in results if r.name == name]) for name in names}
    fitted_on = {name: _mean_of_seeds([r.calibration_nHQ for r in results if r.name == name]) for name in names}
    brought = {result.name: result.conformal for result in results}
    conformal = {
        name: brought[name] or _conformal(panel, split.calibration, actual["calibration"], fitted_on[name], quantiles)
        for name in names
    }
    judged = names[0]
    known = np.isfinite(np.sum([forecast.sum(axis=(1, 2)) for forecast in raw.values()], axis=0))
    if not known.any():
        raise TooFewRowsError(
            f"too few rows: expected test windows in fold {plan.number} with enough realised returns before them for "
            "the baselines, found none; collect more"
        )
    origins = split.test
    adaptive = adapt(
        conformal[judged], panel.ts_us[origins], panel.bucket_us, panel.symbol_index[origins], actual["test"],
        raw[judged].astype(np.float64),
    )  # fmt: skip
    forecasts = Forecasts(
        judged=judged,
        quantiles_Q=np.array(quantiles),
        origins=origins,
        ts_us=panel.ts_us[origins],
        symbol_index=panel.symbol_index[origins],
        fold=np.full(len(origins), plan.number, dtype=np.int64),
        regime=_regimes(panel, split.train, origins, horizon),
        actual_nH=actual["test"],
        raw_nHQ=raw,
        calibrated_nHQ={name: conformal[name].apply(raw[name].astype(np.float64)).astype(np.float32) for name in names},
        adaptive_nHQ={judged: adaptive.astype(np.float32)},
    )
    judged_results = [result for result in results if result.name == judged]
    record = FoldRecord(
        number=plan.number,
        train=Part.of(panel.ts_us[split.train]),
        validation=Part.of(panel.ts_us[split.validation]),
        calibration=Part.of(panel.ts_us[split.calibration]),
        test=Part.of(panel.ts_us[split.test]),
        columns=plan.choice.columns,
        left_out=plan.choice.left_out,
        n_parameters=judged_results[0].n_parameters,
        epochs=tuple(r.epochs for r in judged_results if r.epochs is not None),
        notes={result.name: result.note for result in results},
        seconds={name: sum(r.seconds for r in results if r.name == name) for name in names},
        seed_loss_bps=_seed_losses(
            judged_results,
            actual["test"],
            quantiles,
            known,
            lambda raw: _conformal(panel, split.calibration, actual["calibration"], raw, quantiles),
        ),
        interpretation=judged_results[0].interpretation,
    )
    return FoldResult(record, forecasts if known.all() else forecasts.select(known), int((~known).sum()))


def _mean_of_seeds(forecasts: list[Float32]) -> Float32:
    return np.sort(np.mean(forecasts, axis=0, dtype=np.float64), axis=2).astype(np.float32)


def _conformal(
    panel: Panel, origins: Int, actual_nH: Float, raw_nHQ: Float32, quantiles: tuple[float, ...]
) -> Conformal:
    known = np.isfinite(raw_nHQ).all(axis=(1, 2))
    independent = independent_windows(panel.ts_us[origins[known]], panel.bucket_us, actual_nH.shape[1])
    return Conformal.fit(actual_nH[known], raw_nHQ[known].astype(np.float64), quantiles, independent)


def _regimes(panel: Panel, train: Int, origins: Int, horizon: int) -> Int:
    """(n,) third of the training part's HAR volatility that each origin's falls into."""
    volatility = HarVolatility.fit(panel, train, horizon)

    def sigma(rows: Int) -> Float:
        return (
            volatility.sigma_bps(volatility.log_terms(panel, rows, panel.symbol_index))
            / np.array(volatility.typical_bps)[panel.symbol_index[rows]]
        )

    thresholds = np.quantile(sigma(train), np.arange(1, len(REGIMES)) / len(REGIMES))
    return np.searchsorted(thresholds, sigma(origins), side="right")


def _seed_losses(
    results: list[FittedForecasts],
    actual_nH: Float,
    quantiles: tuple[float, ...],
    known: NDArray[np.bool_],
    conformal_of: Callable[[Float32], Conformal],
) -> dict[int, float]:
    """Mean pinball loss of each seed alone, in the form that is delivered; `conformal_of` its calibration forecasts."""
    losses = {}
    for result in results:
        forecast = result.test_nHQ.astype(np.float64)
        if delivered_form(result.name) != "raw":
            own = result.conformal or conformal_of(result.calibration_nHQ)
            forecast = own.apply(forecast)
        loss = pinball_loss_bps(actual_nH[known], forecast[known], np.array(quantiles))
        losses[result.seed] = float(loss.mean())
    return losses
