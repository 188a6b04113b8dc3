"""The token of a head: made once for its owner alone, given on as a path."""

import os
import stat
from pathlib import Path

import pytest

from midas_ray import ray_token
from midas_ray.errors import UsageError


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where the token goes, with nothing of it in the environment."""
    for name in (ray_token.MODE, ray_token.TOKEN, ray_token.TOKEN_PATH):
        monkeypatch.setenv(name, "")  # so that it is as it was after the test, whatever the test does
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def _rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_made_once_where_ray_looks_for_it(path: Path) -> None:
    os.umask(0o022)
    assert ray_token.ensure_token() == path
    assert (_rights(path), _rights(path.parent)) == (0o600, 0o700)
    token = path.read_text()
    assert len(bytes.fromhex(token)) == 32
    assert ray_token.ensure_token() == path
    assert path.read_text() == token
    assert [entry.name for entry in path.parent.iterdir()] == ["auth_token"]


def test_one_that_others_can_read_is_closed_to_them(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("of ray itself")
    path.chmod(0o644)
    ray_token.ensure_token()
    assert (_rights(path), path.read_text()) == (0o600, "of ray itself")


def test_another_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: Path) -> None:
    monkeypatch.setenv(ray_token.TOKEN_PATH, "~/elsewhere/token")
    assert ray_token.ensure_token() == tmp_path / "elsewhere" / "token"
    assert not path.exists()


def test_the_environments_token_is_kept(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv(ray_token.TOKEN, "given")
    assert ray_token.ensure_token().read_text() == "given"
    monkeypatch.setenv(ray_token.TOKEN, "another")
    with pytest.raises(UsageError, match=r"^RAY_AUTH_TOKEN: expected the token in .*/auth_token, found another one"):
        ray_token.ensure_token()


def test_what_cannot_be_used(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(UsageError, match=r"cannot use .*auth_token \(Is a directory\); name another file in RAY_"):
        ray_token.ensure_token()
    path.rmdir()
    path.write_text("\n")
    with pytest.raises(UsageError, match="found an empty file; delete it"):
        ray_token.ensure_token()
    monkeypatch.setenv(ray_token.MODE, "on")
    with pytest.raises(UsageError, match="RAY_AUTH_MODE: expected token or disabled, found 'on'"):
        ray_token.wanted()


@pytest.mark.parametrize(("mode", "expected"), [(None, True), ("token", True), ("disabled", False)])
def test_on_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, mode: str | None, expected: bool
) -> None:
    if mode is not None:
        monkeypatch.setenv(ray_token.MODE, mode)
    assert ray_token.wanted() is expected


def test_a_command_shows_its_users_token_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ray_token.show_own_token()
    assert os.environ[ray_token.MODE] == "disabled"
    monkeypatch.delenv(ray_token.MODE)
    ray_token.ensure_token()
    ray_token.show_own_token()
    assert os.environ[ray_token.MODE] == "token"


def test_what_a_head_was_started_with_comes_first(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv(ray_token.MODE, "disabled")
    monkeypatch.setenv(ray_token.TOKEN, "of another cluster")
    ray_token.use_token(str(path))
    assert (os.environ[ray_token.MODE], os.environ[ray_token.TOKEN_PATH]) == ("token", str(path))
    assert ray_token.TOKEN not in os.environ
    ray_token.use_token(None)
    assert os.environ[ray_token.MODE] == "disabled"
