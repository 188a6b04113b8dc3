"""A study under Ray Tune: begun, or gone on with after a cut."""

import logging
import os
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator

from midas_ray.errors import DataError, UsageError
from midas_ray.forecast.tuning.space import search_space
from midas_ray.forecast.tuning.trial import OBJECTIVE, TrialData, run_trial
from midas_ray.forecast.tuning.watch import StudyWatch, open_store
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


def resources(values: Tune) -> dict[str, float]:
    """What a trial takes. Raises UsageError where the running Ray has not so much."""
    found = ray.cluster_resources()
    gpus = values.gpus_per_trial
    if gpus and not found.get("GPU"):
        raise UsageError(f"--gpus-per-trial {gpus:g}: expected a GPU, found none; leave it out for the CPU")
    if values.cpus_per_trial > found.get("CPU", 1):
        raise UsageError(f"--cpus-per-trial {values.cpus_per_trial}: expected at most {found.get('CPU', 1):g} cores")
    if gpus is None:
        gpus = 1.0 if found.get("GPU") else 0.0
    return {"cpu": float(values.cpus_per_trial), "gpu": gpus}


def run_study(
    storage: Storage,
    folder: str,
    values: Tune,
    data: TrialData,
    families: tuple[str, ...],
    log_dir: Path,
    resume: bool,
) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Run all trials that have not ended; gives trial, drawn configuration and last report of each.

    Raises DataError where all trials failed.
    """
    os.environ.update(_ENVIRONMENT)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    trainable = tune.with_resources(tune.with_parameters(run_trial, data=data), resources(values))
    # Ray keeps its state on this machine: in an object store it would lie beside the credentials it pickles.
    path = storage.work_folder / folder
    space = search_space(values, families)
    open_store(storage, folder)
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
                search_alg=BasicVariantGenerator(random_state=values.seed),
                trial_dirname_creator=_trial_folder,
            ),
            run_config=tune.RunConfig(
                name=path.name,
                storage_path=str(path.parent),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                callbacks=[StudyWatch(storage, folder, log_dir, values.trials)],
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
