"""The pipeline: each stage where its inputs changed, the first failure's exit code, on after a kill."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from midas_ray.cli import main
from midas_ray.pipeline_record import key_of
from midas_ray.storage import Storage
from tests.capture.running import MIDAS
from tests.dataset.synthetic import synthetic_panel, write_features

SMALL = (
    *("--hidden-dim", "4", "--n-heads", "1", "--input-length", "10", "--output-length", "3", "--gpus", "0"),
    *("--batch-size", "512", "--stride", "5"),
)
QUICK = (*SMALL, "--epochs", "1", "--max-steps", "2", "--forecasters", "trailing,ewma")


def _states(out: str) -> dict[str, str]:
    """What the table says of each stage."""
    lines = out[out.index("pipeline\n") :].splitlines()
    rows = (re.match(r"(reconstruct|features|validate|train|backtest) +(\w+( \w+)*?)(  |$)", line) for line in lines)
    return {row[1]: row[2] for row in rows if row}


@pytest.mark.usefixtures("ray_local")
def test_stages_where_their_inputs_changed(nexo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    shutil.copytree(nexo_data, data)
    run = ["pipeline", "--data-dir", str(data), "--venue", "binance-spot", *QUICK]
    capsys.readouterr()
    assert main(run) == 0
    done = dict.fromkeys(("reconstruct", "features"), "up to date") | dict.fromkeys(
        ("validate", "train", "backtest"), "done"
    )
    assert _states(capsys.readouterr().out) == done
    assert (data / "reports" / "backtest_results.html").exists()
    models = sorted(path.name for path in Path("models").iterdir())

    assert main(run) == 0
    assert set(_states(capsys.readouterr().out).values()) == {"up to date"}
    assert sorted(path.name for path in Path("models").iterdir()) == models

    newest = max((data / "features").rglob("*.parquet"))
    newest.unlink()
    assert main([*run, "--stages", "features,train"]) == 0
    assert _states(capsys.readouterr().out) == {"features": "done", "train": "done"}
    assert len(list(Path("models").glob("tft-*"))) == 2

    (data / "reports" / "data_quality.html").unlink()
    assert main([*run, "--from", "validate", "--stages", "reconstruct,validate"]) == 0
    assert _states(capsys.readouterr().out) == {"validate": "done"}
    assert main([*run, "--stages", "train", "--seed", "5"]) == 0
    assert _states(capsys.readouterr().out) == {"train": "done"}


def test_a_stage_depends_on_its_inputs_code_and_settings_but_not_on_where_it_runs() -> None:
    values = {"seed": 0, "model_dir": "models", "gpus": 0, "data_dir": "data"}
    key = key_of("inputs", "code", values)
    assert key == key_of("inputs", "code", {**values, "gpus": 1, "data_dir": "/elsewhere"})
    others = [("other", "code", values), ("inputs", "other", values), ("inputs", "code", {**values, "seed": 1})]
    assert len({key, *(key_of(*each) for each in others)}) == 4


def test_the_first_failure_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data-dir", str(tmp_path / "data")]
    assert main(["pipeline", *data]) == 1
    said = capsys.readouterr()
    assert _states(said.out) == {
        "reconstruct": "failed", **dict.fromkeys(("features", "validate", "train", "backtest"), "not run")
    }  # fmt: skip
    assert "no raw journals of binance-futures under" in said.err

    write_features(Storage(data[1]), synthetic_panel(160))
    flags = ["--from", "train", "--n-heads", "9", "--hidden-dim", "4", "--keep-going", "--forecasters", "trailing"]
    assert main(["pipeline", *data, *flags]) == 2  # a wrong flag of the first stage that failed
    assert _states(capsys.readouterr().out) == {"train": "failed", "backtest": "failed"}


def test_a_damaged_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = tmp_path / ".midas" / "pipeline-binance-futures-all.json"
    record.parent.mkdir()
    record.write_text("{")
    assert main(["pipeline", "--data-dir", str(tmp_path)]) == 1
    assert "expected the record of a pipeline, found" in capsys.readouterr().err


@pytest.mark.long
def test_a_training_goes_on_where_a_kill_cut_it_off(tmp_path: Path) -> None:
    write_features(Storage(str(tmp_path / "data")), synthetic_panel(600))
    run = [MIDAS, "pipeline", "--data-dir", "data", "--stages", "train", *SMALL, "--num-cpus", "1", "--epochs", "12"]
    cut = subprocess.Popen(run, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert cut.stderr is not None
    for line in cut.stderr:
        if line.startswith("epoch 2/12"):
            break
    os.killpg(cut.pid, signal.SIGKILL)
    cut.wait()
    _until_gone(cut.pid)
    again = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 0, again.stderr
    resumed = re.search(r"going on with (\S+), which was cut off", again.stderr)
    assert resumed is not None
    assert [path.name for path in (tmp_path / "models").glob("tft-*")] == [resumed[1]]
    assert re.search(rf"train +done .*{resumed[1]}", again.stdout)


def _until_gone(group: int) -> None:
    """Until no process of the killed group is left."""
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
