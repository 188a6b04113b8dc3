"""`midas doctor`: what it finds, what it advises, its exit code."""

import socket
from importlib import metadata
from pathlib import Path

import pytest

from midas_ray import doctor
from midas_ray.cli import main
from midas_ray.storage import Storage


def test_this_machine_is_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--data-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "Python:" in line or "packages:" in line] == ["ok", "ok"]
    assert any("GPU:" in line for line in lines)


def test_an_old_python_is_missing() -> None:
    finding = doctor.check_python((3, 10, 2))
    assert (finding.ok, finding.found) == (False, "3.10.2")
    assert "install Python 3.11" in finding.advice


def test_a_missing_and_an_old_package_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = ["no-such-package>=1", "pyarrow>=9999", "only-in-dev; extra == 'dev'", "numpy>=1"]
    monkeypatch.setattr(metadata, "requires", lambda _name: needs)
    assert main(["doctor", "--data-dir", str(tmp_path)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("MISSING")]
    assert len(lines) == 2
    assert "expected no-such-package>=1, found none; run make setup" in lines[0]
    assert f"expected pyarrow>=9999, found {metadata.version('pyarrow')}" in lines[1]


def test_little_memory_is_missing() -> None:
    assert doctor.check_memory(2 * 10**9).ok is False
    assert doctor.check_memory(8 * 10**9).ok is True
    assert doctor.check_cores(1).ok is None


def test_the_disk_is_that_of_the_data_folder_to_be(tmp_path: Path) -> None:
    finding = doctor.check_disk(Storage(str(tmp_path / "not" / "yet")))
    assert str(tmp_path / "not" / "yet") in finding.found
    assert "free" in finding.found


def test_a_port_in_use_is_a_note() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert doctor.check_port(port, "x").found == "in use, x"
    assert doctor.check_port(port, "x").ok is True
