"""One collector per symbol and data folder; what a dead one left open is sealed before a new one starts."""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from midas_ray.capture.journal import OPEN_SUFFIX, damaged_of, seal
from midas_ray.capture.journal_tail import TAIL_SUFFIX
from midas_ray.errors import StorageError, UsageError

LOCK_NAME = ".collector.lock"


@contextlib.contextmanager
def claim_symbol(root: Path, venue: str, symbol: str) -> Iterator[list[Path]]:
    """Inside the block this process is the symbol's only collector under `root`; gives the files sealed on entry.

    The lock is the operating system's and ends with the process, however that ends. Raises UsageError where another
    collector holds it, StorageError where the folder cannot be written.
    """
    folder = root / "raw" / f"venue={venue}" / f"symbol={symbol}"
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = path.open("a+")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}; check --data-dir and its permissions") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise _held(root, symbol, lock.read()) from None
        try:
            lock.seek(0)
            lock.truncate()
            os.write(lock.fileno(), b"%d\n" % os.getpid())
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; free space or fix permissions") from None
        yield seal_leftovers(folder)


def check_unclaimed(root: Path, venue: str, symbols: Iterable[str]) -> None:
    """Raises UsageError where a collector holds one of `symbols` under `root`. Changes nothing."""
    for symbol in symbols:
        path = root / "raw" / f"venue={venue}" / f"symbol={symbol}" / LOCK_NAME
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                raise _held(root, symbol, lock.read()) from None


def _held(root: Path, symbol: str, process: str) -> UsageError:
    return UsageError(
        f"{symbol}: a collector already writes under {root} (process {process.strip() or 'unknown'}); "
        "stop it (midas down, or Ctrl-C where it runs) or choose another --data-dir"
    )


def seal_leftovers(folder: Path) -> list[Path]:
    """Seal the open files below `folder` whose writer is gone, and remove tails whose file was sealed already; gives
    the final names, and those of files that could not be read to their end. Raises StorageError."""
    sealed: list[Path] = []
    for growing in sorted(folder.glob(f"date=*/*{OPEN_SUFFIX}")):
        if not _is_written(growing):
            path, damaged = seal(growing), damaged_of(growing)
            sealed += [path] if path is not None else []
            sealed += [damaged] if damaged.exists() else []
    for tail in folder.glob(f"date=*/*{OPEN_SUFFIX}{TAIL_SUFFIX}"):
        if not tail.with_name(tail.name.removesuffix(TAIL_SUFFIX)).exists():
            with contextlib.suppress(OSError):  # it does no harm
                tail.unlink()
    return sealed


def _is_written(growing: Path) -> bool:
    """Whether the process named in the file's name still has it open: its id alone may have been given out anew."""
    pid = growing.name.removesuffix(OPEN_SUFFIX).rpartition("-")[2]
    if not pid.isdecimal():
        return False
    open_files = Path("/proc", pid, "fd")
    if Path("/proc/self/fd").is_dir():
        with contextlib.suppress(OSError):  # the process is gone, or another user's, who could not write here
            return any(_target(entry) == str(growing.resolve()) for entry in open_files.iterdir())
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return int(pid) != os.getpid()


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""  # closed in the meantime
