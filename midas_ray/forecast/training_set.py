"""What a training is made of: its windows, the untrained network, its schedule of steps. No Ray here."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.dataset.scaling import Normalizer
from midas_ray.dataset.splits import stride_origins
from midas_ray.errors import TooFewRowsError, UsageError
from midas_ray.features.registry import FEATURES
from midas_ray.forecast.batches import InOrder, WindowSampler, WindowSet, WithUnits, batch_loader, batches_of
from midas_ray.forecast.network import Architecture, QuantileForecaster, build_network, start_at_baseline
from midas_ray.settings import NetworkSettings


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Everything a worker needs to train: nothing in it was fitted on anything but the training windows."""

    architecture: Architecture
    train: WindowSet
    validation: WindowSet
    network: NetworkSettings
    fit_end_us: int
    """End of the last bucket that training or validation labels have seen."""

    def digest(self) -> str:
        """The same for the same windows: what a resumed training must find again."""
        found = hashlib.sha256(self.train.normalizer.to_json().encode())
        for windows in (self.train, self.validation):
            found.update(windows.ts_us[windows.origins].tobytes())
            found.update(windows.targets.tobytes())
        return found.hexdigest()

    def described(self, numbers: torch.Tensor) -> str:
        """Whose and when training windows are: `64 windows of btcusdt, origins ... to ... UTC`."""
        origins = self.train.origins[numbers.numpy()]
        symbols = ",".join(self.train.normalizer.symbols[index] for index in np.unique(self.train.symbol[origins]))
        ts_us = self.train.ts_us[origins]
        first, last = (np.datetime64(int(ts), "us").astype("datetime64[s]") for ts in (ts_us.min(), ts_us.max()))
        return f"{len(origins)} windows of {symbols}, origins {first} to {last} UTC"


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
    training window: its input would mean nothing; UsageError where --without-families leaves nothing.
    """
    columns = without_families(columns, network.without_families)
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


def without_families(columns: Sequence[str], families: Sequence[str]) -> tuple[str, ...]:
    """The columns of all other families. Raises UsageError for an unknown family, or where nothing is left."""
    family_of = {feature.name: feature.family for feature in FEATURES}
    known = list(dict.fromkeys(family_of.values()))
    unknown = [family for family in families if family not in known]
    if unknown:
        raise UsageError(f"--without-families {','.join(unknown)}: expected some of {', '.join(known)}")
    left = tuple(name for name in columns if family_of[name] not in families)
    if not left:
        raise UsageError(f"--without-families {','.join(families)}: expected columns of other families, found none")
    return left


def new_module(training: TrainingSet) -> QuantileForecaster:
    """An untrained network, the same for the same seed, that forecasts the training part's quantiles about zero."""
    quantiles = training.architecture.quantiles
    with torch.random.fork_rng():
        torch.manual_seed(training.network.seed)
        network = build_network(training.architecture)
    scaled = np.quantile(training.train.targets, [*quantiles, 0.5])
    start_at_baseline(network, torch.tensor(scaled[:-1] - scaled[-1], dtype=torch.float32))
    fused = training.network.precision == "float32"
    return QuantileForecaster(network, quantiles, training.network.learning_rate, fused)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How many epochs of how many batches: --epochs, shortened so that --max-steps is never exceeded.

    Every epoch ends with a validation, so the last one is not cut off in its middle: instead all have fewer batches.
    """

    epochs: int
    batches: int

    @classmethod
    def of(cls, network: NetworkSettings, windows: int, world: int = 1) -> "Schedule":
        """Raises UsageError or TooFewRowsError where a worker would have no window."""
        if network.batch_size < world:
            raise UsageError(f"--batch-size {network.batch_size}: expected a window for each of {world} workers")
        batches = batches_of(windows, network.batch_size, world)
        if batches == 0:
            raise TooFewRowsError(
                f"too few rows: expected a training window for each of {world} workers, found {windows}"
            )
        if network.max_steps is None:
            return cls(network.epochs, batches)
        epochs = min(network.epochs, -(-network.max_steps // batches))
        return cls(epochs, min(batches, network.max_steps // epochs))


def sampler_of(training: TrainingSet, schedule: Schedule, rank: int = 0, world: int = 1) -> WindowSampler:
    """What one rank is shown in training."""
    network = training.network
    return WindowSampler(
        len(training.train), network.batch_size, network.seed, rank, world, most_batches=schedule.batches
    )


def loaders(training: TrainingSet, sampler: WindowSampler, rank: int = 0, world: int = 1) -> tuple[Any, Any]:
    """Training and validation batches of one rank."""
    in_order = InOrder(len(training.validation), 4 * training.network.batch_size, rank, world)
    return batch_loader(training.train, sampler), batch_loader(WithUnits(training.validation), in_order)
