"""Training one network on given windows: what is fitted, in which order, and when it stops. No Ray here."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping

from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.dataset.scaling import Normalizer
from midas_ray.dataset.splits import stride_origins
from midas_ray.errors import DataError, TooFewRowsError
from midas_ray.forecast.batches import InOrder, WindowSampler, WindowSet, batch_loader
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.forecast.network import Architecture, QuantileForecaster, build_network, start_at_baseline
from midas_ray.forecast.progress import ProgressCallback, Report
from midas_ray.settings import NetworkSettings

GRADIENT_CLIP_NORM = 1.0


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Everything a worker needs to train: nothing in it was fitted on anything but the training windows."""

    architecture: Architecture
    train: WindowSet
    validation: WindowSet
    network: NetworkSettings
    fit_end_us: int
    """End of the last bucket that training or validation labels have seen."""


def prepare(
    panel: Panel,
    train: IntArray,
    validation: IntArray,
    network: NetworkSettings,
    *,
    columns: Sequence[str],
    quantiles: tuple[float, ...] | None = None,
) -> TrainingSet:
    """Fit the normalizer on the training origins (thinned by --stride) and cut both parts into windows.

    `quantiles`: those of the settings unless given. Raises TooFewRowsError where a part is empty, or a symbol has no
    training window: its input would mean nothing.
    """
    train = stride_origins(panel, train, network.stride)
    for name, part in (("training", train), ("validation", validation)):
        if not len(part):
            raise TooFewRowsError(f"too few rows: expected windows in the {name} part, found none; collect more")
    untrained = np.setdiff1d(np.arange(len(panel.symbols)), panel.symbol_index[train])
    if len(untrained):
        names = ",".join(panel.symbols[index] for index in untrained)
        raise TooFewRowsError(f"symbols {names}: expected training windows, found none; leave them out with --symbols")
    length, horizons = network.input_length, network.output_length
    normalizer = Normalizer.fit(panel, train, columns, length, horizons)
    return TrainingSet(
        architecture=Architecture.of(normalizer, network, quantiles or network.quantiles),
        train=WindowSet.cut(panel, train, normalizer),
        validation=WindowSet.cut(panel, validation, normalizer),
        network=network,
        fit_end_us=int(panel.ts_us[np.concatenate([train, validation])].max()) + horizons * panel.bucket_us,
    )


def new_module(training: TrainingSet) -> QuantileForecaster:
    """An untrained network, the same for the same seed, that forecasts the training part's quantiles about zero."""
    quantiles = training.architecture.quantiles
    with torch.random.fork_rng():
        torch.manual_seed(training.network.seed)
        network = build_network(training.architecture)
    scaled = np.quantile(training.train.targets, [*quantiles, 0.5])
    start_at_baseline(network, torch.tensor(scaled[:-1] - scaled[-1], dtype=torch.float32))
    return QuantileForecaster(network, quantiles, training.network.learning_rate)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many epochs of how many batches: --epochs, shortened so that --max-steps is never exceeded.

    Every epoch ends with a validation, so the last one is not cut off in its middle: instead all have fewer batches.
    """

    epochs: int
    batches: int

    @classmethod
    def of(cls, network: NetworkSettings, windows: int, world: int = 1) -> "Schedule":
        batches = -(-(windows // world) // network.batch_size)
        if batches == 0:
            raise TooFewRowsError(
                f"too few rows: expected a training window for each of {world} workers, found {windows}"
            )
        if network.max_steps is None:
            return cls(network.epochs, batches)
        epochs = min(network.epochs, -(-network.max_steps // batches))
        return cls(epochs, min(batches, network.max_steps // epochs))


def loaders(training: TrainingSet, schedule: Schedule, rank: int = 0, world: int = 1) -> tuple[Any, Any]:
    """Training and validation batches of one rank."""
    network = training.network
    sampler = WindowSampler(
        len(training.train), network.batch_size, network.seed, rank, world, most_batches=schedule.batches
    )
    in_order = InOrder(len(training.validation), 4 * network.batch_size, rank, world)
    return batch_loader(training.train, sampler), batch_loader(training.validation, in_order)


def trainer_options(training: TrainingSet, schedule: Schedule, report: Report | None) -> dict[str, Any]:
    """Lightning's options that hold wherever the training runs."""
    callbacks: list[pl.Callback] = [EarlyStopping("val_loss", patience=training.network.patience)]
    if report is not None:
        callbacks.append(ProgressCallback(report, schedule.epochs))
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
    }


DIVERGED = "training diverged: expected a finite loss, found none; lower --learning-rate"


class _BestWeights(pl.Callback):
    """Keeps the weights of the best validation loss in `path`, replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._best = float("inf")

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["val_loss"])
        if loss < self._best:
            self._best = loss
            temporary = self._path.with_suffix(".tmp")
            torch.save(module.network.state_dict(), temporary)
            temporary.replace(self._path)


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
    give the same weights on a CPU. Raises TooFewRowsError, or DataError where a window holds gap or warm-up nulls or
    the loss does not stay finite.
    """
    training = prepare(panel, train, validation, network, columns=columns, quantiles=quantiles)
    schedule = Schedule.of(network, len(training.train))
    work_dir.mkdir(parents=True, exist_ok=True)
    best = work_dir / "best_weights.pt"
    options = trainer_options(training, schedule, report)
    options["callbacks"].append(_BestWeights(best))
    module = new_module(training)
    with quiet_lightning(), torch.random.fork_rng():
        torch.manual_seed(network.seed)
        trainer = pl.Trainer(accelerator=accelerator, devices=1, **options)
        trainer.fit(module, *loaders(training, schedule))
    if not best.exists():
        raise DataError(DIVERGED)
    return forecaster_of(training, torch.load(best, map_location="cpu", weights_only=True), panel)


def forecaster_of(training: TrainingSet, weights: dict[str, torch.Tensor], panel: Panel) -> Forecaster:
    """The forecaster with these trained weights. Raises DataError where they are not finite."""
    if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
        raise DataError(DIVERGED)
    return Forecaster(
        architecture=training.architecture,
        normalizer=training.train.normalizer,
        weights=weights,
        bucket_ms=panel.bucket_ms,
        price_source=panel.price_source,
        venue=panel.venue,
        fit_end_us=training.fit_end_us,
    )
