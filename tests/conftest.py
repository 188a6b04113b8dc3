"""Fixtures shared by all tests: the real captures, one small Ray for the whole session."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import Bucket, s3_server

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ["RAY_AUTH_MODE"] = "disabled"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real captures; skips, saying so, where it is absent."""
    folder = Path(os.environ.get("MIDAS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real captures are absent: {folder} (set MIDAS_TEST_DATA)")
    return folder


@pytest.fixture(autouse=True)
def _clean_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's own environment or .env file reaches a test."""
    for name in ("SYMBOL", "SYMBOLS", "DATA_DIR", "SPOOL_DIR", "MODEL_DIR", "LOG_DIR", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """The port of a local S3 server for the session."""
    with s3_server() as port:
        yield port


@pytest.fixture
def bucket(s3_port: int) -> Bucket:
    """An empty bucket of the test's own."""
    return Bucket(f"test-{uuid.uuid4().hex[:12]}", s3_port).create()


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """One private Ray of 2 CPUs for the session."""
    from midas_ray.ray_session import ray_session
    from midas_ray.settings import RaySettings

    with ray_session(RaySettings(num_cpus=2)):
        yield


@pytest.fixture(scope="session")
def nexo_data(real_data: Path, ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with raw, clean and 1-minute features of the 34-hour spot capture, made once a session."""
    from midas_ray.cli import run_command

    data_dir = tmp_path_factory.mktemp("nexo") / "data"
    captures = sorted(str(path) for path in (real_data / "binance-spot-raw").glob("nexousdt_*.gz"))
    flags = ["--data-dir", str(data_dir), "--venue", "binance-spot"]
    assert run_command("import", ["lines", *captures, *flags]) == 0
    for command in ("reconstruct", "features"):
        assert run_command(command, flags) == 0
    return data_dir
