"""Kills in the middle of reconstruct: the run survives that of a worker, a rerun makes up for that of the driver."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray  # noqa: F401 - puts the psutil it ships on the path

from midas_ray.storage import Storage
from tests.reconstruct.market import Market

import psutil  # isort: skip

VENUE, SYMBOL = "binance-futures", "btcusdt"
HOURS = 20
ENOUGH_S = 120
TABLES = ("book", "trades", "gaps")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with raw journals of some days in many tasks, a restart among them."""
    root = tmp_path_factory.mktemp("raw")
    market = Market(root, seed=3)
    market.open()
    market.snapshot()
    for _ in range(3):
        market.run(80, most_ms=2 * HOURS * 3_600_000 // 240)
        market.restart(20_000)
        market.snapshot()
    market.close()
    return root


@pytest.fixture(scope="module")
def wanted(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The clean files of an undisturbed run: what their hashes are, by path."""
    root = copy_of(raw, tmp_path_factory.mktemp("whole"))
    assert start(root).wait(ENOUGH_S) == 0
    return clean_files(root)


def copy_of(raw: Path, root: Path) -> Path:
    subprocess.run(["cp", "-r", str(raw / "raw"), str(root)], check=True)
    return root


def start(root: Path, *flags: str) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "midas_ray.cli",
        "reconstruct",
        "--data-dir",
        str(root),
        *(flags or ("--num-cpus", "2")),
    ]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def clean_files(root: Path) -> dict[str, bytes]:
    storage = Storage(str(root))
    return {path: storage.read_bytes(path) for path in storage.list_files("clean", ".parquet")}


def manifests(root: Path) -> int:
    return len(Storage(str(root)).list_files("clean/manifest", ".json"))


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ENOUGH_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def workers(driver: int) -> list[psutil.Process]:
    """The processes of a run that work on a task now."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            if "".join(process.cmdline()).startswith("ray::reconstruct"):
                found.append(process)
    return found


@pytest.mark.parametrize("done", [1, 8])
def test_a_killed_driver_is_made_up_for(raw: Path, wanted: dict[str, bytes], tmp_path: Path, done: int) -> None:
    root = copy_of(raw, tmp_path)
    driver = start(root)
    children: list[psutil.Process] = []

    def far_enough() -> bool:
        nonlocal children
        children = psutil.Process(driver.pid).children(recursive=True)
        return manifests(root) >= done

    wait_for(far_enough)
    driver.send_signal(signal.SIGKILL)
    driver.wait(ENOUGH_S)
    again = start(root)  # beside what the killed one has left running
    assert again.wait(ENOUGH_S) == 0
    for child in children:
        with contextlib.suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(children, ENOUGH_S)
    assert clean_files(root) == wanted
    assert not list(root.rglob(".tmp-*"))


def test_a_killed_worker_is_survived(raw: Path, wanted: dict[str, bytes], tmp_path: Path) -> None:
    root = copy_of(raw, tmp_path)
    driver = start(root)
    found: list[psutil.Process] = []

    def at_work() -> bool:
        nonlocal found
        found = workers(driver.pid)
        return manifests(root) >= 1 and bool(found)

    wait_for(at_work)
    found[0].send_signal(signal.SIGKILL)
    assert driver.wait(ENOUGH_S) == 0
    assert clean_files(root) == wanted
    entries = [json.loads(path.read_bytes()) for path in (root / "clean" / "manifest").rglob("*.json")]
    assert len({entry["hour"] for entry in entries}) == len(entries)


def test_a_killed_node_is_survived(raw: Path, wanted: dict[str, bytes], tmp_path: Path) -> None:
    """One of the two nodes that work dies with all its processes."""
    root = copy_of(raw, tmp_path)
    command = [sys.executable, "-m", "tests.faults.ray_nodes", str(root)]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nodes:
        assert nodes.stdin is not None
        assert nodes.stdout is not None
        try:
            driver = start(root, "--ray-address", json.loads(nodes.stdout.readline())["address"])
            wait_for(lambda: manifests(root) >= 1)
            nodes.stdin.write("kill 1\n")
            nodes.stdin.flush()
            assert json.loads(nodes.stdout.readline())
            assert driver.wait(ENOUGH_S) == 0
        finally:
            nodes.stdin.close()
            nodes.wait(ENOUGH_S)
    assert clean_files(root) == wanted
