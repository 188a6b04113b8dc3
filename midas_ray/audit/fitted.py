"""Whatever is fitted must not change with what comes after the part that it is fitted on."""

import tempfile
from pathlib import Path

import numpy as np

from midas_ray.audit.finding import Finding, first_difference, moment
from midas_ray.audit.subject import Subject
from midas_ray.dataset.columns import choose_columns
from midas_ray.dataset.panel import Panel
from midas_ray.dataset.scaling import Normalizer
from midas_ray.dataset.volatility import HarVolatility
from midas_ray.errors import TooFewRowsError
from midas_ray.evaluate.folds import plan_folds
from midas_ray.forecast.baselines import BASELINES, Forecasting, fit_baseline
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.settings import NetworkSettings

_FOLDS = 3
_SMALL = {"hidden_dim": 4, "n_heads": 1, "epochs": 1, "max_steps": 3, "batch_size": 16, "dropout": 0.0, "stride": 1}
_SMALL_WINDOWS = 48


def _after(cut_us: int) -> str:
    return f"with what comes after {moment(cut_us)}, the end of what it was fitted on"


def columns(subject: Subject) -> Finding:
    """The choice of columns, for one training and for each walk-forward fold."""
    values, panel = subject.values, subject.panel
    tested = f"chosen on the training part, and in {_FOLDS} folds"
    training = np.flatnonzero(panel.ts_us <= panel.ts_us[subject.split.train].max())
    cut_us = subject.labels_end_us(subject.split.train)

    def chosen(of: Panel) -> tuple[str, ...]:
        return choose_columns(of, training, values.input_length, values.output_length).columns

    if chosen(panel) != chosen(subject.other(cut_us, with_nulls=True)):
        return Finding("columns", tested, f"the choice changes {_after(cut_us)}")
    try:
        plans = plan_folds(panel, values.input_length, values.output_length, _FOLDS, subject.parts.final)
    except TooFewRowsError:
        return Finding("columns", "chosen on the training part (too few rows for folds)")
    for number, plan in enumerate(plans):
        cut_us = subject.labels_end_us(plan.split.train)
        other = plan_folds(
            subject.other(cut_us), values.input_length, values.output_length, _FOLDS, subject.parts.final
        )[number]
        if plan.choice != other.choice or first_difference(plan.split.train, other.split.train) is not None:
            return Finding("columns", tested, f"those of fold {plan.number} change {_after(cut_us)}")
    return Finding("columns", tested)


def scalers(subject: Subject) -> Finding:
    """Scalers of columns and targets."""
    values, train = subject.values, subject.thinned(subject.split.train)
    cut_us = subject.labels_end_us(train)

    def fitted(of: Panel) -> Normalizer:
        return Normalizer.fit(of, train, subject.columns, values.input_length, values.output_length)

    expected, found = fitted(subject.panel), fitted(subject.other(cut_us, with_nulls=True))
    tested = f"{len(expected.columns)} columns and the targets, fitted on {len(train)} windows"
    for name in ("columns", "indicators", "volatility_columns", "target_unit"):
        ours, theirs = getattr(expected, name), getattr(found, name)
        if ours == theirs:
            continue
        changed = [a.name for a, b in zip(ours, theirs, strict=True) if a != b] if "columns" in name else [name]
        return Finding("scalers", tested, f"that of {changed[0]} changes {_after(cut_us)}")
    return Finding("scalers", tested)


def volatility(subject: Subject) -> Finding:
    """The HAR volatility that scales the targets."""
    train = subject.thinned(subject.split.train)
    cut_us = subject.labels_end_us(train)
    expected, found = (
        HarVolatility.fit(of, train, subject.values.output_length)
        for of in (subject.panel, subject.other(cut_us, with_nulls=True))
    )
    tested = f"HAR coefficients, fitted on {len(train)} windows"
    return Finding("volatility", tested, None if expected == found else f"they change {_after(cut_us)}")


def baselines(subject: Subject) -> tuple[Finding, dict[str, Forecasting]]:
    """Each baseline fitted twice must forecast the same; also gives those of the real data."""
    cut_us = subject.labels_end_us(subject.split.validation)
    ours, theirs = subject.task(subject.panel), subject.task(subject.other(cut_us))
    sample = ours.validation[-64:]
    fitted: dict[str, Forecasting] = {}
    tested = f"{', '.join(BASELINES)}, fitted on {len(ours.train)} + {len(ours.validation)} windows"
    difference = None
    for name in BASELINES:
        fitted[name] = fit_baseline(name, ours)
        other = fit_baseline(name, theirs)
        expected, found = (each.predict(subject.panel, sample) for each in (fitted[name], other))
        if difference is None and first_difference(expected, found) is not None:
            difference = f"what {name} has learnt changes {_after(cut_us)}"
    return Finding("baselines", tested, difference), fitted


def training(subject: Subject) -> tuple[Finding, Forecaster]:
    """A small network trained for a few steps and calibrated, twice; also gives that of the real data."""
    split, values = subject.split, subject.values
    names = NetworkSettings.model_fields
    network = NetworkSettings.model_construct(**({name: getattr(values, name) for name in names} | _SMALL))
    train = subject.thinned(split.train, _SMALL_WINDOWS)
    validation = subject.thinned(split.validation, _SMALL_WINDOWS)
    calibration = subject.thinned(split.calibration, 10 * _SMALL_WINDOWS)
    cuts = subject.labels_end_us(validation), subject.labels_end_us(calibration)
    expected, found = (
        _trained(subject, of, network, train, validation) for of in (subject.panel, subject.other(cuts[0]))
    )
    tested = f"a network of width {network.hidden_dim}, {network.max_steps} steps, then its calibration"
    for name, weight in expected.weights.items():
        if not bool((weight == found.weights[name]).all()):
            return Finding("training", tested, f"the weights {name} change {_after(cuts[0])}"), expected
    calibrated, other = (
        expected.calibrated(of, calibration, "cpu").calibration for of in (subject.panel, subject.other(cuts[1]))
    )
    assert calibrated is not None
    assert other is not None
    same = first_difference(calibrated.offsets, other.offsets) is None
    difference = None if same else f"the offsets of the calibration change {_after(cuts[1])}"
    return Finding("training", tested, difference), expected


def _trained(
    subject: Subject, panel: Panel, network: NetworkSettings, train: np.ndarray, validation: np.ndarray
) -> Forecaster:
    from midas_ray.forecast.fitting import fit

    with tempfile.TemporaryDirectory(prefix="midas-audit-") as folder:
        return fit(panel, train, validation, network, Path(folder), columns=subject.columns, accelerator="cpu")
