import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from midas_ray.cli import main
from midas_ray.dataset.panel import load_panel
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.storage import Storage
from tests.dataset.synthetic import VENUE, synthetic_panel, with_nulls, write_features

SMALL = ("--hidden-dim", "8", "--n-heads", "1", "--input-length", "10", "--output-length", "3", "--gpus", "0")


def trained(*flags: str) -> int:
    return main(["train", "--data-dir", "data", "--model-dir", "models", "--log-dir", "logs", *SMALL, *flags])


def refused(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The one line of a refused training; nothing was written."""
    assert trained(*flags) != 0
    (line,) = capsys.readouterr().err.splitlines()
    assert not Path("models").exists()
    assert not Path("logs").exists()
    return line


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "data"))


@pytest.mark.usefixtures("ray_local")
def test_train_end_to_end_under_ray(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    panel = synthetic_panel(160, ("btcusdt", "ethusdt"))
    panel = with_nulls(panel, "funding_rate", slice(None), 1)
    write_features(storage, panel)
    assert trained("--epochs", "2", "--batch-size", "32", "--max-steps", "8") == 0
    said = capsys.readouterr()
    assert "left out: ofi_cumulative (not a model input); funding_rate (absent: the data has none)" in said.err
    assert "epoch 2/2" in said.err
    assert "test: mean pinball loss" in said.out
    (run,) = (path for path in Path("models").iterdir() if path.name != "latest")
    assert Path("models/latest").resolve() == run.resolve()
    assert sorted(path.name for path in run.iterdir()) == [
        "best_model.pt", "config.yaml", "features.json", "interpretation.json", "metrics.json", "normalizer.json",
        "predictions.parquet",
    ]  # fmt: skip
    metrics = json.loads((run / "metrics.json").read_text())
    assert [epoch["steps"] for epoch in metrics["training"]["loss_by_epoch"]] == [4, 8]
    assert np.shape(metrics["test"]["pinball_bps"]["model"]) == (3, 7)
    assert np.shape(metrics["validation"]["pinball_bps"]["baseline"]) == (3, 7)
    assert yaml.safe_load((run / "config.yaml").read_text())["hidden_dim"] == 8
    assert list(Path("logs", run.name).glob("events.out.tfevents.*"))
    table = pq.read_table(run / "predictions.parquet")
    torch.set_num_threads(1)
    assert_reloaded_model_gives(table.column("value_bps").to_numpy(), run, load_panel(storage, VENUE), table)


def assert_reloaded_model_gives(expected: np.ndarray, run: Path, panel: object, table: object) -> None:
    forecaster = Forecaster.load(run)
    rows = {(symbol, ts): row for row, (symbol, ts) in enumerate(zip(panel.symbol_index, panel.ts_us, strict=True))}
    keys = zip(table.column("symbol").to_pylist(), table.column("ts").cast("int64").to_pylist(), strict=True)
    origins = np.array([rows[panel.symbols.index(symbol), ts] for symbol, ts in dict.fromkeys(keys)])
    assert panel.ts_us[origins].min() >= forecaster.fit_end_us
    np.testing.assert_allclose(forecaster.predict(panel, origins).ravel(), expected, rtol=1e-5)


@pytest.mark.usefixtures("ray_local")
def test_more_gpus_than_there_are(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(storage, synthetic_panel(160))
    assert trained("--gpus", "64") == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("--gpus 64: expected at most the ")
    assert list(Path("models").iterdir()) == []


def test_no_features_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert "run midas features first" in refused(capsys)


def test_unknown_symbols(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(storage, synthetic_panel(160))
    assert refused(capsys, "--symbols", "dogeusdt").startswith("--symbols dogeusdt: expected symbols with features")


def test_too_few_rows(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(storage, synthetic_panel(12))
    assert "expected 13 consecutive buckets (10 input + 3 forecast), found 12 rows" in refused(capsys)


def test_too_few_rows_for_three_parts(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(storage, synthetic_panel(16))
    assert "part has no window after a purge of 3 buckets" in refused(capsys)


def test_another_schema_version(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(storage, synthetic_panel(160), {"schema_version": "2"})
    assert "expected feature schema version 1, found 2" in refused(capsys)


def test_mixed_datasets(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(storage, synthetic_panel(160))
    write_features(storage, synthetic_panel(160, ("ethusdt",)), {"price_source": "close"})
    assert "features mix price_source" in refused(capsys)


def test_more_heads_than_width(storage: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    write_features(storage, synthetic_panel(160))
    assert refused(capsys, "--n-heads", "9").startswith("--n-heads 9: expected at most --hidden-dim, found 8")


@pytest.mark.parametrize("folder", ["--model-dir", "--log-dir"])
def test_an_unwritable_folder(storage: Storage, capsys: pytest.CaptureFixture[str], folder: str) -> None:
    write_features(storage, synthetic_panel(160))
    Path("file").write_text("")
    assert trained(folder, "file/inside") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(folder)
    assert line.endswith("expected a writable folder, found: Not a directory")


def test_tensorboard_without_logs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tensorboard", "--log-dir", "logs"]) == 1
    assert "expected TensorBoard logs, found none" in capsys.readouterr().err


def test_tensorboard_serves_until_interrupted(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "events.out.tfevents.1").write_bytes(b"")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "midas_ray.cli",
        "tensorboard",
        "--log-dir",
        "logs",
        "--tensorboard-port",
        str(port),
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert f"http://127.0.0.1:{port}/" in process.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/environment", timeout=10) as answer:
            assert answer.status == 200
        taken = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert taken.returncode == 2
        assert taken.stderr.splitlines()[-1].startswith(f"--tensorboard-port {port}: ")
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert errors.splitlines()[-1] == "TensorBoard stopped"


@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize("flags", [("--precision", "bf16"), ("--compile",)])
def test_what_only_a_gpu_has_a_use_for_is_refused_on_a_cpu(
    storage: Storage, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...]
) -> None:
    write_features(storage, synthetic_panel(160))
    assert trained(*flags) == 2
    assert f"{' '.join(flags)}: expected a GPU, found none in use" in capsys.readouterr().err
