"""Training under Ray Train, in a worker: on any node, which need not share a disk with the command."""

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pyarrow.fs as pafs
import ray
import ray.train
import torch
from ray.train import Checkpoint
from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer

from midas_ray.errors import MidasError, StorageError
from midas_ray.forecast.checkpoint_file import CHECKPOINT_FILE, read_checkpoint
from midas_ray.forecast.device import accelerator
from midas_ray.forecast.fitting import prepared, quiet_lightning, trainer_options
from midas_ray.forecast.memory import out_of_memory_explained
from midas_ray.forecast.metrics import TrainingMetrics
from midas_ray.forecast.training_progress import TrainingProgress
from midas_ray.forecast.training_set import Schedule, TrainingSet, loaders, new_module, sampler_of

PIECE_BYTES = 32 * 2**20
_STAYS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}
"""What a disk says that workers would hear again after a restart."""


@contextlib.contextmanager
def _disk_told(where: str) -> Iterator[None]:
    """Inside the block a disk that is full, or may not be written to, raises StorageError. Other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in _STAYS:
            raise
        raise StorageError(
            f"cannot write a checkpoint {where}: {os.strerror(error.errno)}; make room there, or see its permissions"
        ) from None


class _ReportToRay(pl.Callback):
    """Gives Ray Train a checkpoint at the end of every epoch; that of rank 0 is the same as every other's."""

    def __init__(self, fs: pafs.FileSystem, run_folder: str) -> None:
        """fs, run_folder: where they go."""
        self._fs, self._run_folder = fs, run_folder

    def _upload(self, checkpoint: Checkpoint, name: str) -> Checkpoint:
        """In Ray's place: its way (pyarrow's copy_files) says nothing where a file is refused as it is closed."""
        folder = f"{self._run_folder}/{name}"
        self._fs.create_dir(folder)
        with (
            (Path(checkpoint.path) / CHECKPOINT_FILE).open("rb") as source,
            self._fs.open_output_stream(f"{folder}/{CHECKPOINT_FILE}", compression=None) as target,
        ):
            while piece := source.read(PIECE_BYTES):
                target.write(piece)
        return Checkpoint(folder, self._fs)

    def on_train_epoch_end(self, trainer: pl.Trainer, _module: pl.LightningModule) -> None:
        metrics = {name: float(trainer.callback_metrics[name]) for name in ("val_loss", "val_loss_bps")}
        metrics["epoch"] = trainer.current_epoch + 1
        with tempfile.TemporaryDirectory(prefix="midas-checkpoint-") as folder:
            with _disk_told(f"in {folder} of node {socket.gethostname()}"):
                trainer.save_checkpoint(Path(folder) / CHECKPOINT_FILE)
            checkpoint = Checkpoint.from_directory(folder) if trainer.is_global_zero else None
            with _disk_told("in DATA_DIR/checkpoints"):
                ray.train.report(metrics, checkpoint=checkpoint, checkpoint_upload_fn=self._upload)
            trainer.strategy.barrier()


class _FirstStep(pl.Callback):
    """Tells the board of the first step of this group of workers."""

    def __init__(self, board: Any) -> None:
        self._board, self._told = board, False

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if not self._told and trainer.is_global_zero:
            self._board.stepped.remote()
        self._told = True


class _OnCpu(RayDDPStrategy):
    """Where Ray gave a GPU that torch cannot use."""

    @property
    def root_device(self) -> torch.device:
        return torch.device("cpu")


def train_loop(config: dict[str, Any]) -> None:
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
    board, workers = config["board"], config["workers"]
    device = accelerator(workers.gpu, config["fake_gpus"], lambda line: ray.get(board.note.remote(line)))
    training: TrainingSet = ray.get(config["training"])
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(workers.threads)
    schedule = Schedule.of(training.network, len(training.train), world)
    sampler = sampler_of(training, schedule, rank, world)
    metrics = TrainingMetrics(config["run_id"], world, device)

    def report(progress: TrainingProgress) -> None:
        board.add.remote(progress)
        metrics.export(progress)

    options = trainer_options(training, schedule, sampler, report, rank)
    options["callbacks"] += [_ReportToRay(*config["storage"]), _FirstStep(board)]
    strategy = RayDDPStrategy if device == "gpu" or not workers.gpu else _OnCpu
    with quiet_lightning(), contextlib.ExitStack() as stack:
        trainer = prepare_trainer(
            pl.Trainer(
                accelerator=device,
                devices="auto",
                strategy=strategy(find_unused_parameters=False),
                plugins=[RayLightningEnvironment()],
                **options,
            )
        )
        resume, epochs_done = None, 0
        if (checkpoint := ray.train.get_checkpoint()) is not None:
            resume = Path(stack.enter_context(checkpoint.as_directory())) / CHECKPOINT_FILE
            epochs_done = read_checkpoint(resume)["epoch"] + 1
        if rank == 0:
            board.begin.remote(epochs_done, world)
        with out_of_memory_explained(training, str(trainer.strategy.root_device), world):
            module = prepared(new_module(training), trainer, training.network)
            trainer.fit(module, *loaders(training, sampler, rank, world), ckpt_path=resume, weights_only=True)
