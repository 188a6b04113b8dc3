"""Kills in the middle of a training: it ends with the losses of an undisturbed one, which runs here without Ray."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import ray  # noqa: F401 - puts the psutil it ships on the path
import torch

from midas_ray.cli import main
from midas_ray.dataset.panel import load_panel
from midas_ray.forecast.fitting import fit
from midas_ray.forecast.parts import split_panel
from midas_ray.forecast.training_progress import TrainingProgress
from midas_ray.settings import Train
from midas_ray.storage import Storage
from tests.dataset.synthetic import VENUE, take, write_features
from tests.forecast.planted import planted_panel

import psutil  # isort: skip

ENOUGH_S = 180
EPOCHS = 3
SMALL = {
    "hidden_dim": 8, "n_heads": 1, "input_length": 6, "output_length": 2, "epochs": EPOCHS, "batch_size": 16,
    "learning_rate": 0.0003, "gpus": 0,
}  # fmt: skip
Losses = list[tuple[int, float, float]]
"""Steps, training and validation loss of every epoch."""


def flags(**changes: object) -> list[str]:
    settings = {"data_dir": "data", **SMALL, **changes}
    return [
        "train",
        *(word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))),
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A working folder with features."""
    write_features(Storage(str(tmp_path / "data")), take(planted_panel(720), np.arange(698)))
    return tmp_path


def undisturbed(root: Path, dropout: float) -> Losses:
    """What one process without Ray makes of the same features and settings."""
    values = Train(data_dir=str(root / "data"), dropout=dropout, **SMALL)
    parts = split_panel(load_panel(Storage.of(values), VENUE), values)
    seen: list[TrainingProgress] = []
    torch.set_num_threads(1)
    split = parts.split
    columns = parts.choice.columns
    fit(parts.panel, split.train, split.validation, values, root / "alone", columns=columns, report=seen.append)
    return [(each.step, each.train_loss, each.validation_loss) for each in seen if each.validation_loss is not None]


def losses_of_model(root: Path) -> Losses:
    metrics = json.loads((root / "models" / "latest" / "metrics.json").read_text())
    return [(each["steps"], each["train"], each["validation"]) for each in metrics["training"]["loss_by_epoch"]]


def assert_close(found: Losses, expected: Losses, tolerance: float) -> None:
    assert len(found) == EPOCHS
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=tolerance)


def epochs_kept(root: Path) -> int:
    """Epochs whose checkpoint Ray has taken note of: one that came just before a kill may be lost."""
    notes = list((root / "data" / "checkpoints").glob("*/checkpoint_manager_snapshot.json"))
    return sum(note.read_text().count("checkpoint_dir_name") for note in notes)


def training_workers(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "RayTrainWorker" in "".join(child.cmdline()[:1]):
                found.append(child)
    return found


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + ENOUGH_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@contextlib.contextmanager
def a_worker_killed(root: Path) -> Iterator[None]:
    """Inside the block the first training that has kept an epoch loses a worker, as to a lack of power."""
    killed: list[int] = []

    def kill() -> None:
        if wait_for(lambda: epochs_kept(root) >= 1):
            worker = training_workers(psutil.Process())[-1]
            worker.send_signal(signal.SIGKILL)
            killed.append(worker.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    yield
    killer.join()
    assert killed


@pytest.mark.usefixtures("ray_local")
def test_a_killed_worker_of_two_is_made_up_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two workers share every batch equally, and so take the steps of one: without dropout they are the same."""
    with a_worker_killed(root):
        assert main(flags(workers=2, dropout=0.0)) == 0
    said = capsys.readouterr().err
    assert "a worker has died: the training goes on after epoch" in said
    assert_close(losses_of_model(root), undisturbed(root, 0.0), 1e-5)
    assert not list((root / "data" / "checkpoints").rglob("*"))


@pytest.mark.long
@pytest.mark.usefixtures("ray_local")
def test_a_killed_command_is_gone_on_with(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The features have grown meanwhile; the resumed training sees those that it began with."""
    command = [sys.executable, "-m", "midas_ray.cli", *flags(dropout=0.1), "--num-cpus", "1"]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.DEVNULL) as driver:
        assert wait_for(lambda: epochs_kept(root) >= 1)
        children = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(children, ENOUGH_S)
    assert not (root / "models").exists() or list((root / "models").iterdir()) == []
    expected = undisturbed(root, 0.1)
    (run,) = (path.name for path in (root / "data" / "checkpoints").iterdir())
    assert main(["train", "--data-dir", "data", "--gpus", "0", "--resume", "tft-nothing"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == f"--resume tft-nothing: expected an unfinished training, found {run}"
    write_features(Storage(str(root / "data")), planted_panel(720, seed=1))
    assert main(["train", "--data-dir", "data", "--gpus", "0", "--resume", run]) == 1
    assert "expected the features it began with, found others up to the same moment" in capsys.readouterr().err
    write_features(Storage(str(root / "data")), planted_panel(720))
    assert main(["train", "--data-dir", "data", "--gpus", "0", "--resume", run]) == 0
    assert "the training goes on after epoch" in capsys.readouterr().err
    assert (root / "models" / "latest").resolve().name == run
    assert_close(losses_of_model(root), expected, 1e-6)


@pytest.mark.long
def test_a_killed_node_is_made_up_for_with_what_is_left(root: Path) -> None:
    """Of two nodes with a worker each one dies with all its processes: the training goes on with one worker."""
    nodes_command = [sys.executable, "-m", "tests.faults.ray_nodes", str(root)]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        nodes_command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nodes:
        assert nodes.stdin is not None
        assert nodes.stdout is not None
        try:
            address = json.loads(nodes.stdout.readline())["address"]
            command = [sys.executable, "-m", "midas_ray.cli", *flags(dropout=0.0, workers="1-2", ray_address=address)]
            with subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True) as driver:
                assert wait_for(lambda: epochs_kept(root) >= 1)
                nodes.stdin.write("kill 2\n")
                nodes.stdin.flush()
                assert json.loads(nodes.stdout.readline())
                _, said = driver.communicate(timeout=ENOUGH_S)
        finally:
            nodes.stdin.close()
            nodes.wait(ENOUGH_S)
    assert driver.returncode == 0, said
    assert "a worker has died: the training goes on after epoch" in said
    assert "with 1 worker\n" in said
    assert_close(losses_of_model(root), undisturbed(root, 0.0), 1e-5)
