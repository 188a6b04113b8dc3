"""Training under Ray Train, from the command: 1 to N workers on CPU or GPU, restarted where some die."""

import threading
import time
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig
from ray.util.placement_group import PlacementGroup, remove_placement_group

from midas_ray import console
from midas_ray.errors import MemoryLimitError, MidasError, WorkerError
from midas_ray.forecast.board import open_board
from midas_ray.forecast.checkpoint_file import CHECKPOINT_FILE, read_checkpoint, weights_of
from midas_ray.forecast.checkpoints import Checkpoints
from midas_ray.forecast.nodes import ask_for_gpus
from midas_ray.forecast.quiet_trainer import QuietTrainer
from midas_ray.forecast.scheduling import CheckDevices, NodeNews, WaitForRoom, set_environment
from midas_ray.forecast.train_worker import train_loop
from midas_ray.forecast.training_progress import Report
from midas_ray.forecast.training_set import Schedule, TrainingSet
from midas_ray.forecast.workers import Workers
from midas_ray.settings import GpuSettings

POLL_S = 0.5


def _fit_beside(trainer: QuietTrainer) -> Future[Any]:
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


def _relay_until(future: Future[Any], board: Any, report: Report, node_news: NodeNews) -> Any:
    """Report what is on the board until the training has ended; gives its result."""
    ended = False
    while not ended:
        ended = bool(wait([future], POLL_S).done)
        news = ray.get(board.take.remote())
        node_news.look(news)
        for line in news.notes:
            console.err.print(line)
        for each in news.progress:
            report(each)
    return future.result()


def train_with_ray(
    training: TrainingSet,
    workers: Workers,
    checkpoints: Checkpoints,
    report: Report,
    max_restarts: int,
    settings: GpuSettings,
) -> dict[str, torch.Tensor]:
    """Train on the running Ray; gives the weights of the best epoch. Goes on where `checkpoints` has some.

    The workers need no disk of the command's machine. Raises TooFewRowsError or UsageError where some worker would have
    no window, DataError where the loss does not stay finite, MemoryLimitError, NodeError where a node that was waited
    for does not come or its GPU cannot be used, StorageError where a checkpoint cannot be written, CorruptFileError
    where one that comes back holds anything but data, WorkerError where workers die more than `max_restarts` times.
    Nodes that are taken away with notice (spot) do not count.
    """
    Schedule.of(training.network, len(training.train), workers.most)
    news, asked = NodeNews(workers, settings.wait_for_gpus), None
    if workers.to_come:
        asked = ask_for_gpus(workers.most, workers.one_node)
        news.asked(time.monotonic())
    board = open_board(checkpoints.run_id)
    try:
        trainer = _trainer(training, workers, checkpoints, max_restarts, settings, board, asked)
        result = _relay_until(_fit_beside(trainer), board, report, news)
    except ray.train.TrainingFailedError as error:
        raise _explained(error, board, training, max_restarts) from None
    finally:
        if asked is not None:
            remove_placement_group(asked)
    if (failure := ray.get(board.failure.remote())) is not None:
        raise failure
    best = Checkpoint(result.get_best_checkpoint("val_loss", "min").path, checkpoints.storage.fs)
    with best.as_directory() as folder:
        return weights_of(read_checkpoint(Path(folder) / CHECKPOINT_FILE))


def _trainer(
    training: TrainingSet,
    workers: Workers,
    checkpoints: Checkpoints,
    max_restarts: int,
    settings: GpuSettings,
    board: Any,
    asked: PlacementGroup | None,
) -> QuietTrainer:
    set_environment()
    everywhere = checkpoints.everywhere()
    callbacks: list[Any] = [WaitForRoom(board, workers, settings.wait_for_gpus if workers.gpu else None, asked)]
    if workers.gpu and not settings.fake_gpus:
        callbacks.append(CheckDevices())
    return QuietTrainer(
        train_loop,
        train_loop_config={
            "training": ray.put(training), "workers": workers, "board": board, "run_id": checkpoints.run_id,
            "fake_gpus": settings.fake_gpus, "storage": (everywhere, f"{checkpoints.root}/{checkpoints.run_id}"),
        },
        torch_config=TorchConfig(backend="gloo") if settings.fake_gpus else None,
        scaling_config=ScalingConfig(
            num_workers=workers.count_for_ray(), use_gpu=workers.gpu, resources_per_worker=workers.resources(),
            placement_strategy=workers.placement(),
        ),
        run_config=RunConfig(
            name=checkpoints.run_id,
            storage_path=checkpoints.root,
            storage_filesystem=everywhere,
            failure_config=FailureConfig(max_failures=max_restarts, max_preemption_failures=-1),
            checkpoint_config=CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute="val_loss", checkpoint_score_order="min"
            ),
            callbacks=callbacks,
        ),
    )  # fmt: skip


def _explained(error: Exception, board: Any, training: TrainingSet, max_restarts: int) -> MidasError:
    failure: MidasError | None = ray.get(board.failure.remote())
    if failure is not None:
        return failure
    if isinstance(found := getattr(error, "controller_failure", None), MidasError):
        return found
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
