"""A folder of the driver's machine, read and written from other processes of a real Ray."""

import errno
import gc
import os
import pickle
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
import ray

from midas_ray import relayed_fs
from midas_ray.relayed_files import Refusal, RelayedFiles
from midas_ray.relayed_fs import open_relayed

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture
def fs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pafs.PyFileSystem:
    monkeypatch.setattr(relayed_fs, "PIECE_BYTES", 1000)
    return open_relayed(str(tmp_path / "root"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 12_345])
def test_what_is_written_is_read_anywhere_in(fs: pafs.PyFileSystem, root: Path, size: int) -> None:
    data = os.urandom(size)
    with fs.open_output_stream(f"{root}/file") as stream:
        stream.write(data[:700])
        stream.write(data[700:])
        assert stream.tell() == size
    assert (root / "file").read_bytes() == data
    with fs.open_input_stream(f"{root}/file") as stream:
        assert stream.read() == data
    with fs.open_input_file(f"{root}/file") as file:
        assert file.size() == size
        for at in (0, size // 3, size):
            file.seek(at)
            assert file.read(2500) == data[at : at + 2500]


def test_folders_are_copied_both_ways(fs: pafs.PyFileSystem, root: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "a").write_bytes(b"a" * 5000)
    (source / "b").write_bytes(b"")
    fs.create_dir(f"{root}/deep/er")
    pafs.copy_files(str(source), f"{root}/deep/er", destination_filesystem=fs)
    pafs.copy_files(f"{root}/deep", str(tmp_path / "back"), source_filesystem=fs)
    assert (tmp_path / "back" / "er" / "inner" / "a").read_bytes() == b"a" * 5000
    assert (tmp_path / "back" / "er" / "b").read_bytes() == b""
    infos = fs.get_file_info(pafs.FileSelector(f"{root}/deep", recursive=True))
    assert {(info.path.removeprefix(f"{root}/"), info.type.name, info.size) for info in infos} == {
        ("deep/er", "Directory", None), ("deep/er/inner", "Directory", None), ("deep/er/inner/a", "File", 5000),
        ("deep/er/b", "File", 0),
    }  # fmt: skip
    fs.move(f"{root}/deep/er/b", f"{root}/c")
    fs.copy_file(f"{root}/c", f"{root}/d")
    fs.delete_file(f"{root}/c")
    fs.delete_dir_contents(f"{root}/deep")
    assert [path.name for path in sorted(root.iterdir())] == ["d", "deep"]
    fs.delete_dir(f"{root}/deep")
    assert fs.get_file_info(f"{root}/deep").type == pafs.FileType.NotFound
    assert fs.get_file_info(pafs.FileSelector(f"{root}/deep", allow_not_found=True)) == []


def test_it_is_the_same_in_another_process(fs: pafs.PyFileSystem, root: Path) -> None:
    @ray.remote
    def there(carried: pafs.PyFileSystem) -> bool:
        with carried.open_output_stream(f"{root}/from-there") as stream:
            stream.write(b"there")
        return bool(carried.equals(pickle.loads(pickle.dumps(carried))))

    assert ray.get(there.remote(fs))
    assert (root / "from-there").read_bytes() == b"there"


def test_a_file_appears_whole_or_not_at_all(fs: pafs.PyFileSystem, root: Path) -> None:
    (root / "file").write_bytes(b"old")
    stream = fs.open_output_stream(f"{root}/file")
    stream.write(b"new" * 1000)
    assert (root / "file").read_bytes() == b"old"
    (shown,) = fs.get_file_info(pafs.FileSelector(str(root)))
    assert shown.path == f"{root}/file"
    stream.close()
    assert (root / "file").read_bytes() == b"new" * 1000
    given_up = fs.open_output_stream(f"{root}/given-up")
    given_up.write(b"half")
    del given_up
    gc.collect()
    assert fs.get_file_info(f"{root}/given-up").type == pafs.FileType.NotFound


def test_the_death_of_the_actor_is_not_noticed(fs: pafs.PyFileSystem, root: Path) -> None:
    data = os.urandom(9000)
    stream = fs.open_output_stream(f"{root}/file")
    stream.write(data[:4500])
    ray.kill(fs.handler._actor, no_restart=False)
    stream.write(data[4500:])
    ray.kill(fs.handler._actor, no_restart=False)
    stream.close()
    assert (root / "file").read_bytes() == data
    assert fs.open_input_stream(f"{root}/file").read() == data


def test_errors_keep_their_numbers(fs: pafs.PyFileSystem, root: Path) -> None:
    (root / "folder").mkdir()
    (root / "file").write_bytes(b"")
    for attempt, number in (
        (lambda: fs.open_input_stream(f"{root}/absent"), errno.ENOENT),
        (lambda: fs.open_input_stream(f"{root}/folder"), errno.EISDIR),
        (lambda: fs.open_output_stream(f"{root}/absent/file"), errno.ENOENT),
        (lambda: fs.open_output_stream(f"{root}/folder"), errno.EISDIR),
        (lambda: fs.create_dir(f"{root}/file/inner"), errno.ENOTDIR),
        (lambda: fs.delete_file(f"{root}/absent"), errno.ENOENT),
        (lambda: fs.get_file_info(pafs.FileSelector(f"{root}/absent")), errno.ENOENT),
        (lambda: fs.open_append_stream(f"{root}/file"), errno.ENOTSUP),
    ):
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            attempt()
        assert caught.value.errno == number
    full = RelayedFiles("/dev").write("/dev/full", 0, b"x")
    assert isinstance(full, Refusal)
    assert full.number == errno.ENOSPC


def test_nothing_outside_is_touched(fs: pafs.PyFileSystem, root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (root / "link").symlink_to(secret)
    (root / "up").symlink_to(tmp_path)
    outside = [str(secret), f"{root}/../secret", f"{root}/link", f"{root}/up/secret", f"{root}/..", "secret", "/"]
    for path in outside:
        attempts: list[Any] = [fs.open_input_stream, fs.open_output_stream, fs.get_file_info, fs.delete_file]
        for attempt in [*attempts, fs.delete_dir, lambda to: fs.move(f"{root}/link", to)]:
            with pytest.raises(PermissionError, match="outside"):
                attempt(path)
    with pytest.raises(PermissionError):
        fs.handler.delete_root_dir_contents()
    assert secret.read_text() == "secret"


def test_a_repeated_publication_is_one(tmp_path: Path) -> None:
    files = RelayedFiles(str(tmp_path))
    temporary, path = f"{tmp_path}/.tmp-1-file", f"{tmp_path}/file"
    assert files.write(temporary, 2, b"cd") is None
    assert files.write(temporary, 0, b"ab") is None
    refused = files.publish(temporary, path, 5)
    assert refused == Refusal(errno.EIO, "expected 5 bytes, found 4", path)
    assert files.publish(temporary, path, 4) is None
    assert files.publish(temporary, path, 4) is None
    assert (tmp_path / "file").read_bytes() == b"abcd"
