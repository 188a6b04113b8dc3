"""Training under Ray Train: 1 to N workers on CPU or GPU, restarted from the last checkpoint where some die."""

import contextlib
import os
import tempfile
import threading
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import ray
import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer
from ray.train.torch import TorchTrainer

from midas_ray import console
from midas_ray.errors import MemoryLimitError, MidasError, WorkerError
from midas_ray.forecast.board import open_board
from midas_ray.forecast.checkpoints import Checkpoints
from midas_ray.forecast.fitting import prepared, quiet_lightning, trainer_options
from midas_ray.forecast.memory import out_of_memory_explained
from midas_ray.forecast.metrics import TrainingMetrics
from midas_ray.forecast.progress import Report, TrainingProgress
from midas_ray.forecast.training_set import Schedule, TrainingSet, loaders, new_module, sampler_of
from midas_ray.forecast.workers import Workers

POLL_S = 0.5
CHECKPOINT_FILE = "checkpoint.ckpt"
_WEIGHTS = "network."


def _fit_beside(trainer: TorchTrainer) -> Future[Any]:
    """Run `trainer.fit()` in another thread.

    In the main thread it would put a handler in the place of Python's Ctrl-C for good, and end the process with code 1.
    The thread is a daemon: an interrupted command leaves it behind, and it ends with its Ray.
    """
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(trainer.fit())
        except BaseException as error:  # noqa: BLE001 (raised in the main thread by future.result())
            future.set_exception(error)

    threading.Thread(target=run, name="ray-train", daemon=True).start()
    return future


def _relay_until(future: Future[Any], board: Any, report: Report) -> Any:
    """Report what is on the board until the training has ended; gives its result."""
    ended = False
    while not ended:
        ended = bool(wait([future], POLL_S).done)
        progress, notes = ray.get(board.take.remote())
        for line in notes:
            console.err.print(line)
        for each in progress:
            report(each)
    return future.result()


class _ReportToRay(pl.Callback):
    """Gives Ray Train a checkpoint at the end of every epoch; that of rank 0 is the same as every other's."""

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        metrics = {name: float(trainer.callback_metrics[name]) for name in ("val_loss", "val_loss_bps")}
        metrics["epoch"] = trainer.current_epoch + 1
        with tempfile.TemporaryDirectory(prefix="midas-checkpoint-") as folder:
            trainer.save_checkpoint(Path(folder) / CHECKPOINT_FILE)
            checkpoint = Checkpoint.from_directory(folder) if trainer.is_global_zero else None
            ray.train.report(metrics, checkpoint=checkpoint)
            trainer.strategy.barrier()


def _train_loop(config: dict[str, Any]) -> None:
    """What each worker runs. After a failure that a restart would meet again it does nothing."""
    board = config["board"]
    if ray.get(board.failure.remote()) is not None:
        return
    try:
        _train(config)
    except MidasError as error:
        ray.get(board.fail.remote(error))
        raise


def _train(config: dict[str, Any]) -> None:
    training: TrainingSet = ray.get(config["training"])
    workers: Workers = config["workers"]
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(workers.threads)
    schedule = Schedule.of(training.network, len(training.train), world)
    sampler = sampler_of(training, schedule, rank, world)
    metrics = TrainingMetrics(config["run_id"])

    def report(progress: TrainingProgress) -> None:
        config["board"].add.remote(progress)
        metrics.export(progress)

    options = trainer_options(training, schedule, sampler, report, rank)
    options["callbacks"].append(_ReportToRay())
    with quiet_lightning(), contextlib.ExitStack() as stack:
        trainer = prepare_trainer(
            pl.Trainer(
                accelerator="gpu" if workers.gpu else "cpu",
                devices="auto",
                strategy=RayDDPStrategy(find_unused_parameters=False),
                plugins=[RayLightningEnvironment()],
                **options,
            )
        )
        resume, epochs_done = None, 0
        if (checkpoint := ray.train.get_checkpoint()) is not None:
            resume = str(Path(stack.enter_context(checkpoint.as_directory())) / CHECKPOINT_FILE)
            epochs_done = torch.load(resume, map_location="cpu", weights_only=False)["epoch"] + 1
        if rank == 0:
            config["board"].begin.remote(epochs_done, world)
        with out_of_memory_explained(training, str(trainer.strategy.root_device), world):
            module = prepared(new_module(training), trainer, training.network)
            trainer.fit(module, *loaders(training, sampler, rank, world), ckpt_path=resume, weights_only=False)
    metrics.forget()


def train_with_ray(
    training: TrainingSet, workers: Workers, checkpoints: Checkpoints, report: Report, max_restarts: int
) -> dict[str, torch.Tensor]:
    """Train on the running Ray; gives the weights of the best epoch. Goes on where `checkpoints` has some.

    The checkpoints' storage must be visible from every worker. Raises TooFewRowsError or UsageError where some worker
    would have no window, DataError where the loss does not stay finite, MemoryLimitError, WorkerError where workers die
    more than `max_restarts` times. Nodes that are taken away with notice (spot) do not count.
    """
    Schedule.of(training.network, len(training.train), workers.most)
    # The controller looks every 2 s by default: a small training would mostly wait for it.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    board = open_board()
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config={
            "training": ray.put(training), "workers": workers, "board": board, "run_id": checkpoints.run_id
        },
        scaling_config=ScalingConfig(
            num_workers=workers.count_for_ray(), use_gpu=workers.gpu, resources_per_worker=_resources(workers)
        ),
        run_config=RunConfig(
            name=checkpoints.run_id,
            storage_path=checkpoints.root,
            storage_filesystem=checkpoints.storage.fs,
            failure_config=FailureConfig(max_failures=max_restarts, max_preemption_failures=-1),
            checkpoint_config=CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute="val_loss", checkpoint_score_order="min"
            ),
        ),
    )  # fmt: skip
    try:
        result = _relay_until(_fit_beside(trainer), board, report)
    except ray.train.TrainingFailedError as error:
        raise _explained(error, board, training, max_restarts) from None
    if (failure := ray.get(board.failure.remote())) is not None:
        raise failure
    best = result.get_best_checkpoint("val_loss", "min")
    with best.as_directory() as folder:
        stored = torch.load(Path(folder) / CHECKPOINT_FILE, map_location="cpu", weights_only=False)["state_dict"]
    return {name.removeprefix(_WEIGHTS): value for name, value in stored.items() if name.startswith(_WEIGHTS)}


def _explained(error: Exception, board: Any, training: TrainingSet, max_restarts: int) -> MidasError:
    failure: MidasError | None = ray.get(board.failure.remote())
    if failure is not None:
        return failure
    said = str(error)
    if "OutOfMemoryError" in said or "memory monitor" in said:
        batch = training.network.batch_size
        return MemoryLimitError(
            f"out of memory: Ray ended a worker with --batch-size {batch} to save its node; lower it to {batch // 2}, "
            "or --hidden-dim, or thin the windows by --stride"
        )
    reason = next((line for line in reversed(said.splitlines()) if line.strip()), type(error).__name__)
    return WorkerError(
        f"training failed: expected workers to die at most {max_restarts} times (--max-restarts), found one more; "
        f"the last said: {reason.strip()[:200]}"
    )


def _resources(workers: Workers) -> dict[str, float]:
    return {"CPU": workers.threads, "GPU": 1} if workers.gpu else {"CPU": workers.threads}
