"""`midas train` and `midas tensorboard`."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midas_ray import console, settings
from midas_ray.dataset.panel import load_panel
from midas_ray.errors import DataError, NodeError, StorageError, UsageError, WorkerError
from midas_ray.forecast.checkpoints import ROOT, Checkpoints, TrainingRecord, unfinished
from midas_ray.forecast.model_folder import check_folder, model_folder, new_run_id
from midas_ray.forecast.parts import Parts, split_panel
from midas_ray.interrupt import held_back
from midas_ray.ray_session import ray_session
from midas_ray.storage import Storage

if TYPE_CHECKING:  # they import torch
    from midas_ray.forecast.forecaster import Forecaster
    from midas_ray.forecast.training_progress import TrainingProgress


def train(values: settings.Train, run_id: str | None = None) -> int:
    """Train on the feature table; writes models/<run>/ and points models/latest to it. Gives the exit code.

    run_id: name of a training that begins; None = one by the time. Raises MidasError with one line where the data, a
    setting or a folder will not do; no model is written then.
    """
    storage = Storage.of(values)
    record, run_id = None, run_id or new_run_id()
    if values.resume is not None:
        run_id = values.resume
        record = Checkpoints(storage, run_id).read()
        values = _settings_of(record, values)
    if values.n_heads > values.hidden_dim:
        raise UsageError(f"--n-heads {values.n_heads}: expected at most --hidden-dim, found {values.hidden_dim}")
    panel = load_panel(storage, values.venue, values.symbols)
    if record is not None:
        panel = panel.until(record.last_ts_us)
    parts = split_panel(panel, values)
    model_dir, log_dir = Path(values.model_dir).resolve(), Path(values.log_dir).resolve()
    check_folder("--model-dir", model_dir)
    check_folder("--log-dir", log_dir)
    for line in (*parts.sentences(), *_left_over(storage, run_id)):
        console.err.print(line)
    checkpoints = Checkpoints(storage, run_id)
    with _kept_where_cut_off(checkpoints, _gpu_flags(values), resumed=record is not None):
        result = _fit(values, parts, checkpoints, record, int(panel.ts_us.max()), log_dir / run_id)
        with model_folder(model_dir, run_id) as folder:
            metrics = _write(folder, run_id, values, parts, *result)
    checkpoints.delete()
    console.out.print(_verdict(metrics["test"]))
    console.out.print(f"model: {model_dir / run_id}")
    return 0


WHERE_IT_RUNS = (
    "data_dir", "spool_dir", "ray_address", "num_cpus", "gpus", "workers", "max_restarts", "resume", "wait_for_gpus",
    "fake_gpus",
)  # fmt: skip
"""Settings that a resumed training takes from its command; all others are its own."""


def _gpu_flags(values: settings.Train) -> str:
    """The flags of a training on GPUs, which one that is resumed does not take from it."""
    return f" --gpus {values.gpus}{' --fake-gpus' if values.fake_gpus else ''}" if values.gpus else ""


def _settings_of(record: TrainingRecord, values: settings.Train) -> settings.Train:
    here = {name: getattr(values, name) for name in WHERE_IT_RUNS}
    return settings.Train.model_validate({**record.settings, **here})


def _left_over(storage: Storage, run_id: str) -> list[str]:
    return [
        f"checkpoints of {run} are kept: if it is not running, midas train --resume {run} goes on with it, and "
        f"deleting {storage.shown_path(f'{ROOT}/{run}')} forgets it"
        for run in unfinished(storage)
        if run != run_id
    ]


@contextlib.contextmanager
def _kept_where_cut_off(checkpoints: Checkpoints, flags: str, resumed: bool) -> Iterator[None]:
    """After an interrupt or the death of workers the epochs so far are kept, where there are some; else nothing is.

    flags: what to go on with. What a resumed training began with is kept whatever happens.
    """
    try:
        yield
    except (KeyboardInterrupt, WorkerError, NodeError, StorageError):
        with held_back():
            if checkpoints.exist():
                console.err.print(
                    f"epochs so far are kept: midas train --resume {checkpoints.run_id}{flags} goes on with them"
                )
            else:
                checkpoints.delete()
        raise
    except BaseException:
        if not resumed:
            checkpoints.delete()
        raise


Fitted = tuple["Forecaster", int, list["TrainingProgress"]]
"""Forecaster, training windows, epochs."""


def _fit(
    values: settings.Train,
    parts: Parts,
    checkpoints: Checkpoints,
    record: TrainingRecord | None,
    last_ts_us: int,
    log_dir: Path,
) -> Fitted:
    """Train under Ray, from the start or, with the `record` of a training that was cut off, from its last epoch."""
    # These import torch, which takes seconds: bad input is refused before.
    from midas_ray.forecast.display import TrainingDisplay
    from midas_ray.forecast.fitting import forecaster_of
    from midas_ray.forecast.training_set import prepare

    # The command line's settings class is made at run time: workers get the plain one.
    fields = settings.NetworkSettings.model_fields
    network = settings.NetworkSettings.model_construct(**{name: getattr(values, name) for name in fields})
    panel, split = parts.panel, parts.split
    training = prepare(panel, split.train, split.validation, network, columns=parts.choice.columns)
    digest = training.digest()
    if record is not None and record.digest != digest:
        raise DataError(
            f"--resume {checkpoints.run_id}: expected the features it began with, found others up to the same moment; "
            "train anew"
        )
    with ray_session(values), TrainingDisplay(log_dir) as display:
        # Not before the session: how an address on loopback is taken is settled when Ray is imported.
        from midas_ray.forecast.distributed import train_with_ray
        from midas_ray.forecast.room import room_now
        from midas_ray.forecast.workers import check_for_gpu, plan_workers

        workers = plan_workers(values.gpus, values.workers, values.hidden_dim, room_now())
        check_for_gpu(values, workers.gpu)
        if record is None:
            stored = values.model_dump(mode="json", exclude={*WHERE_IT_RUNS, "config"})
            checkpoints.begin(TrainingRecord(settings=stored, last_ts_us=last_ts_us, digest=digest))
        console.err.print(
            f"training {checkpoints.run_id} on {len(training.train)} windows (--stride {values.stride}): "
            f"{workers.sentence()}"
        )
        weights = train_with_ray(training, workers, checkpoints, display, values.max_restarts, values)
    forecaster = forecaster_of(training, weights, panel).calibrated(panel, split.calibration)
    return forecaster, len(training.train), display.epochs


def _write(
    folder: Path,
    run_id: str,
    values: settings.Train,
    parts: Parts,
    forecaster: "Forecaster",
    windows: int,
    epochs: list["TrainingProgress"],
) -> dict[str, Any]:
    """Write everything of the model into `folder`; gives its metrics."""
    from midas_ray.forecast.documents import write_documents

    forecaster.save(folder)
    return write_documents(folder, run_id, values, parts, forecaster, windows, epochs)


def _verdict(test: dict[str, Any]) -> str:
    coverage = f"coverage from P10 to P90 {100 * test['coverage']:.0f} %"
    if "mean_pinball_bps" not in test:
        return f"test: {coverage}; nothing to compare with: too little before it for a baseline"
    loss = test["mean_pinball_bps"]
    skill = "" if test["skill"] is None else f" (skill {100 * test['skill']:+.1f} %)"
    return (
        f"test: mean pinball loss {loss['model']:.3f} bps, zero return with trailing quantiles "
        f"{loss['baseline']:.3f} bps{skill}; {coverage}"
    )


def tensorboard(values: settings.Tensorboard) -> int:
    """Serve the training curves on this machine until Ctrl-C. Raises DataError without logs, UsageError for a port."""
    from tensorboard.program import TensorBoard, TensorBoardServerException

    log_dir = Path(values.log_dir).resolve()
    if not any(log_dir.rglob("events.out.tfevents.*")):
        raise DataError(f"--log-dir {log_dir}: expected TensorBoard logs, found none; run midas train first")
    server = TensorBoard()
    server.configure(
        argv=[None, "--logdir", str(log_dir), "--host", "127.0.0.1", "--port", str(values.tensorboard_port)]
    )
    try:
        url = server.launch()
    except TensorBoardServerException as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--tensorboard-port {values.tensorboard_port}: {reason}; choose another") from None
    console.out.print(f"TensorBoard: {url} (Ctrl-C ends it)")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.err.print("TensorBoard stopped")
    return 0
