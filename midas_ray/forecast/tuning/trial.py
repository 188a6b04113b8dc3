"""One trial: a training in one process, which reports to Ray Tune after every epoch."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.errors import MidasError
from midas_ray.forecast.device import accelerator
from midas_ray.forecast.fitting import fit
from midas_ray.forecast.training_progress import TrainingProgress
from midas_ray.forecast.tuning.space import network_of
from midas_ray.settings import OptimisationSettings

OBJECTIVE = "validation_bps"
"""Mean pinball loss on the validation part in bps of the price, in the epoch whose weights would be kept: the same
windows' outcomes and the same unit, whatever the encoder's length and the scale of the targets."""


@dataclass(frozen=True, slots=True)
class TrialData:
    """What all trials of a study share. The panel ends with the last validation label: there is no test part in it."""

    panel: Panel
    train: IntArray
    validation: IntArray
    columns: tuple[str, ...]
    fixed: OptimisationSettings
    threads: int
    gpu: bool
    fake_gpus: bool
    board: Any
    """Where lines for the person go (`Board`)."""
    finished: dict[str, dict[str, Any]]
    """Last report of trials that ended before the study was cut off, by trial: they are not run again."""


def run_trial(drawn: dict[str, Any], data: TrialData) -> None:
    """The function that Ray Tune calls. A training that fails is a trial with an infinite loss and the reason."""
    known = data.finished.get(str(tune.get_context().get_trial_id()))
    if known is not None:
        tune.report(known)
        return
    torch.set_num_threads(data.threads)
    best = {"loss": float("inf"), "bps": float("inf"), "epoch": 0}

    def report(progress: TrainingProgress) -> None:
        if progress.validation_loss is None or progress.validation_bps is None:
            return
        if progress.validation_loss < best["loss"]:
            best.update(loss=progress.validation_loss, bps=progress.validation_bps, epoch=progress.epoch)
        tune.report(
            {
                OBJECTIVE: best["bps"],
                "best_epoch": best["epoch"],
                "epoch": progress.epoch,
                "train_loss": progress.train_loss,
                "validation_loss": progress.validation_loss,
                "seconds": progress.seconds,
                "failure": "",
            }
        )

    with tempfile.TemporaryDirectory(prefix="midas-trial-") as folder:
        try:
            device = accelerator(data.gpu, data.fake_gpus, lambda line: ray.get(data.board.note.remote(line)))
            fit(
                data.panel,
                data.train,
                data.validation,
                network_of(drawn, data.fixed),
                Path(folder),
                columns=data.columns,
                report=report,
                accelerator=device,
            )
        except MidasError as error:
            tune.report({OBJECTIVE: float("inf"), "epoch": best["epoch"], "best_epoch": 0, "failure": str(error)})
