"""The account's key is in no command line of any process, no output and no file, while `midas vast` uses it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from midas_ray.cloud.fake import FakeHandle, Script, running_fake


def command_lines() -> bytes:
    """Those of every process of this machine."""
    said = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said.append(path.read_bytes())
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
    return b"\n".join(said)


@pytest.mark.parametrize("action", ["cost", "offers"])
@pytest.mark.parametrize("from_file", [True, False])
def test_the_key_is_nowhere_to_be_seen(action: str, from_file: bool, tmp_path: Path) -> None:
    with running_fake(Script()) as fake:
        fake.steer(failures=[{"what": "500", "times": 2}])  # errors are said without it, too
        environment = {**os.environ, "HOME": str(tmp_path), "VAST_URL": fake.url, "RAY_ADDRESS": "http://127.0.0.1:1"}
        environment.pop("VAST_API_KEY", None)
        if from_file:
            key = tmp_path / ".config" / "vastai" / "vast_api_key"
            key.parent.mkdir(parents=True)
            key.write_text(fake.api_key)
            key.chmod(0o600)
        else:
            environment["VAST_API_KEY"] = fake.api_key
        out, seen = _run(action, environment, fake)
    assert b"$" in out
    assert f"midas_ray.cli\0vast\0{action}".encode() in seen  # it was looked at while it worked
    assert fake.api_key.encode() not in out
    assert fake.api_key.encode() not in seen
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "vast_api_key"]
    assert [path for path in written if fake.api_key.encode() in path.read_bytes()] == []


def _run(action: str, environment: dict[str, str], fake: FakeHandle) -> tuple[bytes, bytes]:
    """What `midas vast` printed on both channels, and all command lines until it ended."""
    command = [sys.executable, "-m", "midas_ray.cli", "vast", action]
    work = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seen = b""
    while True:
        seen += command_lines()
        try:
            out, _ = work.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
        assert work.returncode == 0, out
        assert fake.calls()
        return out, seen
