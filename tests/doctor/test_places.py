"""`midas doctor`: where data lie."""

from pathlib import Path

import pytest

from midas_ray.cli import main
from midas_ray.doctor import places
from tests.s3_server import SECRET, Bucket


def test_the_disk_is_that_of_the_data_folder_to_be(tmp_path: Path) -> None:
    finding = places.check_disk("DATA_DIR", tmp_path / "not" / "yet", "--data-dir")
    assert str(tmp_path / "not" / "yet") in finding.found
    assert "free" in finding.found


def test_an_object_store_is_reached_and_its_spool_looked_at(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
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
