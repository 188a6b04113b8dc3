"""How files come to the head: excludes are for folders; a file that is named is copied."""

from pathlib import Path

import pytest

from midas_ray.cloud.command_runner import LocalRunner, options_of

EXCLUDES = {
    "rsync_exclude": ["vast_api_key", "*.pem"],
    "rsync_filter": [".gitignore"],
    "docker_mount_if_possible": True,
}


def test_a_named_file_is_copied_whatever_the_excludes_and_not_out_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "vast_api_key").write_text("secret")
    (folder / "code.py").write_text("code")
    runner = LocalRunner(str(tmp_path))
    runner.run_rsync_up(str(folder), str(tmp_path / "copied"), EXCLUDES)
    runner.run_rsync_up(str(folder / "vast_api_key"), str(tmp_path / "home" / "vast_api_key"), EXCLUDES)
    assert [path.name for path in (tmp_path / "copied").iterdir()] == ["code.py"]
    assert (tmp_path / "home" / "vast_api_key").read_text() == "secret"


@pytest.mark.parametrize("given", [None, {}, EXCLUDES])
def test_options_of_a_folder_stay_as_they_are(tmp_path: Path, given: dict[str, object] | None) -> None:
    assert options_of(str(tmp_path), given) == (given or {})


def test_options_of_a_file_keep_what_is_not_rsyncs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert options_of(str(tmp_path / "file"), EXCLUDES) == {"docker_mount_if_possible": True}
