"""The head of a cluster that rents nodes: `midas up --autoscaling-config`, its restarts, what it knows after them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from midas_ray.capture.head import Autoscaling
from midas_ray.capture.head_start import read_autoscaling, taken_over
from midas_ray.cli import main
from midas_ray.cloud.mesh import HEAD_SLOT, Ports
from midas_ray.errors import UsageError
from tests.capture.running import MIDAS, PLAIN_ENVIRONMENT
from tests.capture.test_service import exchange_url  # noqa: F401 (a fixture)
from tests.jobs.conftest import free_port

LIMIT_S = 300.0
CONFIG: dict[str, Any] = {
    "cluster_name": "test",
    "max_workers": 1,
    "idle_timeout_minutes": 1,
    "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []},
    "auth": {"ssh_user": "nobody"},
    "available_node_types": {"head": {"resources": {"CPU": 2}, "node_config": {}}},
    "head_node_type": "head",
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    "docker": {},
    **{name: [] for name in ("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands")},
    **{name: [] for name in ("setup_commands", "head_setup_commands", "worker_setup_commands")},
    **{name: [] for name in ("head_start_ray_commands", "worker_start_ray_commands")},
}
KEEP = """
import os, ray
ray.init(address=os.environ["HEAD"], namespace="midas", log_to_driver=False)
class Kept:
    def pid(self):
        return os.getpid()
kept = ray.remote(Kept).options(name="kept", lifetime="detached", get_if_exists=True, max_restarts=-1, num_cpus=0)
print(ray.get(kept.remote().pid.remote()))
"""
FIND = """
import os, ray
ray.init(address=os.environ["HEAD"], namespace="midas", log_to_driver=False)
print(ray.get(ray.get_actor("kept").pid.remote(), timeout=100))
"""


class Head:
    """A head of a cluster, as `midas up` starts it in a folder of the test's own."""

    def __init__(self, folder: Path, exchange: str) -> None:
        self._folder, self._exchange, self._port = folder, exchange, free_port()
        self.data_dir, self.config = folder / "data", folder / "cluster.yaml"
        self.environment = PLAIN_ENVIRONMENT | {
            "XDG_STATE_HOME": str(folder / "state"),
            "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        }
        self.configure(CONFIG)

    def configure(self, config: dict[str, Any]) -> None:
        self.config.write_text(yaml.safe_dump(config))

    def midas(self, *arguments: str, **environment: str) -> str:
        """Output of a command that has to do its job."""
        run = subprocess.run(
            [MIDAS, *arguments, "--data-dir", str(self.data_dir)],
            env=self.environment | environment, cwd=self._folder, capture_output=True, text=True, timeout=LIMIT_S,
            check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        return run.stdout

    def up(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """`midas up`; gives what is recorded of the head."""
        port = ["--dashboard-port", str(self._port), "--exchange-url", self._exchange]
        self.midas("up", *port, *arguments, **environment)
        return dict(json.loads((self.data_dir / ".midas" / "head.json").read_text()))

    def python(self, code: str) -> str:
        """What a driver on this cluster prints."""
        environment = self.environment | {
            "HEAD": f"127.0.0.1:{Ports(HEAD_SLOT).gcs}",
            "RAY_AUTH_MODE": "token",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        }
        run = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=True
        )
        return run.stdout

    def jobs(self, submit: str | None = None) -> Any:
        """The jobs that were submitted, or the answer to one that is."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/api/jobs/")
        request.add_header("Authorization", f"Bearer {(self._folder / 'token').read_text()}")
        if submit is not None:
            request.data = json.dumps({"entrypoint": submit, "submission_id": submit}).encode()
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@pytest.fixture
def head(tmp_path: Path, exchange_url: str) -> Iterator[Head]:  # noqa: F811
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", Ports(HEAD_SLOT).gcs)) == 0:
            pytest.skip(f"port {Ports(HEAD_SLOT).gcs} is another head's")
    made = Head(tmp_path, exchange_url)
    try:
        yield made
    finally:
        made.midas("down")


def _kill(session_id: int) -> None:
    """SIGKILL to all of a head, as a crash or the system's memory killer would end it."""
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(int(entry.name)) == session_id:
                os.kill(int(entry.name), signal.SIGKILL)
    end_s = time.monotonic() + 30
    while any(_sid(entry) == session_id for entry in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < end_s
        time.sleep(0.1)


def _sid(entry: Path) -> int | None:
    try:
        return os.getsid(int(entry.name))
    except ProcessLookupError:
        return None


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="finds a head's processes in /proc")
def test_a_cluster_survives_its_head(head: Head) -> None:
    asked = ["--symbols", "btcusdt", "--autoscaling-config", str(head.config)]
    of_ray_up = {"RAY_CLOUD_INSTANCE_ID": "127.0.0.1", "RAY_NODE_TYPE_NAME": "head"}
    first = head.up(*asked, **of_ray_up)
    assert first["gcs_address"] == f"127.0.0.1:{Ports(HEAD_SLOT).gcs}"
    assert first["autoscaling"]["environment"] == of_ray_up
    assert head.up(*asked, **of_ray_up) == first  # nothing happens
    assert head.up("--symbols", "") == first  # nor for one who only adds symbols, or none

    process = head.python(KEEP)
    head.jobs(submit="true")
    _kill(first["session_id"])
    second = head.up()  # as a service does at boot: without a flag, without what `ray up` said
    assert second["session_id"] != first["session_id"]
    assert {**second, "session_id": 0} == {**first, "session_id": 0}
    assert head.python(FIND) != process
    assert [job["submission_id"] for job in head.jobs() if job["submission_id"]] == ["true"]
    assert "btcusdt live" in " ".join(head.midas("status").split())

    head.configure(CONFIG | {"idle_timeout_minutes": 2})
    third = head.up(*asked)
    assert third["session_id"] != second["session_id"]
    assert third["autoscaling"]["digest"] != second["autoscaling"]["digest"]
    assert third["autoscaling"]["environment"] == of_ray_up
    assert head.python(FIND)
    assert "btcusdt live" in " ".join(head.midas("status").split())

    head.midas("down")
    assert not list((Path(head.environment["XDG_STATE_HOME"]) / "midas").iterdir())
    assert not Path(third["temp_dir"]).exists()


def test_no_cluster_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    up = ["up", "--data-dir", str(tmp_path / "data"), "--symbols", "", "--autoscaling-config"]
    other = tmp_path / "other.yaml"
    other.write_text("x: 1\n")
    for path, found in (("nowhere.yaml", "No such file or directory"), (str(other), "no `provider:` in it")):
        assert main([*up, path]) == 2
        said = capsys.readouterr().err
        assert f"--autoscaling-config {path}: expected Ray's cluster YAML, found" in said
        assert found in said
    assert not (tmp_path / "data").exists()


def test_what_a_restart_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "cluster.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    monkeypatch.setenv("RAY_NODE_TYPE_NAME", "head")
    first = read_autoscaling(str(config))
    assert taken_over(first, None) == first
    assert taken_over(None, None) is None
    monkeypatch.delenv("RAY_NODE_TYPE_NAME")
    config.write_text(yaml.safe_dump(CONFIG, sort_keys=False) + "# a comment\n")
    assert taken_over(None, first) == first  # the same content, and what only `ray up` knows
    assert taken_over(read_autoscaling(str(config)), first) == first
    config.write_text(yaml.safe_dump(CONFIG | {"max_workers": 3}))
    changed = taken_over(None, first)
    assert changed is not None
    assert (changed.digest != first.digest, changed.environment) == (True, first.environment)
    other = Autoscaling(config="/other.yaml", digest="d")
    assert taken_over(other, first) == other
    config.unlink()
    with pytest.raises(UsageError, match="expected Ray's cluster YAML, found: No such file"):
        taken_over(None, first)
