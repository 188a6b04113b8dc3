"""`midas doctor` on a machine: what it finds, what it advises, its exit code."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from midas_ray.cli import main
from midas_ray.cloud.fake import outer
from midas_ray.doctor import machine


def test_this_machine_is_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert main(["doctor", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "Python:" in line or "packages:" in line] == ["ok", "ok"]
    assert any("GPU:" in line for line in lines)


def test_an_old_python_is_missing() -> None:
    finding = machine.check_python((3, 10, 2))
    assert (finding.ok, finding.found) == (False, "3.10.2")
    assert "install Python 3.11" in finding.advice


def test_a_missing_and_an_old_package_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = ["no-such-package>=1", "pyarrow>=9999", "only-in-dev; extra == 'dev'", "numpy>=1"]
    monkeypatch.setattr(metadata, "requires", lambda _name: needs)
    assert main(["doctor", "--data-dir", str(tmp_path)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISSING package")]
    assert len(lines) == 2
    assert "expected no-such-package>=1, found none; run make setup" in lines[0]
    assert f"expected pyarrow>=9999, found {metadata.version('pyarrow')}" in lines[1]


def test_little_memory_is_missing() -> None:
    assert machine.check_memory(2 * 10**9).ok is False
    assert machine.check_memory(8 * 10**9).ok is True
    assert machine.check_cores(1).ok is None


def test_missing_programs_and_their_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.check_programs().ok is not False
    (tmp_path / "ssh").write_text("")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    finding = machine.check_programs()
    assert finding.ok is None
    assert finding.found == "no ssh-keygen, rsync"
    assert "apt-get install openssh-client rsync" in finding.advice


def test_namespaces_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outer, "available", lambda: None)
    assert machine.check_namespaces().ok is True
    monkeypatch.setattr(outer, "available", lambda: "fake machines: expected Linux (namespaces), found darwin")
    assert machine.check_namespaces().found == "fake machines: expected Linux (namespaces), found darwin"


def test_it_works_without_the_extra_cloud(tmp_path: Path) -> None:
    code = "import sys; sys.modules['httpx'] = None; from midas_ray.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", "--online", "--exchange-url", "http://127.0.0.1:1"],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Vast.ai account: not asked: no package httpx; pip install 'midas-ray[cloud]'" in done.stdout
