"""`midas doctor`: what it finds, what it advises, its exit code."""

import socket
from importlib import metadata
from pathlib import Path

import pytest

from midas_ray import doctor
from midas_ray.cli import main
from tests.s3_server import SECRET, Bucket


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
    finding = doctor.check_disk("DATA_DIR", tmp_path / "not" / "yet", "--data-dir")
    assert str(tmp_path / "not" / "yet") in finding.found
    assert "free" in finding.found


def test_an_object_store_is_reached_and_its_spool_looked_at(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["doctor", "--spool-dir", str(tmp_path / "spool"), "--data-dir"]
    assert main([*flags, bucket.url()]) == 0
    text = capsys.readouterr().out
    assert f"ok      DATA_DIR: s3://{bucket.name}/midas, can be listed, read and written" in text
    assert f"ok      spool: {tmp_path / 'spool'}" in text
    assert bucket.files() == ["midas/.midas/writable"]
    assert main([*flags, Bucket("test-absent", bucket.port).url()]) == 1
    text = capsys.readouterr().out
    assert "MISSING DATA_DIR: s3://test-absent/midas: expected a bucket, found none named test-absent" in text
    assert SECRET not in text


def test_a_port_in_use_is_a_note() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert doctor.check_port(port, "x").found == "in use, x"
    assert doctor.check_port(port, "x").ok is True
