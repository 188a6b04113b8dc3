"""Training one network on given windows, in this process. No Ray here."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.errors import DataError
from midas_ray.forecast.batches import WindowSampler
from midas_ray.forecast.callbacks import BestWeights, ReseedEachEpoch, StopWhereNoBetter, StopWhereNotFinite
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.forecast.memory import out_of_memory_explained
from midas_ray.forecast.network import QuantileForecaster
from midas_ray.forecast.progress import ProgressCallback
from midas_ray.forecast.training_progress import Report
from midas_ray.forecast.training_set import (
    Schedule,
    TrainingSet,
    loaders,
    new_module,
    prepare,
    sampler_of,
)
from midas_ray.settings import NetworkSettings

GRADIENT_CLIP_NORM = 1.0


def trainer_options(
    training: TrainingSet, schedule: Schedule, sampler: WindowSampler, report: Report | None, rank: int = 0
) -> dict[str, Any]:
    """Lightning's options that hold wherever the training runs."""
    callbacks: list[pl.Callback] = [
        ReseedEachEpoch(training.network.seed, rank),
        StopWhereNotFinite(training, sampler, rank),
        StopWhereNoBetter(training.network.patience),
    ]
    if report is not None:
        callbacks.append(ProgressCallback(report, schedule.epochs, training.network.batch_size))
    return {
        "max_epochs": schedule.epochs,
        "gradient_clip_val": GRADIENT_CLIP_NORM,
        "callbacks": callbacks,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        "precision": "bf16-mixed" if training.network.precision == "bf16" else "32-true",
    }


def prepared(module: QuantileForecaster, trainer: pl.Trainer, network: NetworkSettings) -> QuantileForecaster:
    """The module as this trainer runs it: compiled in place, where that is wanted and a GPU runs it.

    In place, so that its weights keep their names. Not measured: no GPU was at hand when it was written.
    """
    if network.compile and trainer.strategy.root_device.type == "cuda":
        module.network.compile(mode="reduce-overhead")
    return module


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's tips and its warnings about loaders that are made on purpose."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def fit(
    panel: Panel,
    train: IntArray,
    validation: IntArray,
    network: NetworkSettings,
    work_dir: Path,
    *,
    columns: Sequence[str],
    quantiles: tuple[float, ...] | None = None,
    report: Report | None = None,
    accelerator: str = "auto",
) -> Forecaster:
    """Train in this process and give the forecaster of the best epoch.

    `train` and `validation` are origins from `window_origins(panel, ..., columns)`, purged (`splits`). The best weights
    lie in `work_dir`/best_weights.pt meanwhile. Uses as many threads as torch is set to. The same seed and thread count
    give the same weights on a CPU. Raises TooFewRowsError, MemoryLimitError, or DataError where a window holds gap or
    warm-up nulls or the loss does not stay finite.
    """
    training = prepare(panel, train, validation, network, columns=columns, quantiles=quantiles)
    schedule = Schedule.of(network, len(training.train))
    sampler = sampler_of(training, schedule)
    work_dir.mkdir(parents=True, exist_ok=True)
    best = work_dir / "best_weights.pt"
    options = trainer_options(training, schedule, sampler, report)
    options["callbacks"].append(BestWeights(best))
    with quiet_lightning(), torch.random.fork_rng():
        trainer = pl.Trainer(accelerator=accelerator, devices=1, **options)
        with out_of_memory_explained(training, str(trainer.strategy.root_device)):
            trainer.fit(prepared(new_module(training), trainer, network), *loaders(training, sampler))
    return forecaster_of(training, torch.load(best, map_location="cpu", weights_only=True), panel)


def forecaster_of(training: TrainingSet, weights: dict[str, torch.Tensor], panel: Panel) -> Forecaster:
    """The forecaster with these trained weights. Raises DataError where they are not finite."""
    if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
        raise DataError("training diverged: expected finite weights, found some that are not; lower --learning-rate")
    return Forecaster(
        architecture=training.architecture,
        normalizer=training.train.normalizer,
        weights=weights,
        bucket_ms=panel.bucket_ms,
        price_source=panel.price_source,
        venue=panel.venue,
        fit_end_us=training.fit_end_us,
    )
