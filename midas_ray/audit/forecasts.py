"""Forecasts made by a moment must not change with what comes after it, nor what they are made from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.audit.finding import Finding, first_difference, moment
from midas_ray.audit.subject import Subject
from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.dataset.scaling import Normalizer
from midas_ray.dataset.splits import Split
from midas_ray.dataset.windows import window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.evaluate.folds import FoldPlan, FoldResult, assemble, fit_and_forecast, plan_folds
from midas_ray.forecast.baselines import Forecasting
from midas_ray.forecast.batches import WindowSet
from midas_ray.forecast.forecaster import Forecaster

Float = NDArray[np.float64]
TOLERANCE_BPS = 1e-6
"""Of a network's forecast, of about a bp: batches of another make-up round otherwise."""
_MOMENTS = 64
"""Origins compared at each cut: the last ones up to it, over all symbols."""
_FOLD_NAMES = ("har", "linear", "trailing")


def origins_until(subject: Subject, cut_us: int, input_length: int, horizons: int, columns: Sequence[str]) -> IntArray:
    """The last windows whose origin is at or before the cut."""
    origins = window_origins(subject.panel, input_length, horizons, columns)
    return origins[subject.panel.ts_us[origins] <= cut_us][-_MOMENTS:]


@dataclass(frozen=True, slots=True)
class Cut:
    """A moment, the panel with another future after it, and the last origins up to it."""

    cut_us: int
    other: Panel
    origins: IntArray


def cuts_of(subject: Subject, count: int, rng: np.random.Generator) -> list[Cut]:
    """`count` random moments at which windows end."""
    values = subject.values
    origins = window_origins(subject.panel, values.input_length, values.output_length, subject.columns)
    moments = np.unique(subject.panel.ts_us[origins])
    cuts = np.sort(rng.choice(moments, min(count, len(moments)), replace=False))
    return [
        Cut(
            int(cut_us),
            subject.other(int(cut_us)),
            origins_until(subject, int(cut_us), values.input_length, values.output_length, subject.columns),
        )
        for cut_us in cuts
    ]


def _where(subject: Subject, origins: IntArray, at: tuple[int, ...], cut_us: int) -> str:
    row = origins[at[0]] if at else origins[-1]
    symbol = subject.panel.symbols[subject.panel.symbol_index[row]]
    return f"of {symbol} at {moment(subject.panel.ts_us[row])} changes with what comes after {moment(cut_us)}"


def windows(subject: Subject, cuts: Sequence[Cut]) -> Finding:
    """The network's inputs, tensor by tensor."""
    values = subject.values
    train = subject.thinned(subject.split.train)
    normalizer = Normalizer.fit(subject.panel, train, subject.columns, values.input_length, values.output_length)
    tested = f"the inputs of {sum(len(cut.origins) for cut in cuts)} windows at {len(cuts)} cuts"
    for cut in cuts:
        expected, found = (
            WindowSet.cut(of, cut.origins, normalizer, with_targets=False)[np.arange(len(cut.origins))][0]
            for of in (subject.panel, cut.other)
        )
        for name, tensor in expected.items():
            at = first_difference(tensor.numpy(), found[name].numpy())
            if at is not None:
                return Finding("windows", tested, f"{name} {_where(subject, cut.origins, at, cut.cut_us)}")
    return Finding("windows", tested)


def predictions(
    subject: Subject, cuts: Sequence[Cut], baselines: dict[str, Forecasting], networks: dict[str, Forecaster]
) -> list[Finding]:
    """Forecasts of each baseline and network. A finding for the baselines, and one for each network."""
    count = sum(len(cut.origins) for cut in cuts)
    tested = f"forecasts of {', '.join(baselines)} from {count} origins at {len(cuts)} cuts"
    difference = None
    for name, baseline in baselines.items():
        difference = difference or _changed(subject, cuts, name, baseline.predict, 0.0)
    findings = [Finding("predictions", tested, difference)]
    for name, network in networks.items():
        own = [
            Cut(
                cut.cut_us,
                cut.other,
                origins_until(subject, cut.cut_us, network.input_length, network.output_length, network.columns),
            )
            for cut in cuts
        ]
        own = [cut for cut in own if len(cut.origins)]
        tested = f"forecasts of {name} from {sum(len(cut.origins) for cut in own)} origins at {len(own)} cuts"

        def predict(panel: Panel, origins: IntArray, network: Forecaster = network) -> Float:
            return network.predict(panel, origins, "cpu")

        findings.append(Finding("predictions", tested, _changed(subject, own, name, predict, TOLERANCE_BPS)))
    return findings


def _changed(
    subject: Subject, cuts: Sequence[Cut], name: str, predict: Callable[[Panel, IntArray], Float], tolerance: float
) -> str | None:
    for cut in cuts:
        at = first_difference(predict(subject.panel, cut.origins), predict(cut.other, cut.origins), tolerance)
        if at is not None:
            return f"the forecast of {name} {_where(subject, cut.origins, at, cut.cut_us)}"
    return None


def judged_fold(subject: Subject, rng: np.random.Generator) -> Finding:
    """The last walk-forward fold, fitted, forecast and calibrated twice: a cut within its test part."""
    values = subject.values
    names = ", ".join(_FOLD_NAMES)
    tested = f"a walk-forward fold of {names}: fitted, raw, calibrated and adaptive forecasts, volatility regimes"
    try:
        plan = plan_folds(subject.panel, values.input_length, values.output_length, 3, subject.parts.final)[-1]
        plan = FoldPlan(plan.number, Split(*map(subject.thinned, _parts(plan))), plan.choice)
        moments = np.unique(subject.panel.ts_us[plan.split.test])
        cut_us = int(rng.choice(moments[len(moments) // 4 :]))
        expected, found = (_judged(of, plan, subject) for of in (subject.panel, subject.other(cut_us)))
    except TooFewRowsError as error:
        return Finding("calibration", tested, not_tested=str(error))
    until = expected.forecasts.ts_us <= cut_us
    for form in ("raw_nHQ", "calibrated_nHQ", "adaptive_nHQ"):
        for name, forecast in getattr(expected.forecasts, form).items():
            at = first_difference(forecast[until], getattr(found.forecasts, form)[name][until])
            if at is not None:
                where = _where(subject, expected.forecasts.origins[until], at, cut_us)
                return Finding("calibration", tested, f"the {form.removesuffix('_nHQ')} forecast of {name} {where}")
    if first_difference(expected.forecasts.regime[until], found.forecasts.regime[until]) is not None:
        return Finding("calibration", tested, f"the volatility regimes change with what comes after {moment(cut_us)}")
    return Finding("calibration", tested)


def _parts(plan: FoldPlan) -> tuple[IntArray, ...]:
    return plan.split.train, plan.split.validation, plan.split.calibration, plan.split.test


def _judged(panel: Panel, plan: FoldPlan, subject: Subject) -> FoldResult:
    from midas_ray.forecast.fitting import fit

    values = subject.values
    fitted = [fit_and_forecast(panel, plan, name, values.seed, values, fit, "cpu") for name in _FOLD_NAMES]
    return assemble(panel, plan, fitted, values.quantiles)
