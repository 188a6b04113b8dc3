from pathlib import Path

import pytest

from midas_ray.errors import StorageError
from midas_ray.forecast.model_folder import check_folder, model_folder, new_run_id


def test_a_run_appears_whole_and_latest_follows(tmp_path: Path) -> None:
    for run_id in ("first", "second"):
        with model_folder(tmp_path, run_id) as folder:
            (folder / "model").write_text(run_id)
            assert not (tmp_path / run_id).exists()
        assert (tmp_path / "latest" / "model").read_text() == run_id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "latest", "second"]
    assert (tmp_path / "latest").readlink() == Path("second")  # relative: the folder can be moved


def _write_half(folder: Path, error: type[BaseException]) -> None:
    (folder / "model").write_text("half")
    raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failed_run_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with model_folder(tmp_path, "good"):
        pass
    with pytest.raises(error), model_folder(tmp_path, "bad") as folder:
        _write_half(folder, error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good", "latest"]
    assert (tmp_path / "latest").readlink() == Path("good")


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write bad: .*No space left"), model_folder(tmp_path, "bad"):
        raise OSError(28, "No space left on device")


def test_run_ids_are_never_used_twice() -> None:
    assert len({new_run_id() for _ in range(20)}) == 20


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"--model-dir .*/file/models: expected a writable folder, found: Not a dir"):
        check_folder("--model-dir", tmp_path / "file" / "models")
    check_folder("--model-dir", tmp_path / "new" / "models")
    assert list((tmp_path / "new" / "models").iterdir()) == []
