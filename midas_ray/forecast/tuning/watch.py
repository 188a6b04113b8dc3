"""What a running study tells: a line a finished trial, TensorBoard curves, and a record of each result at once."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.tune import Callback
from torch.utils.tensorboard import SummaryWriter

from midas_ray import console
from midas_ray.forecast.nodes import GpuWatch
from midas_ray.forecast.tuning.space import sentence
from midas_ray.forecast.tuning.trial import OBJECTIVE
from midas_ray.storage import Storage

KEPT = (OBJECTIVE, "best_epoch", "epoch", "train_loss", "validation_loss", "seconds", "failure")
"""What is kept of a trial's last report."""
RESULTS = "results"
_OPEN: dict[str, "OpenStudy"] = {}


def kept(report: dict[str, Any]) -> dict[str, Any]:
    return {name: report[name] for name in KEPT if name in report}


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """What a study that runs has open: not part of what Ray pickles."""

    storage: Storage
    """Where its results go; it may hold credentials."""
    board: Any
    """What trials tell, wherever they run."""
    gpus: GpuWatch | None


def open_study(storage: Storage, folder: str, board: Any, gpus: GpuWatch | None) -> None:
    """Before the study in `folder` begins, or goes on. gpus: None where it runs on CPUs."""
    _OPEN[folder] = OpenStudy(storage, board, gpus)


def finished_trials(storage: Storage, folder: str) -> dict[str, dict[str, Any]]:
    """The last report of every trial that has ended, by trial."""
    paths = storage.list_files(f"{folder}/{RESULTS}", ".json")
    contents = storage.read_many(paths)
    return {Path(path).stem: json.loads(content) for path, content in zip(paths, contents, strict=True)}


class StudyWatch(Callback):
    """Follows a study from the command's process. Ray pickles it with the study: what is open is made anew."""

    def __init__(self, folder: str, log_dir: Path, trials: int) -> None:
        self._folder, self._log_dir, self._trials = folder, log_dir, trials
        self._writers: dict[str, SummaryWriter] = {}
        self._ended: set[str] = set()
        self._best = math.inf

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_writers": {}}

    def get_state(self) -> None:
        """Nothing to be restored by Ray: results lie in the data folder."""

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:  # noqa: ARG002
        """Raises NodeError where the last GPU is gone for too long."""
        study = _OPEN[self._folder]
        for line in ray.get(study.board.take.remote()).notes:
            console.err.print(line)
        if study.gpus is not None:
            study.gpus.look()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:  # noqa: ARG002
        if trial.trial_id not in self._writers:
            self._writers[trial.trial_id] = SummaryWriter(str(self._log_dir / trial.trial_id))
        writer = self._writers[trial.trial_id]
        for name in (OBJECTIVE, "train_loss", "validation_loss"):
            if math.isfinite(result.get(name, math.nan)):
                writer.add_scalar(f"trial/{name}", result[name], result["epoch"])
        writer.flush()

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        report = kept(trial.last_result)
        if OBJECTIVE in report and trial.trial_id not in self._ended:
            path = f"{self._folder}/{RESULTS}/{trial.trial_id}.json"
            _OPEN[self._folder].storage.write_bytes(path, json.dumps(report).encode())
            self._say(trial, report)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        self._ended.add(trial.trial_id)
        console.err.print(
            f"trial {len(self._ended)}/{self._trials} failed: its process ended ({sentence(trial.config)})"
        )

    def _say(self, trial: Any, report: dict[str, Any]) -> None:
        self._ended.add(trial.trial_id)
        count = f"trial {len(self._ended)}/{self._trials}"
        if report.get("failure"):
            console.err.print(f"{count} failed: {report['failure']} ({sentence(trial.config)})")
            return
        loss = report[OBJECTIVE]
        mark = " (best)" if loss < self._best else ""
        self._best = min(self._best, loss)
        console.err.print(f"{count}: {loss:.4f} bps{mark} after {report['epoch']} epochs; {sentence(trial.config)}")
