"""`midas backtest`: judge forecasters out of sample, against each other and against costs."""

import importlib.util
from dataclasses import dataclass, replace
from pathlib import Path

from midas_ray.code_version import code_version
from midas_ray.console import err, out
from midas_ray.dataset.final_period import final_period
from midas_ray.dataset.panel import Panel, load_panel
from midas_ray.errors import MidasError, UsageError
from midas_ray.evaluate import outputs
from midas_ray.evaluate.cross_validation import CombinatorialPlan, plan_combinatorial
from midas_ray.evaluate.final_period import (
    check_unopened,
    earlier_opening,
    record_opening,
)
from midas_ray.evaluate.folds import Fit, FittedForecasts, FoldPlan, FoldResult, assemble, plan_final, plan_folds
from midas_ray.evaluate.judge import Forecasts
from midas_ray.evaluate.outcome import Conditions, FinalState, Outcome, conclude, data_used
from midas_ray.evaluate.provenance import CODE, command_line
from midas_ray.evaluate.trading.costs import fees_of
from midas_ray.evaluate.verdict import reach
from midas_ray.evaluate.walk_forward import fit_all, run_folds
from midas_ray.forecast.baselines import TFT
from midas_ray.forecast.parts import CUT_TO_THE_SHORTEST, absent_symbols
from midas_ray.ray_session import ray_session
from midas_ray.settings import DEFAULT_FINAL_SHARE, Backtest, NetworkSettings, TradingSettings
from midas_ray.storage import Storage

EXTRA = ("arch", "lightgbm", "scoringrules", "skfolio", "statsmodels")
SHOWN_NETWORK = (
    "hidden_dim",
    "n_heads",
    "dropout",
    "learning_rate",
    "batch_size",
    "epochs",
    "patience",
    "stride",
    "max_steps",
    "seed",
)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What was planned and found, before it is scored."""

    panel: Panel
    results: list[FoldResult]
    combinatorial: CombinatorialPlan | None
    conditions: Conditions
    final: FinalState


def backtest(settings: Backtest, fit: Fit | None = None) -> int:
    """Walk forward with retraining, or judge the model `settings.model`; write the report. Gives the exit code.

    `fit` stands in for the Temporal Fusion Transformer in tests. Raises MidasError, and then writes nothing.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise MidasError(
            f"midas backtest: expected the packages of the extra `eval`, found no {', '.join(missing)}; "
            "pip install 'midas-ray[eval]'"
        )
    place = outputs.destination(settings.data_dir, settings.output)
    storage = Storage.of(settings)
    fees_of(settings, settings.venue)
    judged = (
        _judge_loaded(settings, settings.model, storage) if settings.model else _walk_forward(settings, storage, fit)
    )
    outcome = _conclude(judged)
    if outcome.final.opened_now or outcome.final.period is None:
        # With --final-share 0 it has been looked at all the same. On record before anybody can see the scores.
        last_us = int(outcome.forecasts.ts_us.max()) + outcome.conditions.output_length * outcome.panel.bucket_us
        skill = {name: float(over.pooled.value) for name, over in outcome.scores.skill.items()}
        record_opening(storage, outcome.panel, outcome.final.period, last_us, outcome.data.code_version, skill)
    outputs.write(outcome, place)
    verdict = reach(outcome)
    out.print(verdict.sentence)
    out.print(f"report  {place.shown('.html')}")
    out.print(f"metrics {place.shown('.json')}")
    out.print(f"fills   {place.shown('.csv')}")
    return 0


def _conclude(judged: _Judged) -> Outcome:
    forecasts = [result.forecasts for result in judged.results]
    combinatorial = judged.combinatorial
    paths = (
        [] if combinatorial is None
        else [combinatorial.path(number, forecasts) for number in range(int(combinatorial.paths.max()) + 1)]
    )  # fmt: skip
    return conclude(
        judged.panel,
        judged.conditions,
        data_used(judged.panel, code_version(*CODE)),
        judged.final,
        [result.record for result in judged.results],
        paths[0] if paths else Forecasts.join(forecasts),
        paths,
    )


def _final_state(settings: Backtest, storage: Storage, panel: Panel) -> FinalState:
    """Where the final period lies. Raises UsageError where it cannot be opened."""
    period = final_period(panel, settings.final_share, settings.final_from)
    opening = settings.open_final or settings.open_final_again
    if period is None:
        if opening:
            raise UsageError("--open-final: expected a final period, found --final-share 0")
        unkept = final_period(panel, DEFAULT_FINAL_SHARE, None)
        earlier = None if unkept is None else earlier_opening(storage, panel, unkept.first_us)
        return FinalState(period=None, opened_now=False, earlier=earlier)
    if opening:
        earlier = check_unopened(storage, panel, period, settings.open_final_again)
    else:
        earlier = earlier_opening(storage, panel, period.first_us)
    return FinalState(period=period, opened_now=opening, earlier=earlier)


def _network_of(settings: Backtest) -> NetworkSettings:
    # The command line's settings class is made at run time: workers get the plain one.
    return NetworkSettings.model_construct(**{name: getattr(settings, name) for name in NetworkSettings.model_fields})


def _conditions(settings: Backtest, network: dict[str, float | int | str | None], **values: object) -> Conditions:
    # Its own fields alone: DATA_DIR may hold credentials, and all of this is written into the report.
    trading = TradingSettings.model_construct(
        **{name: getattr(settings, name) for name in TradingSettings.__annotations__}
    )
    shared: dict[str, object] = {
        "model": None,
        "training_end_us": None,
        "refused": 0,
        "input_length": settings.input_length,
        "output_length": settings.output_length,
        "network": network,
        "seeds": settings.seeds if TFT in settings.forecasters else 1,
        "cross_validation": settings.cross_validation,
        "trading": trading,
        "trials": settings.trials,
        "command": command_line(),
    }
    return Conditions(**{**shared, **values})  # type: ignore[arg-type]


def _walk_forward(settings: Backtest, storage: Storage, fit: Fit | None) -> _Judged:
    panel = load_panel(storage, settings.venue, settings.symbols)
    final = _final_state(settings, storage, panel)
    combinatorial = None
    length, horizons = settings.input_length, settings.output_length
    if final.opened_now and final.period is not None:
        plans = [plan_final(panel, length, horizons, final.period)]
    elif settings.cross_validation == "combinatorial":
        combinatorial = plan_combinatorial(panel, length, horizons, settings.groups, settings.test_groups, final.period)
        plans = combinatorial.plans
    else:
        plans = plan_folds(panel, length, horizons, settings.folds, final.period)
    network = _network_of(settings)
    results = _run(settings, panel, plans, network, settings.forecasters, fit)
    conditions = _conditions(
        settings,
        {name: getattr(settings, name) for name in SHOWN_NETWORK} if TFT in settings.forecasters else {},
        forecasters=settings.forecasters,
        without_baseline=sum(result.without_baseline for result in results),
    )
    return _Judged(panel, results, combinatorial, conditions, final)


def _run(
    settings: Backtest,
    panel: Panel,
    plans: list[FoldPlan],
    network: NetworkSettings,
    names: tuple[str, ...],
    fit: Fit | None,
) -> list[FoldResult]:
    seeds = settings.seeds if TFT in names else 1
    tasks = len(plans) * (len(names) + (seeds - 1) * (TFT in names))
    finished = 0

    def done(plan: FoldPlan, result: FittedForecasts) -> None:
        nonlocal finished
        finished += 1
        seed = f" (seed {result.seed})" if result.name == TFT and seeds > 1 else ""
        err.print(
            f"fold {plan.number} {result.name}{seed} done ({finished} of {tasks}): {result.note}, "
            f"{result.seconds:.0f} s"
        )

    windows = ", ".join(f"{len(plan.split.train)}+{len(plan.split.test)}" for plan in plans)
    err.print(
        f"backtest of {names[0]}: {len(plans)} fold{'s' if len(plans) > 1 else ''}, training + test windows {windows}; "
        f"{plans[-1].choice.sentence()}"
    )
    for plan in plans:
        absent = absent_symbols(panel, plan.split.test)
        if absent:
            err.print(f"fold {plan.number}: no test window of {', '.join(absent)}; {CUT_TO_THE_SHORTEST}")
    with ray_session(settings):
        return run_folds(panel, plans, network, names, seeds, gpus=settings.gpus, settings=settings, done=done, fit=fit)


def _judge_loaded(settings: Backtest, model: str, storage: Storage) -> _Judged:
    # These import torch, which takes seconds: a walk-forward refuses bad input before.
    from midas_ray.evaluate.loaded import forecast_with, plan_model
    from midas_ray.forecast.forecaster import Forecaster

    if settings.forecasters[0] != TFT:
        raise UsageError(
            f"--forecasters {','.join(settings.forecasters)}: expected tft first, which --model stands for"
        )
    forecaster = Forecaster.load(Path(model))
    symbols = settings.symbols or forecaster.normalizer.symbols
    panel = load_panel(storage, settings.venue, symbols)
    final = _final_state(settings, storage, panel)
    loaded = plan_model(panel, forecaster, model, final.period, final.opened_now)
    plan = loaded.plan
    if loaded.refused:
        err.print(
            f"{model}: {loaded.refused} windows up to the model's training end refused, "
            f"{len(plan.split.test)} later ones judged"
        )
    own = forecast_with(panel, forecaster, plan, "cpu" if settings.gpus == 0 else None)
    network = _network_of(settings).model_copy(
        update={
            "quantiles": forecaster.quantiles,
            "input_length": forecaster.input_length,
            "output_length": forecaster.output_length,
        }
    )
    baselines = settings.forecasters[1:]
    others = _fit_baselines(settings, panel, plan, network, baselines) if baselines else []
    result = assemble(panel, plan, [own, *others], forecaster.quantiles)
    record = replace(result.record, train=None, validation=None, calibration=None)
    architecture = forecaster.architecture
    conditions = _conditions(
        settings,
        {
            "hidden_dim": architecture.hidden_dim,
            "n_heads": architecture.n_heads,
            "dropout": architecture.dropout,
        },
        model=model,
        training_end_us=forecaster.fit_end_us,
        refused=loaded.refused,
        without_baseline=result.without_baseline,
        input_length=forecaster.input_length,
        output_length=forecaster.output_length,
        forecasters=settings.forecasters,
        seeds=1,
    )
    return _Judged(panel, [replace(result, record=record)], None, conditions, final)


def _fit_baselines(
    settings: Backtest, panel: Panel, plan: FoldPlan, network: NetworkSettings, names: tuple[str, ...]
) -> list[FittedForecasts]:
    with ray_session(settings):
        return fit_all(panel, [plan], network, names, 1, gpus=0, settings=settings, done=lambda *_: None)[plan.number]
