"""Training under Ray Train: one CPU worker, or one worker per GPU, restarted from the last checkpoint if one dies."""

import contextlib
import os
import threading
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import ray
import ray.train
import torch
from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, RayTrainReportCallback, prepare_trainer
from ray.train.torch import TorchTrainer

from midas_ray.errors import UsageError
from midas_ray.forecast.fitting import Schedule, TrainingSet, loaders, new_module, quiet_lightning, trainer_options
from midas_ray.forecast.progress import Report, TrainingProgress

MOST_CPU_THREADS = 4
THREADS_PAY_FROM = 32
"""Hidden size below which more than one thread only waits: a step takes 268 ms on one core and 245 ms on two at 16, 667
and 441 ms at 64; on a busy machine each of its thousands of small operations waits for the slowest thread."""
POLL_S = 0.5
_WEIGHTS = "network."


@dataclass(frozen=True, slots=True)
class Workers:
    """How a training is spread."""

    count: int
    gpu: bool
    threads: int
    """CPU cores and torch threads of each."""

    def sentence(self) -> str:
        if self.gpu:
            return f"{self.count} GPU worker{'s' if self.count > 1 else ''}"
        return f"1 CPU worker, {self.threads} thread{'s' if self.threads > 1 else ''}"


def plan_workers(gpus: int | None, hidden_dim: int) -> Workers:
    """Workers for `--gpus` on the running Ray: None = all its GPUs. Raises UsageError where it has fewer."""
    found = int(ray.cluster_resources().get("GPU", 0))
    wanted = found if gpus is None else gpus
    if wanted > found:
        raise UsageError(f"--gpus {wanted}: expected at most the {found} that Ray finds; lower it, or 0 for the CPU")
    if wanted:
        return Workers(wanted, True, 1)
    if hidden_dim < THREADS_PAY_FROM:
        return Workers(1, False, 1)
    biggest = max(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])
    free = ray.available_resources().get("CPU", 1)
    return Workers(1, False, max(1, int(min(biggest, free, MOST_CPU_THREADS))))


class _Board:
    """Carries progress from the worker of rank 0 to the command, wherever the two run."""

    def __init__(self) -> None:
        self._progress: list[TrainingProgress] = []

    def add(self, progress: TrainingProgress) -> None:
        self._progress.append(progress)

    def take(self) -> list[TrainingProgress]:
        taken, self._progress = self._progress, []
        return taken


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
        for progress in ray.get(board.take.remote()):
            report(progress)
    return future.result()


def _train_loop(config: dict[str, Any]) -> None:
    """What each worker runs."""
    training: TrainingSet = ray.get(config["training"])
    workers: Workers = config["workers"]
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    schedule = Schedule.of(training.network, len(training.train), world)
    torch.set_num_threads(workers.threads)
    torch.manual_seed(training.network.seed + rank)
    options = trainer_options(training, schedule, config["board"].add.remote)
    options["callbacks"].append(RayTrainReportCallback())
    with quiet_lightning():
        trainer = prepare_trainer(
            pl.Trainer(
                accelerator="gpu" if workers.gpu else "cpu",
                devices="auto",
                strategy=RayDDPStrategy(find_unused_parameters=False),
                plugins=[RayLightningEnvironment()],
                **options,
            )
        )
        module = new_module(training)
        checkpoint = ray.train.get_checkpoint()
        with contextlib.ExitStack() as stack:
            resume = None
            if checkpoint is not None:
                folder = stack.enter_context(checkpoint.as_directory())
                resume = str(Path(folder) / RayTrainReportCallback.CHECKPOINT_NAME)
            trainer.fit(module, *loaders(training, schedule, rank, world), ckpt_path=resume, weights_only=False)


def train_with_ray(
    training: TrainingSet, workers: Workers, run_id: str, storage: Path, report: Report
) -> dict[str, torch.Tensor]:
    """Train on the running Ray; gives the weights of the best epoch. Checkpoints lie in `storage` meanwhile.

    `run_id` must be new: Ray resumes a known one instead of training. `storage` must be visible from every worker.
    Raises TooFewRowsError where some worker would have no window.
    """
    Schedule.of(training.network, len(training.train), workers.count)
    # The controller looks every 2 s by default: a small training would mostly wait for it.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    board = ray.remote(num_cpus=0)(_Board).remote()
    config = {"training": ray.put(training), "workers": workers, "board": board}
    trainer = TorchTrainer(
        _train_loop,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=workers.count, use_gpu=workers.gpu, resources_per_worker=_resources(workers)
        ),
        run_config=RunConfig(
            name=run_id,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=1),
            checkpoint_config=CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute="val_loss", checkpoint_score_order="min"
            ),
        ),
    )
    result = _relay_until(_fit_beside(trainer), board, report)
    best = result.get_best_checkpoint("val_loss", "min")
    with best.as_directory() as folder:
        path = Path(folder) / RayTrainReportCallback.CHECKPOINT_NAME
        stored = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    return {name.removeprefix(_WEIGHTS): value for name, value in stored.items() if name.startswith(_WEIGHTS)}


def _resources(workers: Workers) -> dict[str, float]:
    return {"CPU": workers.threads, "GPU": 1} if workers.gpu else {"CPU": workers.threads}
