"""What is shown and kept of a running training: a line an epoch (a bar on a terminal) and TensorBoard scalars."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import lightning.pytorch as pl
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from midas_ray import console
from midas_ray.progress import LinesNowAndThen

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
    """Mean over the epoch so far: of the first worker until the epoch ends, of all then."""
    validation_loss: float | None
    """None until the epoch ends."""
    seconds: float
    """Since training began."""
    validation_bps: float | None = None
    """The validation loss in bps of the price."""
    windows_per_s: float = 0.0
    """Training windows a second since the epoch began, all workers together."""


Report = Callable[[TrainingProgress], None]


class ProgressCallback(pl.Callback):
    """Reports at most once a second, and at the end of every epoch; only rank 0 does.

    The epochs so far are part of a checkpoint: a resumed training reports them again, to a command that may not know.
    """

    def __init__(self, report: Report, epochs: int, batch_size: int) -> None:
        self._report, self._epochs, self._batch_size = report, epochs, batch_size
        self._started = self._reported = self._epoch_started = time.monotonic()
        self._loss_sum = torch.zeros(())
        self._finished: list[TrainingProgress] = []

    def state_dict(self) -> dict[str, Any]:
        return {"finished": [asdict(progress) for progress in self._finished]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._finished = [TrainingProgress(**stored) for stored in state_dict["finished"]]

    def on_train_start(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        if self._finished and trainer.is_global_zero:
            self._started -= self._finished[-1].seconds
            for progress in self._finished:
                self._report(progress)

    def on_train_epoch_start(self, _trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self._loss_sum = torch.zeros((), device=module.device)
        self._epoch_started = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, _module: pl.LightningModule, outputs: Any, _batch: Any, batch_idx: int
    ) -> None:
        self._loss_sum += outputs["loss"].detach()
        if trainer.is_global_zero and time.monotonic() - self._reported >= REPORT_EVERY_S:
            self._report(self._now(trainer, batch_idx + 1))

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        self._loss_sum = trainer.strategy.reduce(self._loss_sum, reduce_op="mean")
        ended = replace(
            self._now(trainer, int(trainer.num_training_batches)),
            validation_loss=float(trainer.callback_metrics["val_loss"]),
            validation_bps=float(trainer.callback_metrics["val_loss_bps"]),
        )
        self._finished.append(ended)
        if trainer.is_global_zero:
            self._report(ended)

    def _now(self, trainer: pl.Trainer, batch: int) -> TrainingProgress:
        self._reported = time.monotonic()
        return TrainingProgress(
            epoch=trainer.current_epoch + 1,
            epochs=self._epochs,
            batch=batch,
            batches=int(trainer.num_training_batches),
            step=trainer.global_step,
            train_loss=float(self._loss_sum) / batch,
            validation_loss=None,
            seconds=self._reported - self._started,
            windows_per_s=batch * self._batch_size / max(1e-9, self._reported - self._epoch_started),
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
        self._lines = LinesNowAndThen()
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
        self._writer.add_scalar("speed/windows_per_s", progress.windows_per_s, progress.step)
        if progress.validation_loss is None:
            self._lines.say(
                lambda: (
                    f"{at} batch {progress.batch}/{progress.batches}  train loss {progress.train_loss:.4f}  "
                    f"{progress.windows_per_s:,.0f} windows/s"
                )
            )
            return
        if any(known.epoch == progress.epoch for known in self.epochs):
            return  # a worker that resumes tells what it knows
        self.epochs.append(progress)
        self._writer.add_scalar("loss/validation", progress.validation_loss, progress.step)
        in_bps = ""
        if progress.validation_bps is not None:
            self._writer.add_scalar("loss/validation_bps", progress.validation_bps, progress.step)
            in_bps = f" ({progress.validation_bps:.3f} bps)"
        better = progress.validation_loss < self._best
        self._best = min(self._best, progress.validation_loss)
        console.err.print(
            f"{at}  train loss {progress.train_loss:.4f}  validation loss {progress.validation_loss:.4f}{in_bps}"
            f"{' (best)' if better else ''}  {progress.step} steps, {progress.seconds:.0f} s"
        )
