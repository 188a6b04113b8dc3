"""How files come to the head: excludes are for folders; a file that is named is copied."""

from pathlib import Path

import pytest
from ray.autoscaler._private.command_runner import SSHCommandRunner

from midas_ray.cloud.command_runner import LocalRunner, NodeRunner, options_of

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


def test_the_private_key_never_goes_to_a_rented_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    monkeypatch.setattr(SSHCommandRunner, "run_rsync_up", lambda _self, source, *_: copied.append(source))
    monkeypatch.setattr(NodeRunner, "_reached", lambda _self: None)
    runner = NodeRunner.__new__(NodeRunner)
    runner.ssh_private_key = str(tmp_path / "id_ed25519")
    runner.run_rsync_up(str(tmp_path / "id_ed25519"), "~/ray_bootstrap_key.pem")
    runner.run_rsync_up(str(tmp_path / "checkout"), "~/midas")
    assert copied == [str(tmp_path / "checkout")]
