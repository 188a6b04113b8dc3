"""`midas backtest`: judge the forecaster out of sample, against baselines and costs."""

from pathlib import Path

from midas_ray.console import err, out
from midas_ray.dataset.panel import load_panel
from midas_ray.evaluate import outputs
from midas_ray.evaluate.folds import Fit, FoldResult, plan_folds
from midas_ray.evaluate.judge import Forecasts
from midas_ray.evaluate.outcome import Conditions, Outcome, conclude
from midas_ray.evaluate.verdict import reach
from midas_ray.evaluate.walk_forward import run_folds
from midas_ray.ray_session import ray_session
from midas_ray.settings import Backtest, NetworkSettings
from midas_ray.storage import Storage

SHOWN_NETWORK = (
    "hidden_dim",
    "n_heads",
    "dropout",
    "learning_rate",
    "batch_size",
    "patience",
    "stride",
    "max_steps",
    "seed",
)


def backtest(settings: Backtest, fit: Fit | None = None) -> int:
    """Walk forward with retraining, or judge the model `settings.model`; write the report. Gives the exit code.

    `fit` stands in for the Temporal Fusion Transformer in tests. Raises MidasError, and then writes nothing.
    """
    place = outputs.destination(settings.data_dir, settings.output)
    outcome = _judge_loaded(settings, settings.model) if settings.model else _walk_forward(settings, fit)
    outputs.write(outcome, place)
    verdict = reach(outcome)
    out.print(verdict.skill_sentence)
    out.print(verdict.edge_sentence)
    out.print(f"report  {place.shown('.html')}")
    out.print(f"metrics {place.shown('.json')}")
    out.print(f"fills   {place.shown('.csv')}")
    return 0


def _walk_forward(settings: Backtest, fit: Fit | None) -> Outcome:
    panel = load_panel(Storage.of(settings), settings.venue, settings.symbols)
    plans = plan_folds(panel, settings.input_length, settings.output_length, settings.folds)
    # The command line's settings class is made at run time: workers get the plain one.
    network = NetworkSettings.model_construct(
        **{name: getattr(settings, name) for name in NetworkSettings.model_fields}
    )
    finished = 0

    def done(result: FoldResult) -> None:
        nonlocal finished
        finished += 1
        record = result.record
        trained = record.train.windows if record.train else 0
        err.print(
            f"fold {record.number} done ({finished} of {len(plans)}): trained on {trained} windows, "
            f"{record.epochs} epochs, judged on {record.test.windows}, {record.seconds:.0f} s"
        )

    windows = ", ".join(f"{len(plan.split.train)}+{len(plan.split.test)}" for plan in plans)
    err.print(f"backtest: {len(plans)} folds, training + test windows {windows}; {plans[-1].choice.sentence()}")
    with ray_session(settings):
        results = run_folds(panel, plans, network, gpus=settings.gpus, done=done, fit=fit)
    conditions = Conditions(
        model=None,
        training_end_us=None,
        refused=0,
        without_baseline=sum(result.without_baseline for result in results),
        input_length=settings.input_length,
        output_length=settings.output_length,
        network={name: getattr(settings, name) for name in SHOWN_NETWORK},
        fee_bps=settings.fee_bps,
        threshold_bps=settings.threshold_bps,
    )
    forecasts = Forecasts.join([result.forecasts for result in results])
    return conclude(panel, conditions, [result.record for result in results], forecasts)


def _judge_loaded(settings: Backtest, model: str) -> Outcome:
    # These import torch, which takes seconds: a walk-forward refuses bad input before.
    from midas_ray.evaluate.loaded import judge_model
    from midas_ray.forecast.forecaster import Forecaster

    forecaster = Forecaster.load(Path(model))
    symbols = settings.symbols or forecaster.normalizer.symbols
    panel = load_panel(Storage.of(settings), settings.venue, symbols)
    loaded = judge_model(panel, forecaster, model, "cpu" if settings.gpus == 0 else None)
    fold = loaded.fold
    if loaded.refused:
        err.print(
            f"{model}: {loaded.refused} windows up to the model's training end refused, "
            f"{len(fold.forecasts.origins)} later ones judged"
        )
    architecture = forecaster.architecture
    conditions = Conditions(
        model=model,
        training_end_us=forecaster.fit_end_us,
        refused=loaded.refused,
        without_baseline=fold.without_baseline,
        input_length=forecaster.input_length,
        output_length=forecaster.output_length,
        network={
            "hidden_dim": architecture.hidden_dim,
            "n_heads": architecture.n_heads,
            "dropout": architecture.dropout,
        },
        fee_bps=settings.fee_bps,
        threshold_bps=settings.threshold_bps,
    )
    return conclude(panel, conditions, [fold.record], fold.forecasts)
