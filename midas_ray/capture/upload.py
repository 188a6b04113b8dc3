"""Sealed journals on their way from the spool to an object store: in the background, one by one, until each is there.

A collector writes to its spool as to any local folder and knows nothing of this. A file leaves the spool only once the
store shows it in its full size. One process of a spool uploads at a time; the others wait to take over.
"""

import contextlib
import fcntl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from midas_ray import console
from midas_ray.capture.backoff import full_jitter_s
from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.journal import OPEN_SUFFIX, SUFFIX
from midas_ray.errors import StorageError, UsageError
from midas_ray.storage import STREAM_BYTES, Storage

ROUND_S = 5.0
"""How often the spool is looked at."""
MOST_PAUSE_S = 300.0
"""The longest pause between two tries while the store takes nothing."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a spool holds that the store does not: sealed files and their bytes, files that a collector has open."""

    files: int
    n_bytes: int
    growing: int

    def __str__(self) -> str:
        text = f"{self.files} sealed raw files ({console.size_text(self.n_bytes)}) not uploaded yet"
        return f"{text}, {self.growing} growing" if self.growing else text


def sealed_files(spool: Path) -> list[Path]:
    """The files that are to be uploaded, the oldest first."""
    found = (path for path in (spool / "raw").glob(f"venue=*/symbol=*/date=*/*{SUFFIX}"))
    return sorted((path for path in found if not path.name.startswith(".tmp-")), key=lambda path: path.name)


def waiting(spool: Path) -> Waiting:
    """What is not in the store yet. Changes nothing."""
    sizes = []
    for path in sealed_files(spool):
        with contextlib.suppress(FileNotFoundError):  # uploaded in the meantime
            sizes.append(path.stat().st_size)
    growing = sum(1 for _ in (spool / "raw").glob(f"venue=*/symbol=*/date=*/*{OPEN_SUFFIX}"))
    return Waiting(len(sizes), sum(sizes), growing)


def seal_abandoned(spool: Path) -> None:
    """Seal what dead collectors left open, of symbols that nobody collects now. Raises StorageError."""
    for folder in sorted((spool / "raw").glob("venue=*/symbol=*")):
        if any(folder.glob(f"date=*/*{OPEN_SUFFIX}")):
            venue, symbol = (part.partition("=")[2] for part in folder.parts[-2:])
            with contextlib.suppress(UsageError), claim_symbol(spool, venue, symbol):
                pass  # one that is collected seals its own


@contextlib.contextmanager
def _turn(spool: Path) -> Iterator[bool]:
    """Whether this process is the one that uploads, inside the block."""
    path = spool / ".midas" / "upload.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def upload_all(spool: Path, storage: Storage, go_on: Callable[[], bool] = lambda: True) -> int:
    """Upload what is sealed, the oldest first, until `go_on` says no; gives how many files.

    Raises StorageError where the store fails, the file and those after it staying in the spool; in the end where it has
    another file of the same name.
    """
    done, clashes = 0, list[str]()
    try:
        with _turn(spool) as ours:
            for path in sealed_files(spool) if ours else ():
                if not go_on():
                    break
                clash = _upload(path, path.relative_to(spool).as_posix(), storage)
                done += clash is None
                clashes += [] if clash is None else [clash]
    except OSError as error:
        raise StorageError(f"cannot read {spool}: {error.strerror or error}; check the disk and permissions") from None
    if clashes:
        raise StorageError("; ".join(clashes))
    return done


def _upload(path: Path, relative: str, storage: Storage) -> str | None:
    """Move one file into the store; gives why that must not be done, where the store has another one of its name."""
    there = storage.find([relative]).get(relative)
    if there is None:
        storage.adopt(path, relative)
    elif there.size == path.stat().st_size and _is_same(path, relative, storage):
        path.unlink()  # the process had ended between the two steps
    else:
        return (
            f"{storage.shown_path(relative)}: expected no such file, found another one of {there.size} bytes; "
            f"move it away, or {path}"
        )
    day = path.parent
    if day.name.partition("=")[2] < (datetime.now(UTC) - timedelta(days=1)).date().isoformat():
        with contextlib.suppress(OSError):  # not empty
            day.rmdir()
    return None


def _is_same(path: Path, relative: str, storage: Storage) -> bool:
    with path.open("rb") as here, storage.open_stream(relative) as there:
        while piece := here.read(STREAM_BYTES):
            if there.read(len(piece)) != piece:
                return False
    return True


class Uploader:
    """Uploads in a thread of its own between `start` and `stop`, for ever trying again what fails.

    failure: why nothing can be uploaded now; None while all is well.
    """

    def __init__(self, spool: Path, storage: Storage, log: structlog.stdlib.BoundLogger) -> None:
        self.failure: str | None = None
        self._spool, self._storage, self._log = spool, storage, log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)

    def start(self) -> None:
        """Begin. What an earlier process left is uploaded first."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no other file; the one under way goes on to its end, or is given up with the process."""
        self._stopping.set()

    def join(self, timeout_s: float | None = None) -> None:
        """Wait for the file under way, after `stop`."""
        self._thread.join(timeout_s)

    def finish(self, timeout_s: float) -> None:
        """Stop, then upload for at most about `timeout_s` what is sealed by now, if the store takes anything. Raises
        StorageError."""
        last_s = time.monotonic() + timeout_s
        self.stop()
        self.join(timeout_s)
        if self._thread.is_alive() or self.failure is not None:
            return
        upload_all(self._spool, self._storage, lambda: time.monotonic() < last_s)

    def _run(self) -> None:
        attempt, pause_s = 0, 0.0
        while not self._stopping.wait(pause_s):
            try:
                done = upload_all(self._spool, self._storage, lambda: not self._stopping.is_set())
            except StorageError as error:
                if self.failure != str(error):
                    self._log.error("cannot upload", error=str(error))
                self.failure = str(error)
                pause_s = ROUND_S + full_jitter_s(attempt, most_s=MOST_PAUSE_S)
                attempt += 1
            else:
                if done or self.failure is not None:
                    self._log.info("uploaded", files=done)
                self.failure, attempt, pause_s = None, 0, ROUND_S


def start_uploader(spool: Path, storage: Storage, log: structlog.stdlib.BoundLogger) -> Uploader | None:
    """The uploader of a collector, at work; None where the data folder is a local one."""
    if storage.is_local:
        return None
    uploader = Uploader(spool, storage, log)
    uploader.start()
    return uploader


def upload_rest(spool: Path, storage: Storage, go_on: Callable[[], bool] = lambda: True) -> int:
    """At the end of collecting: seal what nobody writes any more, upload all that is sealed until `go_on` says no, and
    say what came of it; gives 1 where something stays in the spool, which the next start uploads."""
    if storage.is_local:
        return 0
    before = 0
    try:
        seal_abandoned(spool)
        before = len(sealed_files(spool))
        upload_all(spool, storage, go_on)
    except StorageError as error:
        console.err.print(str(error), markup=False)
    left = waiting(spool)
    if before > left.files:
        console.out.print(f"uploaded the last {before - left.files} raw files to {storage.shown}", markup=False)
    if left.files:
        console.err.print(f"{left}: kept in {spool}; midas down, up or collect tries again", markup=False)
    return 1 if left.files else 0
