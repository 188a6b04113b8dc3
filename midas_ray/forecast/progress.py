"""What is shown and kept of a running training: a line an epoch (a bar on a terminal) and TensorBoard scalars."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lightning.pytorch as pl
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from midas_ray import console

REPORT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """Where a training stands. Losses are mean pinball losses in scaled units."""

    epoch: int
    """From 1."""
    epochs: int
    batch: int
    batches: int
    step: int
    """Optimiser steps so far."""
    train_loss: float
    """Mean over the epoch so far."""
    validation_loss: float | None
    """None until the epoch ends."""
    seconds: float
    """Since training began."""


Report = Callable[[TrainingProgress], None]


class ProgressCallback(pl.Callback):
    """Reports at most once a second, and at the end of every epoch; only rank 0 does."""

    def __init__(self, report: Report, epochs: int) -> None:
        self._report, self._epochs = report, epochs
        self._started = self._reported = time.monotonic()
        self._loss_sum = torch.zeros(())

    def on_train_epoch_start(self, _trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._loss_sum = torch.zeros((), device=module.device)

    def on_train_batch_end(
        self, trainer: pl.Trainer, _module: pl.LightningModule, outputs: Any, _batch: Any, batch_idx: int
    ) -> None:
        self._loss_sum += outputs["loss"].detach()
        if time.monotonic() - self._reported >= REPORT_EVERY_S:
            self._send(trainer, batch_idx + 1, None)

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        self._send(trainer, int(trainer.num_training_batches), float(trainer.callback_metrics["val_loss"]))

    def _send(self, trainer: pl.Trainer, batch: int, validation_loss: float | None) -> None:
        if not trainer.is_global_zero:
            return
        self._reported = time.monotonic()
        self._report(
            TrainingProgress(
                epoch=trainer.current_epoch + 1,
                epochs=self._epochs,
                batch=batch,
                batches=int(trainer.num_training_batches),
                step=trainer.global_step,
                train_loss=float(self._loss_sum) / batch,
                validation_loss=validation_loss,
                seconds=self._reported - self._started,
            )
        )


class TrainingDisplay:
    """Shows progress to a person and writes TensorBoard logs into `log_dir`. A context manager; call it to report."""

    def __init__(self, log_dir: Path) -> None:
        self._writer = SummaryWriter(str(log_dir))
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console.err,
            disable=not console.err.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("training", total=None)
        self._best = float("inf")
        self.epochs: list[TrainingProgress] = []
        """The last report of every epoch."""

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._writer.close()

    def __call__(self, progress: TrainingProgress) -> None:
        at = f"epoch {progress.epoch}/{progress.epochs}"
        self._writer.add_scalar("loss/train", progress.train_loss, progress.step)
        self._bar.update(
            self._task,
            total=progress.epochs * progress.batches,
            completed=(progress.epoch - 1) * progress.batches + progress.batch,
            description=f"{at} batch {progress.batch}/{progress.batches} loss {progress.train_loss:.4f}",
        )
        if progress.validation_loss is None:
            return
        self.epochs.append(progress)
        self._writer.add_scalar("loss/validation", progress.validation_loss, progress.step)
        better = progress.validation_loss < self._best
        self._best = min(self._best, progress.validation_loss)
        console.err.print(
            f"{at}  train loss {progress.train_loss:.4f}  validation loss {progress.validation_loss:.4f}"
            f"{' (best)' if better else ''}  {progress.step} steps, {progress.seconds:.0f} s"
        )
