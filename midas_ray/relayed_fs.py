"""A folder of the driver's machine as a file system on every node: `pyarrow.fs` over the actor of `relayed_files`.

What is read and written travels in pieces through Ray's object stores, several at a time. A file appears whole under
its name when its stream is closed; one that is given up never does. Errors are OSErrors with the number that the
driver's machine gave, such as errno.ENOSPC.
"""

import errno
import os
import posixpath
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import ray

from midas_ray import relayed_files
from midas_ray.relayed_files import TEMPORARY, Entry, Refusal

PIECE_BYTES = 8 * 2**20
"""So much is asked for or sent at once."""
PIECES_UNDER_WAY = 4


def open_relayed(root: str) -> pafs.PyFileSystem:
    """The folder `root` of this driver's machine, for Ray to carry to any node. It lasts as long as the driver."""
    return pafs.PyFileSystem(RelayedFileSystem(root, relayed_files.start(root)))


def _answer(reference: Any) -> Any:
    """What the actor says. Raises OSError."""
    try:
        answer = ray.get(reference)
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise OSError(errno.EIO, f"the driver's node does not answer ({reason})") from None
    if isinstance(answer, Refusal):
        raise OSError(answer.number, answer.reason, answer.path)
    return answer


class RelayedFileSystem(pafs.FileSystemHandler):
    """What `pyarrow.fs` asks of a file system. Paths are those of the driver's machine, below `root`."""

    def __init__(self, root: str, actor: Any) -> None:
        self._root, self._actor = root, actor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RelayedFileSystem) and (self._root, self._id) == (other._root, other._id)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self._root, self._id))

    @property
    def _id(self) -> str:
        return str(self._actor._actor_id.hex())

    def get_type_name(self) -> str:
        return "relayed"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        entries = _answer(self._actor.infos.remote(paths))
        return [_info(path, entry) for path, entry in zip(paths, entries, strict=True)]

    def get_file_info_selector(self, selector: pafs.FileSelector) -> list[pafs.FileInfo]:
        try:
            entries = _answer(self._actor.listing.remote(selector.base_dir, selector.recursive))
        except FileNotFoundError:
            if selector.allow_not_found:
                return []
            raise
        return [_info(entry.path, entry) for entry in entries]

    def create_dir(self, path: str, recursive: bool) -> None:
        _answer(self._actor.make_folder.remote(path, recursive))

    def delete_dir(self, path: str) -> None:
        _answer(self._actor.delete_folder.remote(path, True))

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        try:
            _answer(self._actor.delete_folder.remote(path, False))
        except FileNotFoundError:
            if not missing_dir_ok:
                raise

    def delete_root_dir_contents(self) -> None:
        raise PermissionError(errno.EACCES, "not deleted as a whole", self._root)

    def delete_file(self, path: str) -> None:
        _answer(self._actor.delete_file.remote(path))

    def move(self, src: str, dest: str) -> None:
        _answer(self._actor.move.remote(src, dest))

    def copy_file(self, src: str, dest: str) -> None:
        _answer(self._actor.copy.remote(src, dest))

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def open_input_file(self, path: str) -> pa.NativeFile:
        (entry,) = _answer(self._actor.infos.remote([path]))
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        if entry.is_folder:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        return pa.PythonFile(_Reader(self._actor, path, entry.size), mode="r")

    def open_output_stream(self, path: str, metadata: Any) -> pa.NativeFile:  # noqa: ARG002 (a local file has none)
        return pa.PythonFile(_Writer(self._actor, path), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> pa.NativeFile:  # noqa: ARG002
        raise OSError(errno.ENOTSUP, "expected a whole file, found an append", path)


def _info(path: str, entry: Entry | None) -> pafs.FileInfo:
    if entry is None:
        return pafs.FileInfo(path, pafs.FileType.NotFound)
    if entry.is_folder:
        return pafs.FileInfo(path, pafs.FileType.Directory, mtime_ns=entry.mtime_ns)
    return pafs.FileInfo(path, pafs.FileType.File, size=entry.size, mtime_ns=entry.mtime_ns)


def _in_turn(calls: Iterable[Callable[[], Any]]) -> Iterator[Any]:
    """The answers to calls to the actor, in order, a few calls at a time. Raises OSError, once all are answered."""
    references: deque[Any] = deque()
    try:
        for call in calls:
            references.append(call())
            if len(references) >= PIECES_UNDER_WAY:
                yield _answer(references.popleft())
        while references:
            yield _answer(references.popleft())
    finally:
        ray.wait(list(references), num_returns=len(references)) if references else None


class _Reader:
    """A file to read anywhere in. Not one of `io`: those close themselves when nobody needs them."""

    closed = False

    def __init__(self, actor: Any, path: str, size: int) -> None:
        self._actor, self._path, self._size = actor, path, size
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        end = self._at + (left if size < 0 else min(size, left))
        calls = (
            partial(self._actor.read.remote, self._path, at, min(PIECE_BYTES, end - at))
            for at in range(self._at, end, PIECE_BYTES)
        )
        data = b"".join(_in_turn(calls))
        if len(data) != end - self._at:
            raise OSError(errno.EIO, f"expected {end - self._at} bytes, found {len(data)}: it was cut", self._path)
        self._at = end
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = start + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self.closed = True


class _Writer:
    """A file that appears when it is closed. Not one of `io`: given up, those would close themselves all the same.

    What is written is on the disk when `write` returns: `pyarrow.fs.copy_files` does not tell what closing raises.
    """

    closed = False

    def __init__(self, actor: Any, path: str) -> None:
        folder, name = posixpath.split(path)
        self._actor, self._path = actor, path
        self._temporary = f"{folder}/{TEMPORARY}{uuid.uuid4().hex[:12]}-{name}"
        self._sent, self._failed = 0, False
        _answer(actor.begin.remote(self._temporary, path))

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._send(bytes(view[at : at + PIECE_BYTES]) for at in range(0, len(view), PIECE_BYTES))
        return len(view)

    def _send(self, pieces: Iterable[bytes]) -> None:
        """Raises OSError: then nothing is left of the file, and closing it does not publish it."""
        try:
            for _ in _in_turn(self._calls(pieces)):
                pass
        except OSError:
            self._failed = True
            _answer(self._actor.discard.remote(self._temporary))
            raise

    def _calls(self, pieces: Iterable[bytes]) -> Iterator[Callable[[], Any]]:
        for piece in pieces:
            yield partial(self._actor.write.remote, self._temporary, self._sent, piece)
            self._sent += len(piece)

    def flush(self) -> None:
        """Nobody sees it before it is closed."""

    def tell(self) -> int:
        return self._sent

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if not self._failed:
            _answer(self._actor.publish.remote(self._temporary, self._path, self._sent))
