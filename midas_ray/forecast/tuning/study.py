"""A study under Ray Tune: begun, or gone on with after a cut."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator

from midas_ray.errors import DataError, UsageError
from midas_ray.forecast.nodes import GpuWatch, bring_gpus
from midas_ray.forecast.room import room_now
from midas_ray.forecast.tuning.space import search_space
from midas_ray.forecast.tuning.trial import OBJECTIVE, TrialData, run_trial
from midas_ray.forecast.tuning.watch import StudyWatch, open_study
from midas_ray.settings import Tune
from midas_ray.storage import Storage

REDUCTION = 3
"""Of the trials that reach a rung the best third goes on."""
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True, slots=True)
class TrialShare:
    """What a trial takes of the cluster, and how many may run at a time."""

    cpus: float
    gpus: float
    at_once: int
    """0 = as many as Ray has room for."""

    def sentence(self) -> str:
        gpu = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"each takes {self.cpus:g} CPU{gpu}"


def share_of_trial(values: Tune) -> TrialShare:
    """Raises UsageError where the running Ray has not so much.

    A GPU that is asked for where there is none is brought where the cluster has an autoscaler: NodeError where none
    came in time. Trials share what is there then: those that waited for more would have more rented.
    """
    room = room_now()
    gpus = values.gpus_per_trial
    if gpus and not room.gpus:
        if not room.grows:
            raise UsageError(f"--gpus-per-trial {gpus:g}: expected a GPU, found none; leave it out for the CPU")
        bring_gpus("--gpus-per-trial", 1, True, values.wait_for_gpus)
        room = room_now()
    if gpus is None:
        gpus = 1.0 if room.gpus else 0.0
    if not gpus:
        if values.cpus_per_trial > room.cpus:
            raise UsageError(f"--cpus-per-trial {values.cpus_per_trial}: expected at most {room.cpus:g} cores")
        return TrialShare(float(values.cpus_per_trial), 0.0, 0)
    return TrialShare(min(values.cpus_per_trial, gpus * room.cpus_beside_gpu), gpus, max(1, int(room.gpus / gpus)))


def run_study(
    storage: Storage,
    folder: str,
    values: Tune,
    data: TrialData,
    share: TrialShare,
    families: tuple[str, ...],
    log_dir: Path,
    resume: bool,
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Run all trials that have not ended; gives trial, drawn configuration and last report of each.

    Raises DataError where all trials failed, NodeError where no node with a GPU is left and none came in time.
    """
    os.environ.update(_ENVIRONMENT)
    if share.gpus:
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1"
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    parameters = tune.with_parameters(run_trial, data=data)
    trainable = tune.with_resources(parameters, {"cpu": share.cpus, "gpu": share.gpus})
    # Ray keeps its state on this machine: in an object store it would lie beside the credentials it pickles.
    path = storage.work_folder / folder
    space = search_space(values, families)
    open_study(storage, folder, data.board, GpuWatch(values.wait_for_gpus) if share.gpus else None)
    if resume and tune.Tuner.can_restore(str(path)):
        tuner = tune.Tuner.restore(str(path), trainable, resume_unfinished=True, param_space=space)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space=space,
            tune_config=tune.TuneConfig(
                metric=OBJECTIVE,
                mode="min",
                num_samples=values.trials,
                scheduler=ASHAScheduler(
                    time_attr="epoch",
                    max_t=values.epochs,
                    grace_period=min(values.grace_epochs, values.epochs),
                    reduction_factor=REDUCTION,
                ),
                search_alg=BasicVariantGenerator(random_state=values.seed, max_concurrent=share.at_once),
                trial_dirname_creator=_trial_folder,
            ),
            run_config=tune.RunConfig(
                name=path.name,
                storage_path=str(path.parent),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                callbacks=[StudyWatch(folder, log_dir, values.trials)],
            ),
        )
    results = tuner.fit()
    found = [(_id_of(each), dict(each.config or {}), dict(each.metrics or {})) for each in results]
    if not any(report.get(OBJECTIVE, float("inf")) < float("inf") for _, _, report in found):
        reasons = [str(report["failure"]) for _, _, report in found if report.get("failure")]
        said = reasons[0] if reasons else "their processes ended"
        raise DataError(f"all {len(found)} trials failed: expected one with a finite loss; the first: {said}")
    return found


def _trial_folder(trial: Any) -> str:
    return f"trial_{trial.trial_id}"


def _id_of(result: Any) -> str:
    return str(Path(result.path).name.removeprefix("trial_"))
