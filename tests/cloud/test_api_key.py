"""Where the API key comes from, and which files are refused."""

from pathlib import Path

import pytest

from midas_ray.cloud.api_key import read_api_key
from midas_ray.cloud.errors import AuthError

KEY = "c0ffee" * 8


@pytest.fixture
def key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("VAST_API_KEY", raising=False)
    path = tmp_path / "vast_api_key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    return path


def test_the_environment_comes_first(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAST_API_KEY", " of-the-environment ")
    assert read_api_key(key_file) == "of-the-environment"
    monkeypatch.setenv("VAST_API_KEY", "  ")
    assert read_api_key(key_file) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602])
def test_a_file_that_others_can_read_or_write_is_refused(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(AuthError) as refused:
        read_api_key(key_file)
    assert f"found {mode:04o}: chmod 600 {key_file}" in str(refused.value)
    assert KEY not in str(refused.value)


def test_no_key_says_both_places(key_file: Path) -> None:
    key_file.unlink()
    with pytest.raises(
        AuthError, match=r"VAST_API_KEY in the environment or a 0600 file .*vast_api_key, found neither"
    ):
        read_api_key(key_file)


def test_an_empty_file_and_a_folder(key_file: Path) -> None:
    key_file.write_text("\n")
    with pytest.raises(AuthError, match="found an empty file"):
        read_api_key(key_file)
    key_file.unlink()
    key_file.mkdir(mode=0o700)
    with pytest.raises(AuthError, match="expected a readable file"):
        read_api_key(key_file)


@pytest.mark.parametrize("text", ["two words", "a\nb", "schlüssel", "a\x00b"])
def test_what_no_header_can_hold_is_refused_without_being_shown(key_file: Path, text: str) -> None:
    key_file.write_text(text)
    with pytest.raises(AuthError) as refused:
        read_api_key(key_file)
    assert text not in str(refused.value)
