"""A study whose command is killed: it is gone on with, and what had finished is not run again."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import ray  # noqa: F401 - puts the psutil it ships on the path
import yaml

from midas_ray.cli import main
from midas_ray.storage import Storage
from tests.dataset.synthetic import write_features
from tests.faults.test_training_kill import ENOUGH_S, wait_for
from tests.forecast.planted import planted_panel

import psutil  # isort: skip

STUDY = [
    "tune", "--data-dir", "data", "--max-epochs", "2", "--grace-epochs", "1", "--trials", "3", "--hidden-dims", "4,8",
    "--heads", "1", "--input-lengths", "6,12", "--output-length", "2", "--batch-size", "64",
]  # fmt: skip
OVER = ["--max-steps", "4"]


def results(root: Path) -> dict[str, int]:
    """When the result of each finished trial was written, ns."""
    return {path.stem: path.stat().st_mtime_ns for path in (root / "data/tuning/first/results").glob("*.json")}


@pytest.mark.long
@pytest.mark.usefixtures("ray_local")
def test_a_killed_study_is_gone_on_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(Storage(str(tmp_path / "data")), planted_panel(500))
    command = [sys.executable, "-m", "midas_ray.cli", *STUDY, *OVER, "--name", "first", "--num-cpus", "1"]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as driver:
        assert wait_for(lambda: len(results(tmp_path)) >= 1)
        children = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(children, ENOUGH_S)
    finished = results(tmp_path)
    before = {name: (tmp_path / f"data/tuning/first/results/{name}.json").read_text() for name in finished}
    assert len(finished) < 3
    assert main([*STUDY, "--name", "first"]) == 2
    assert "--resume first goes on with it" in capsys.readouterr().err
    assert main(["tune", "--data-dir", "data", "--resume", "first"]) == 0
    said = capsys.readouterr()
    assert "best of 3 trials: " in said.out
    assert len(results(tmp_path)) == 3
    for name, content in before.items():  # a trial that ran again would tell other seconds
        assert (tmp_path / f"data/tuning/first/results/{name}.json").read_text() == content
    rows = list(csv.DictReader((tmp_path / "data/tuning/first/trials.csv").open()))
    assert [float(row["validation_bps"]) for row in rows] == sorted(float(row["validation_bps"]) for row in rows)
    best = yaml.safe_load((tmp_path / "data/tuning/first/best.yaml").read_text())
    assert (best["trials"], best["study"], best["output_length"]) == (3, "first", 2)
    assert best["hidden_dim"] == int(rows[0]["hidden_dim"])
    document = json.loads((tmp_path / "data/tuning/first/tuning.json").read_text())
    assert len(document["all"]) == 3
    assert len(list((tmp_path / "logs/first").glob("*/events.out.tfevents.*"))) >= 2
