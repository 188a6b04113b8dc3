"""Jobs submitted to a real head: exit codes, output, stopping, the token, versions."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from midas_ray.job import STAGES
from midas_ray.storage import Storage
from tests.capture.running import MIDAS
from tests.capture.test_service import exchange_url  # noqa: F401 (a fixture)
from tests.dataset.synthetic import synthetic_panel, write_features
from tests.jobs.conftest import CHECKOUT, RAY, Cluster

SMALL = ("--hidden-dim", "8", "--n-heads", "1", "--input-length", "10", "--output-length", "3", "--gpus", "0")


def test_every_stage_has_its_script() -> None:
    scripts = {path.stem: path.read_text() for path in (CHECKOUT / "jobs").glob("*.py")}
    assert scripts.keys() == STAGES.keys()
    for stage, text in scripts.items():
        assert f'run_job("{stage}", sys.argv[1:])' in text
        assert text.startswith(f'"""python jobs/{stage}.py [flags of `midas {stage}`]\n')


def test_a_stage_where_the_head_keeps_its_data(cluster: Cluster) -> None:
    """Without a flag that says where: DATA_DIR is the head's. The driver's exit code is the command's."""
    empty = cluster.submit("python", "jobs/reconstruct.py")
    found = cluster.ended(empty)
    assert (found["status"], found["driver_exit_code"]) == ("FAILED", 1)
    assert f"no raw journals of binance-futures under {cluster.data_dir}/raw" in cluster.logs(empty)

    history = [MIDAS, "simulate", "--history", "20s", "--symbols", "btcusdt", "--data-dir", str(cluster.data_dir)]
    subprocess.run(history, env=cluster.environment, check=True, capture_output=True)
    job = cluster.submit("python", "jobs/reconstruct.py")
    found = cluster.ended(job)
    assert (found["status"], found["driver_exit_code"]) == ("SUCCEEDED", 0), cluster.logs(job)
    assert re.search(r"^btcusdt: book \d+", cluster.logs(job), re.MULTILINE)
    assert list((cluster.data_dir / "clean" / "book").rglob("*.parquet"))


def test_a_wrong_flag(cluster: Cluster) -> None:
    job = cluster.submit("python", "jobs/train.py", "--dropout", "7")
    assert cluster.ended(job)["driver_exit_code"] == 2
    assert cluster.logs(job).splitlines()[-1].startswith("midas train: --dropout: input should be less than 1")


def test_what_would_be_written_into_the_jobs_own_folder_is_refused(cluster: Cluster) -> None:
    job = cluster.submit("python", "jobs/train.py", "--model-dir", "models")
    assert cluster.ended(job)["driver_exit_code"] == 2
    assert cluster.logs(job).splitlines()[-1] == (
        "--model-dir: expected an absolute path on the cluster, as a job's own folder does not stay, found 'models'"
    )


@pytest.fixture
def other_version(tmp_path: Path) -> Path:
    """A checkout that pins another Ray."""
    folder = tmp_path / "checkout"
    for name in ("midas_ray", "jobs"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "runtime_env.yaml", "constraints.txt"):
        shutil.copy(CHECKOUT / name, folder / name)
    pins = (folder / "constraints.txt").read_text()
    (folder / "constraints.txt").write_text(re.sub(r"^ray==.*$", "ray==2.99.1", pins, flags=re.MULTILINE))
    return folder


def test_a_checkout_of_another_version_does_nothing(cluster: Cluster, other_version: Path) -> None:
    """The uploaded code runs, not the installed one: its pins are what is compared."""
    job = cluster.submit("python", "jobs/collect.py", "--symbols", "btcusdt", checkout=other_version)
    assert cluster.ended(job)["driver_exit_code"] == 2
    assert re.fullmatch(
        r"this checkout pins ray==2\.99\.1, the cluster runs 2\.\d+\.\d+; run ray up again, or check out the version "
        r"that the cluster was set up with",
        cluster.logs(job).splitlines()[-1],
    )


def test_a_stopped_collector_job_takes_its_collectors_off(cluster: Cluster, exchange_url: str) -> None:  # noqa: F811
    flags = ["--symbols", "btcusdt", "--exchange-url", exchange_url, "--duration", "1h"]
    job = cluster.submit("python", "jobs/collect.py", *flags)
    cluster.until(lambda: list(cluster.data_dir.rglob("*.open")), job)
    assert cluster.stop(job)["status"] == "STOPPED"
    assert "the job ends early: btcusdt sealed" in cluster.logs(job)
    assert not list(cluster.data_dir.rglob("*.open"))
    assert json.loads((cluster.data_dir / ".midas" / "collectors.json").read_text())["groups"] == {}


def test_a_stopped_training_says_how_to_go_on(cluster: Cluster) -> None:
    write_features(Storage(str(cluster.data_dir)), synthetic_panel(400))
    flags = [*SMALL, "--epochs", "1000", "--patience", "1000", "--batch-size", "16"]
    job = cluster.submit("python", "jobs/train.py", *flags)
    cluster.until_said(job, "epoch 3/1000")
    assert cluster.stop(job)["status"] == "STOPPED"
    said = re.search(r"epochs so far are kept: midas train --resume (\S+)", cluster.logs(job))
    assert said is not None, cluster.logs(job)
    models = cluster.data_dir.parent / "models"
    assert not list(models.iterdir())

    again = cluster.submit("python", "jobs/train.py", "--resume", said[1])
    cluster.until_said(again, "epoch 4/1000")  # those before are not trained anew
    cluster.stop(again)
    assert not re.search(r"^epoch [123]/1000 .*\(best\).* 0 s$", cluster.logs(again), re.MULTILINE)


def _said_without_token(cluster: Cluster, command: list[str], **environment: str) -> tuple[int, str]:
    run = subprocess.run(
        command, env=cluster.environment | environment, capture_output=True, text=True, check=False, timeout=60
    )
    return run.returncode, run.stderr


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "found none"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "found another one (RAY_AUTH_TOKEN)"),
        ({"RAY_AUTH_TOKEN_PATH": "/nowhere"}, "found none"),
    ],
)
def test_without_the_token_nothing_goes(
    cluster: Cluster, environment: dict[str, str], found: str, tmp_path: Path
) -> None:
    write_features(Storage(str(tmp_path)), synthetic_panel(400))
    flags = ["--data-dir", str(tmp_path), "--ray-address", cluster.gcs_address]
    models = ["--model-dir", str(tmp_path / "models"), "--log-dir", str(tmp_path / "logs")]
    code, said = _said_without_token(cluster, [MIDAS, "train", *flags, *models, *SMALL], **environment)
    assert code == 2
    assert said.splitlines()[-1].startswith(
        f"--ray-address {cluster.gcs_address}: expected the cluster's token, {found}; copy ~/.ray/auth_token from"
    )
    code, _ = _said_without_token(cluster, [RAY, "job", "list", "--address", cluster.address], **environment)
    assert code == 1


def test_the_token_is_in_no_command_line_log_or_file(cluster: Cluster) -> None:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert cluster.token not in entry.read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    head = json.loads((cluster.data_dir / ".midas" / "head.json").read_text())
    token_file = Path(cluster.environment["RAY_AUTH_TOKEN_PATH"])
    assert token_file.stat().st_mode & 0o777 == 0o600
    for top in (cluster.data_dir, Path(head["temp_dir"])):
        for folder, _, names in os.walk(top):
            for path in (Path(folder, name) for name in names):
                if path.is_file():
                    assert cluster.token.encode() not in path.read_bytes(), path


def test_an_upload_holds_code_and_nothing_else(cluster: Cluster, other_version: Path) -> None:
    planted = {
        ".env": "SECRET", "data/raw/x.jsonl.zst": "d", "data/.midas/token": "SECRET", ".midas/token": "SECRET",
        "models/run/best_model.pt": "m", "logs/x.log": "l", "spool/x": "s", "reports/x.html": "r", ".git/config": "g",
        ".venv/bin/python": "v", "id_rsa": "SECRET", "key.pem": "SECRET", "cluster.yaml": "y", "notes.txt": "n",
        "jobs/.env": "SECRET", "jobs/key.pem": "SECRET", "jobs/data.parquet": "d", "jobs/vast_api_key": "SECRET",
        "midas_ray/.env": "SECRET", "midas_ray/x.jsonl.zst": "d", "midas_ray/id_ed25519": "SECRET",
        "midas_ray/cloud/auth_token": "SECRET", "tests/test_x.py": "t", "benchmarks/x.py": "b",
    }  # fmt: skip
    for name, text in planted.items():
        path = other_version / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (other_version / "jobs" / "best.yaml").write_text("hidden_dim: 8\n")
    listing = "import os; print(*sorted(os.path.join(d, n)[2:] for d, _, f in os.walk('.') for n in f), sep='\\n')"
    job = cluster.submit("python", "-B", "-c", listing, checkout=other_version)
    assert cluster.ended(job)["status"] == "SUCCEEDED"
    sent = [line for line in cluster.logs(job).splitlines() if re.fullmatch(r"[\w./-]+", line)]
    assert not set(sent) & planted.keys()
    tops = {"constraints.txt", "pyproject.toml", "jobs", "midas_ray"}
    assert {name.split("/")[0] for name in sent} == tops
    assert {Path(name).suffix for name in sent if name.startswith("midas_ray/")} <= {".py", ".sh"}
    code = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "midas_ray").rglob("*.py")}
    assert code | {"jobs/train.py", "jobs/best.yaml"} <= set(sent)
