"""Training, search and backtest on GPU machines that Ray's autoscaler brings and that share no disk with the head.

One cluster for all tests of this file, see `machines`; its GPUs are none. Its first test has a machine rented.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from midas_ray.storage import Storage
from tests.dataset.synthetic import take, write_features
from tests.faults.test_training_kill import (
    SMALL,
    assert_close,
    epochs_kept,
    flags,
    losses_of_model,
    training_workers,
    undisturbed,
)
from tests.forecast.machines import ADDRESS, Machines, machines, wait_for
from tests.forecast.planted import planted_panel

ENOUGH_S = 420.0
ON_GPU = {"ray_address": ADDRESS, "gpus": 1, "wait_for_gpus": f"{ENOUGH_S:g}s"}
FAKE = "--fake-gpus"
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A head with features, and no machine yet."""
    root = tmp_path_factory.mktemp("machines")
    write_features(Storage(str(root / "data")), take(planted_panel(720), np.arange(698)))
    with machines(root) as running:
        yield running


def in_order(text: str, *parts: str) -> None:
    """Every part comes, after the one before."""
    at = 0
    for part in parts:
        found = text.find(part, at)
        assert found >= 0, f"expected {part!r} after {text[:at][-60:]!r} in {text}"
        at = found + len(part)


def test_a_training_goes_on_on_another_machine_when_its_own_dies(cluster: Machines) -> None:
    """None at first. Neither has the data folder; the second one finds the first one's checkpoint all the same."""
    with (cluster.root / "said").open("w") as said:
        training = cluster.start(*flags(**ON_GPU, dropout=0.0), FAKE, stdout=said, stderr=said, text=True)
        try:
            wait_for(lambda: epochs_kept(cluster.root) >= 1 or training.poll() is not None, ENOUGH_S)
            (first,) = cluster.alive()
            assert training_workers(first)
            assert not (Path(f"/proc/{first.pid}/root") / cluster.root.relative_to("/") / "data").exists()
            cluster.kill_all()
            assert training.wait(ENOUGH_S) == 0, (cluster.root / "said").read_text()
        finally:
            training.kill()
            training.wait()
    lines = (cluster.root / "said").read_text()
    waiting = "waiting for a GPU node: 1 GPU asked for; at most 7m (--wait-for-gpus)"
    began = ("GPU node joined, ", "cannot be used by torch", "training on its CPU", "first training step, ")
    in_order(
        lines, f" {waiting}", *began, f"a worker has died; {waiting}", "GPU node joined, ", "first training step, "
    )
    assert "a worker has died: the training goes on after epoch" in lines
    assert_close(losses_of_model(cluster.root), undisturbed(cluster.root, 0.0), 1e-5)
    assert not list((cluster.root / "data" / "checkpoints").rglob("*"))
    run = (cluster.root / "models" / "latest").resolve().name
    assert list((cluster.root / "logs" / run).glob("events.out.tfevents.*"))
    assert len(cluster.alive()) == 1


def test_a_gpu_that_torch_cannot_use_is_an_error_unless_it_is_asked_for(cluster: Machines) -> None:
    code, _, said = cluster.run(*flags(**ON_GPU), timeout_s=ENOUGH_S)
    assert code == 1
    line = said.splitlines()[-1]
    assert line.startswith("GPU 0 of node ")
    assert " cannot be used by torch (torch " in line
    assert line.endswith("install what is missing there, or train on the CPU with --gpus 0")
    assert not list((cluster.root / "data" / "checkpoints").rglob("*"))


def test_a_search_runs_its_trials_there(cluster: Machines) -> None:
    settings = {
        "data_dir": "data", "max_epochs": 1, "grace_epochs": 1, "trials": 2, "hidden_dims": "8", "heads": 1,
        "input_lengths": 6, "output_length": 2, "batch_size": 64, "max_steps": 3, "gpus_per_trial": 1, "name": "there",
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    code, said, told = cluster.run("tune", *words, FAKE, "--ray-address", ADDRESS, timeout_s=ENOUGH_S)
    assert code == 0, told
    in_order(told, "each takes 0 CPU and 1 GPU", "training on its CPU", "trial 2/2")
    assert "best of 2 trials: " in said
    results = (cluster.root / "data" / "tuning" / "there" / "results").glob("*.json")
    assert all(np.isfinite(json.loads(path.read_text())["validation_bps"]) for path in results)


def test_a_backtest_trains_its_networks_there(cluster: Machines) -> None:
    small = {**SMALL, "gpus": 1, "epochs": 1, "max_steps": 3, "folds": 3, "seeds": 1, "forecasters": "tft,trailing"}
    words = [word for name, value in small.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    code, _, told = cluster.run(
        "backtest", "--data-dir", "data", *words, FAKE, "--ray-address", ADDRESS, timeout_s=ENOUGH_S
    )
    assert code == 0, told
    assert told.count("cannot be used by torch (torch ") == 3
    assert (cluster.root / "data" / "reports" / "backtest_results.html").is_file()


def test_a_full_disk_of_the_head_ends_the_training_with_its_name(cluster: Machines) -> None:
    checkpoints = cluster.root / "data" / "checkpoints"
    checkpoints.mkdir(exist_ok=True)
    cluster.mount("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(checkpoints))
    try:
        code, _, told = cluster.run(*flags(**ON_GPU), FAKE, timeout_s=ENOUGH_S)
    finally:
        cluster.mount("umount", str(checkpoints))
    assert code == 1
    line = "cannot write a checkpoint in DATA_DIR/checkpoints: No space left on device; make room there, or "
    assert told.splitlines()[-1].startswith(line)


def test_more_gpus_than_any_machine_has_are_refused(cluster: Machines) -> None:
    code, _, told = cluster.run(*flags(**{**ON_GPU, "gpus": 4}), FAKE, timeout_s=ENOUGH_S)
    assert code == 2
    line = "--gpus 4: expected GPUs that the cluster has or may get on one node, found no node type for so many (the "
    assert told.splitlines()[-1].startswith(line)


def test_the_waiting_ends_with_what_the_autoscaler_was_told(cluster: Machines) -> None:
    (cluster.root / "no-offers").write_text("no offer under 0.80 dollars an hour")
    cluster.kill_all()
    assert cluster.run("no-gpu", module="tests.forecast.on_head", timeout_s=ENOUGH_S)[0] == 0
    code, _, told = cluster.run(*flags(**{**ON_GPU, "wait_for_gpus": "25s"}), FAKE, timeout_s=ENOUGH_S)
    assert code == 1
    line = told.splitlines()[-1]
    assert line.startswith("no GPU node: expected one with 1 GPU within 25s, found none; ")
    assert "no offer under 0.80 dollars an hour" in line
    assert not list((cluster.root / "data" / "checkpoints").rglob("*"))


def test_a_training_that_is_stopped_asks_for_nothing_any_more(cluster: Machines) -> None:
    (cluster.root / "no-offers").write_text("no offer")
    cluster.kill_all()
    assert cluster.run("no-gpu", module="tests.forecast.on_head", timeout_s=ENOUGH_S)[0] == 0

    def asked() -> int:
        return int(cluster.run("asked", module="tests.forecast.on_head", timeout_s=ENOUGH_S)[1])

    with cluster.start(*flags(**ON_GPU), FAKE, stderr=subprocess.PIPE, text=True) as training:
        try:
            wait_for(lambda: asked() == 1, ENOUGH_S)
            for process in cluster.named("midas_ray.cli"):
                process.terminate()
            _, said = training.communicate(timeout=ENOUGH_S)
        finally:
            training.kill()
    assert training.returncode == 143
    assert " waiting for a GPU node: " in said
    assert asked() == 0  # Ray Train itself would have a node rented for 3 minutes more
    assert not list((cluster.root / "data" / "checkpoints").rglob("*"))


def test_mapped_columns_arrive_on_a_machine(cluster: Machines) -> None:
    (cluster.root / "no-offers").unlink(missing_ok=True)
    code, out, told = cluster.run("columns", module="tests.forecast.on_head", timeout_s=ENOUGH_S)
    assert code == 0, told
    assert json.loads(out) == {"node": "another", "type": "ndarray", "copied": False, "sum": 12_000_000.0}
