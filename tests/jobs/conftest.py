"""One head node for the tests of jobs, started by `midas up` as a user would."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.capture.running import MIDAS, PLAIN_ENVIRONMENT

CHECKOUT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
LIMIT_S = 600.0


@dataclass
class Cluster:
    """A head, its folder, and the environment of a user who has its token."""

    data_dir: Path
    address: str
    gcs_address: str
    environment: dict[str, str]
    token: str
    _submitted: int = field(default=0)

    def submit(self, *entrypoint: str, checkout: Path = CHECKOUT) -> str:
        """Submit from a checkout as the README says; gives the job's id."""
        self._submitted += 1
        job = f"test-{self._submitted}"
        places = ["--runtime-env", str(checkout / "runtime_env.yaml"), "--working-dir", str(checkout)]
        submit = [RAY, "job", "submit", "--address", self.address, "--no-wait", "--submission-id", job, *places]
        submit += ["--", *entrypoint]
        subprocess.run(submit, env=self.environment, check=True, capture_output=True, timeout=LIMIT_S)
        return job

    def get(self, path: str, method: str = "GET") -> Any:
        """What the dashboard answers."""
        request = urllib.request.Request(f"{self.address}/api/jobs/{path}", method=method)
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def logs(self, job: str) -> str:
        return str(self.get(f"{job}/logs")["logs"])

    def ended(self, job: str) -> dict[str, Any]:
        """The job, once it has ended."""
        end_s = time.monotonic() + LIMIT_S
        while (found := self.get(job))["status"] in ("PENDING", "RUNNING"):
            assert time.monotonic() < end_s, self.logs(job)
            time.sleep(0.3)
        return dict(found)

    def until(self, condition: Callable[[], object], job: str) -> None:
        """Wait for something while the job runs."""
        end_s = time.monotonic() + LIMIT_S
        while not condition():
            assert self.get(job)["status"] in ("PENDING", "RUNNING"), self.logs(job)
            assert time.monotonic() < end_s, self.logs(job)
            time.sleep(0.3)

    def until_said(self, job: str, text: str) -> None:
        """Wait until the job's output has the text."""
        self.until(lambda: text in self.logs(job), job)

    def stop(self, job: str) -> dict[str, Any]:
        """As `ray job stop` does."""
        self.get(f"{job}/stop", "POST")
        return self.ended(job)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def head_of(folder: Path) -> Iterator[Cluster]:
    """A head that collects nothing, inside the block."""
    data_dir, token = folder / "data", folder / "token"
    environment = PLAIN_ENVIRONMENT | {"RAY_AUTH_TOKEN_PATH": str(token)}
    address = f"http://127.0.0.1:{(port := free_port())}"
    up = [MIDAS, "up", "--data-dir", str(data_dir), "--symbols", "", "--dashboard-port", str(port)]
    try:
        subprocess.run(up, env=environment, cwd=folder, check=True, timeout=LIMIT_S)
        head = json.loads((data_dir / ".midas" / "head.json").read_text())
        yield Cluster(
            data_dir, address, head["gcs_address"], environment | {"RAY_AUTH_MODE": "token"}, token.read_text()
        )
    finally:
        subprocess.run([MIDAS, "down", "--data-dir", str(data_dir)], env=environment, check=True, timeout=LIMIT_S)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if not Path("/proc/self").exists():
        pytest.skip("a head node's processes are found in /proc")
    with head_of(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name in ("MODEL_DIR", "LOG_DIR")]:
        monkeypatch.delenv(name)
