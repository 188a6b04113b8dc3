"""Kills in the middle of a training: it ends with the loss that an undisturbed one has."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray  # noqa: F401 - puts the psutil it ships on the path

from midas_ray.storage import Storage
from tests.dataset.synthetic import write_features
from tests.forecast.planted import planted_panel

import psutil  # isort: skip

ENOUGH_S = 150
EPOCHS = 4
FLAGS = [
    "--hidden-dim", "8", "--n-heads", "1", "--input-length", "6", "--output-length", "2", "--gpus", "0",
    "--epochs", str(EPOCHS), "--batch-size", "16", "--learning-rate", "0.01",
]  # fmt: skip


@dataclass
class Run:
    """A `midas train` in a process of its own."""

    root: Path
    process: subprocess.Popen[str]

    def ended(self) -> str:
        """Wait for its end, which must be a good one; gives what it said."""
        _, said = self.process.communicate(timeout=ENOUGH_S)
        assert self.process.returncode == 0, said
        return said

    def epochs_kept(self) -> int:
        """Epochs whose checkpoint Ray has taken note of: one that came just before a kill may be lost."""
        notes = list((self.root / "data" / "checkpoints").glob("*/checkpoint_manager_snapshot.json"))
        return sum(note.read_text().count("checkpoint_dir_name") for note in notes)

    def workers(self) -> list[psutil.Process]:
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has just ended
                if "RayTrainWorker" in "".join(process.cmdline()[:1]):
                    found.append(process)
        return found

    def losses(self) -> list[tuple[int, float, float]]:
        """Steps, training and validation loss of every epoch, as the finished model's folder tells."""
        metrics = json.loads((self.root / "models" / "latest" / "metrics.json").read_text())
        return [(each["steps"], each["train"], each["validation"]) for each in metrics["training"]["loss_by_epoch"]]


def data_in(root: Path) -> Path:
    write_features(Storage(str(root / "data")), planted_panel(700))
    return root


def start(root: Path, *flags: str) -> Run:
    command = [sys.executable, "-m", "midas_ray.cli", "train", "--data-dir", "data", "--num-cpus", "2", *flags]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    return Run(root, process)


def wait_for(condition: Callable[[], bool], run: Run) -> None:
    deadline = time.monotonic() + ENOUGH_S
    while not condition():
        assert time.monotonic() < deadline
        assert run.process.poll() is None, run.process.communicate()[1]
        time.sleep(0.02)


def assert_close(found: list[tuple[int, float, float]], expected: list[tuple[int, float, float]]) -> None:
    assert len(found) == EPOCHS
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float, float]]:
    """The losses of one worker with dropout that nothing happens to."""
    run = start(data_in(tmp_path_factory.mktemp("whole")), *FLAGS)
    run.ended()
    assert not list((run.root / "data" / "checkpoints").rglob("*.ckpt"))
    return run.losses()


def test_a_killed_worker_is_made_up_for(tmp_path: Path, undisturbed: list[tuple[int, float, float]]) -> None:
    run = start(data_in(tmp_path), *FLAGS)
    wait_for(lambda: run.epochs_kept() >= 1, run)
    (worker,) = run.workers()
    worker.send_signal(signal.SIGKILL)
    said = run.ended()
    assert "a worker has died: the training goes on after epoch" in said
    assert_close(run.losses(), undisturbed)
