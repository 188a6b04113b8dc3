"""What is told of a running training from where it runs."""

import time
from dataclasses import asdict, replace
from typing import Any

import lightning.pytorch as pl
import torch

from midas_ray.forecast.training_progress import Report, TrainingProgress

REPORT_EVERY_S = 1.0


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
