"""What every training does beside its steps: reseed, stop where the loss is not finite, keep the best weights."""

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping

from midas_ray.errors import DataError
from midas_ray.forecast.batches import WindowSampler
from midas_ray.forecast.training_set import TrainingSet

CHECK_EVERY_ON_GPU = 32
"""Batches between two looks at the losses on a GPU, which has to wait for each: no more than that many are lost."""


class ReseedEachEpoch(pl.Callback):
    """Makes all that an epoch draws depend on (seed, epoch, rank) alone: a resumed epoch is what it would have been.

    Right before the first step: what Lightning itself draws at the start of an epoch differs after a resume.
    """

    def __init__(self, seed: int, rank: int) -> None:
        self._seed, self._rank = seed, rank

    def on_train_batch_start(
        self, trainer: pl.Trainer, _module: pl.LightningModule, _batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            torch.manual_seed((self._seed * 1_000_003 + trainer.current_epoch) * 1_009 + self._rank)


class StopWhereNoBetter(EarlyStopping):
    """Early stopping that holds after a resume too: a training that had ended there trains no further epoch."""

    def __init__(self, patience: int) -> None:
        # At the end of the epoch Lightning would ask it after the checkpoint is written, which would then not know.
        super().__init__("val_loss", patience=patience, check_finite=False, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class StopWhereNotFinite(pl.Callback):
    """Ends the training at the first batch whose loss is not finite: DataError names it, and what to lower."""

    def __init__(self, training: TrainingSet, sampler: WindowSampler, rank: int) -> None:
        self._training, self._sampler, self._rank = training, sampler, rank
        self._losses: list[torch.Tensor] = []

    def on_train_epoch_start(self, _trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        self._losses.clear()

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, _batch: Any, batch_idx: int
    ) -> None:
        self._losses.append(outputs["loss"].detach())
        every = CHECK_EVERY_ON_GPU if module.device.type == "cuda" else 1
        if len(self._losses) < every and batch_idx + 1 < trainer.num_training_batches:
            return
        losses = torch.stack(self._losses).tolist()
        first = batch_idx + 1 - len(losses)
        self._losses.clear()
        for batch, loss in enumerate(losses, start=first):
            if not math.isfinite(loss):
                self._stop(trainer, batch, loss)

    def _stop(self, trainer: pl.Trainer, batch: int, loss: float) -> None:
        windows = self._training.described(self._sampler.numbers(trainer.current_epoch, batch))
        raise DataError(
            f"training diverged in epoch {trainer.current_epoch + 1}, batch {batch + 1} of "
            f"{trainer.num_training_batches} ({windows}): expected a finite loss, found {loss}; {self._advice()}"
        )

    def on_validation_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        loss = float(trainer.callback_metrics["val_loss"])
        if not math.isfinite(loss):
            raise DataError(
                f"training diverged in epoch {trainer.current_epoch + 1}, batch {trainer.num_training_batches} of "
                f"{trainer.num_training_batches}: expected a finite validation loss after it, found {loss}; "
                f"{self._advice()}"
            )

    def _advice(self) -> str:
        rate = self._training.network.learning_rate
        return f"lower --learning-rate from {rate:g} to {rate / 10:g}"


class BestWeights(pl.Callback):
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
