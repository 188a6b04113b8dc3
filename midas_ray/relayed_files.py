"""Files below one folder of the driver's machine, for nodes that share no disk with it: the actor that has them there.

`relayed_fs` is the file system that other nodes see. Every call may come twice, as Ray repeats those that were under
way when the actor died: so pieces are written at their places, and a published file may be published again.
"""

import errno
import functools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
TEMPORARY = ".tmp-"
"""What a file's name begins with until all of it has come: no listing shows it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An OSError, to be raised on the node that asked."""

    number: int
    """Of `errno`."""
    reason: str
    path: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What is under a path."""

    path: str
    is_folder: bool
    size: int
    """Bytes; 0 for a folder."""
    mtime_ns: int


def _answered(
    method: Callable[Concatenate["RelayedFiles", P], T],
) -> Callable[Concatenate["RelayedFiles", P], T | Refusal]:
    """An OSError is an answer: raised, it would come without its number, and Ray would print its traceback."""

    @functools.wraps(method)
    def answer(self: "RelayedFiles", /, *args: P.args, **kwargs: P.kwargs) -> T | Refusal:
        try:
            return method(self, *args, **kwargs)
        except OSError as error:
            path = error.filename if isinstance(error.filename, str) else ""
            return Refusal(error.errno or errno.EIO, error.strerror or str(error), path)

    return answer


class RelayedFiles:
    """Reads and writes below `root` on the node it runs on. Paths are whole; one that leads elsewhere is refused."""

    def __init__(self, root: str) -> None:
        self._root = Path(root).resolve()

    def _below(self, path: str) -> Path:
        """Raises PermissionError for a path outside the root, also by way of a link."""
        asked = Path(path)
        found = asked.parent.resolve() / asked.name
        if not asked.is_absolute() or asked.name == ".." or not found.resolve().is_relative_to(self._root):
            raise PermissionError(errno.EACCES, f"outside {self._root}", path)
        return found

    @_answered
    def infos(self, paths: list[str]) -> list[Entry | None]:
        """What is under each path; None where nothing is."""
        return [_entry(self._below(path), path) for path in paths]

    @_answered
    def listing(self, folder: str, recursive: bool) -> list[Entry]:
        """What a folder holds, but for files that are still coming. Raises FileNotFoundError."""
        found = []
        for at in sorted(self._below(folder).iterdir()):
            path = f"{folder.rstrip('/')}/{at.name}"
            entry = None if at.name.startswith(TEMPORARY) else _entry(at, path)
            if entry is None:
                continue
            found.append(entry)
            if entry.is_folder and recursive:
                below = self.listing(path, True)
                found += [] if isinstance(below, Refusal) else below  # it is gone meanwhile
        return found

    @_answered
    def make_folder(self, path: str, recursive: bool) -> None:
        self._below(path).mkdir(parents=recursive, exist_ok=True)

    @_answered
    def delete_folder(self, path: str, itself: bool) -> None:
        """Delete what a folder holds, and the folder where `itself`."""
        folder = self._below(path)
        if itself:
            shutil.rmtree(folder)
            return
        for each in folder.iterdir():
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()

    @_answered
    def delete_file(self, path: str) -> None:
        self._below(path).unlink()

    @_answered
    def move(self, source: str, target: str) -> None:
        self._below(source).replace(self._below(target))

    @_answered
    def copy(self, source: str, target: str) -> None:
        shutil.copyfile(self._below(source), self._below(target))

    @_answered
    def read(self, path: str, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on."""
        with self._below(path).open("rb") as file:
            return os.pread(file.fileno(), size, offset)

    @_answered
    def begin(self, temporary: str, path: str) -> None:
        """An empty file that will get this name."""
        if self._below(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        self._below(temporary).touch()

    @_answered
    def write(self, temporary: str, offset: int, piece: bytes) -> None:
        """Put a piece at its place in a file that is still coming."""
        file = os.open(self._below(temporary), os.O_CREAT | os.O_WRONLY, 0o644)
        try:
            left = memoryview(piece)
            while left:
                written = os.pwrite(file, left, offset)
                left, offset = left[written:], offset + written
        finally:
            os.close(file)

    @_answered
    def publish(self, temporary: str, path: str, size: int) -> None:
        """Give a file of which all `size` bytes have come its name."""
        source, target = self._below(temporary), self._below(path)
        if not source.exists() and target.exists() and target.stat().st_size == size:
            return  # this very call, again
        found = source.stat().st_size
        if found != size:
            raise OSError(errno.EIO, f"expected {size} bytes, found {found}", path)
        source.replace(target)

    @_answered
    def discard(self, temporary: str) -> None:
        """Forget a file that is given up."""
        self._below(temporary).unlink(missing_ok=True)


def _entry(at: Path, path: str) -> Entry | None:
    try:
        stat = at.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    is_folder = at.is_dir()
    return Entry(path, is_folder, 0 if is_folder else stat.st_size, stat.st_mtime_ns)


def start(root: str) -> Any:
    """The actor, on this driver's node; it ends with the driver."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_concurrency": 4, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(**options, scheduling_strategy=here)(RelayedFiles).remote(root)
