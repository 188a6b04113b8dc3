"""`midas train` and `midas tensorboard`."""

import shutil
import signal
from pathlib import Path
from typing import Any

from midas_ray import console, settings
from midas_ray.dataset.panel import load_panel
from midas_ray.errors import DataError, UsageError
from midas_ray.forecast.model_folder import check_folder, model_folder, new_run_id
from midas_ray.forecast.parts import Parts, split_panel
from midas_ray.ray_session import ray_session
from midas_ray.storage import Storage


def train(values: settings.Train) -> int:
    """Train on the feature table; writes models/<run>/ and points models/latest to it. Gives the exit code.

    Raises MidasError with one line where the data, a setting or a folder will not do; no model is written then.
    """
    if values.n_heads > values.hidden_dim:
        raise UsageError(f"--n-heads {values.n_heads}: expected at most --hidden-dim, found {values.hidden_dim}")
    parts = split_panel(load_panel(Storage.of(values), values.venue, values.symbols), values)
    model_dir, log_dir = Path(values.model_dir).resolve(), Path(values.log_dir).resolve()
    check_folder("--model-dir", model_dir)
    check_folder("--log-dir", log_dir)
    for line in parts.sentences():
        console.err.print(line)
    run_id = new_run_id()
    with model_folder(model_dir, run_id) as folder:
        metrics = _train_into(folder, run_id, values, parts, log_dir / run_id)
    console.out.print(_verdict(metrics["test"]))
    console.out.print(f"model: {model_dir / run_id}")
    return 0


def _train_into(folder: Path, run_id: str, values: settings.Train, parts: Parts, log_dir: Path) -> dict[str, Any]:
    """Train and write everything of the model into `folder`; gives its metrics."""
    # These import torch, which takes seconds: bad input is refused before.
    from midas_ray.forecast.distributed import plan_workers, train_with_ray
    from midas_ray.forecast.documents import write_documents
    from midas_ray.forecast.fitting import forecaster_of, prepare
    from midas_ray.forecast.progress import TrainingDisplay

    # The command line's settings class is made at run time: workers get the plain one.
    fields = settings.NetworkSettings.model_fields
    network = settings.NetworkSettings.model_construct(**{name: getattr(values, name) for name in fields})
    panel, split = parts.panel, parts.split
    training = prepare(panel, split.train, split.validation, network, columns=parts.choice.columns)
    with ray_session(values), TrainingDisplay(log_dir) as display:
        workers = plan_workers(values.gpus, values.hidden_dim)
        console.err.print(f"training on {len(training.train)} windows (--stride {values.stride}): {workers.sentence()}")
        weights = train_with_ray(training, workers, run_id, folder / "ray", display)
    shutil.rmtree(folder / "ray")
    forecaster = forecaster_of(training, weights, panel).calibrated(panel, split.calibration)
    forecaster.save(folder)
    return write_documents(folder, run_id, values, parts, forecaster, len(training.train), display.epochs)


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
