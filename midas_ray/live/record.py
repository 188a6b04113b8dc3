"""The record of what was published: `live_features/`, JSON lines, appended as buckets close and never rewritten.

One file per UTC hour of the bucket's start and length of bucket: `.../date=D/HH-60000ms.jsonl`. JSON lines because a
reader sees a row within milliseconds of its publication (`tail -f`, `jq`), and because a kill can tear nothing but the
last line, which is cut off at the next start and published again.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from midas_ray.errors import DataError, StorageError, UsageError
from midas_ray.live.publication import Publication, from_line, to_line
from midas_ray.storage import Partition, Storage

TABLE = "live_features"
_LOCK = ".live.lock"


def file_suffix(bucket_us: int) -> str:
    """End of the names of the files that hold buckets of this length."""
    return f"-{bucket_us // 1000}ms.jsonl"


def read_lines(data: bytes, name: str) -> list[Publication]:
    """Publications of a file, in order; what is behind its last whole line is left out. Raises DataError."""
    try:
        return [from_line(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
    except (msgspec.DecodeError, KeyError) as error:
        raise DataError(f"{name}: expected lines of live features, found: {error}; move the file away") from None


class AlreadyPublishedError(UsageError):
    """Another process publishes a symbol's live features."""


@contextlib.contextmanager
def claimed(root: Path, venue: str, symbols: Iterable[str]) -> Iterator[None]:
    """Inside the block this process alone publishes these symbols under `root`. Raises UsageError, StorageError."""
    with contextlib.ExitStack() as stack:
        for symbol in symbols:
            path = root / TABLE / f"venue={venue}" / f"symbol={symbol}" / _LOCK
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = stack.enter_context(path.open("a"))
            except OSError as error:
                raise StorageError(
                    f"cannot write {path}: {error.strerror}; check --data-dir and its permissions"
                ) from None
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyPublishedError(
                    f"{symbol}: another midas features --live already publishes it under {root}; stop that one, or "
                    "choose other --symbols"
                ) from None
        yield


class Record:
    """What was published of one symbol: knows the last version of each bucket that starts at `from_us` (a whole hour)
    or later, appends new ones."""

    def __init__(self, storage: Storage, venue: str, symbol: str, bucket_us: int, from_us: int) -> None:
        self._storage, self._venue, self._symbol, self._bucket_us = storage, venue, symbol, bucket_us
        self._last: dict[int, tuple[int, bytes]] = {}
        self._open: tuple[str, BinaryIO] | None = None
        for path in storage.list_files(f"{TABLE}/venue={venue}/symbol={symbol}", file_suffix(bucket_us)):
            hour_us = _hour_of(path)
            if hour_us is not None and hour_us >= from_us:
                for each in read_lines(_repaired(storage.local_path(path)), path):
                    self._note(each)

    @property
    def first_us(self) -> int | None:
        """The first bucket (its end) that was published since `from_us`; None where none was."""
        return min(self._last, default=None)

    def next_revision(self, publication: Publication) -> int | None:
        """The revision that a row would be; None where the last one published has the same bits."""
        revision, digest = self._last.get(publication.ts_us, (0, b""))
        return None if digest == publication.digest else revision + 1

    def append(self, publications: Iterable[Publication]) -> None:
        """Publish. Raises StorageError."""
        for publication in publications:
            self._note(publication)
            path = self._path(publication.ts_us)
            try:
                line = to_line(publication)
                whole = self._stream(path).write(line) == len(line)
            except OSError as error:
                raise StorageError(f"cannot write {path}: {error.strerror}; free space or fix permissions") from None
            if not whole:  # the next start cuts off what is torn
                raise StorageError(f"cannot write {path}: the disk is full; free space")

    def forget(self, before_us: int) -> None:
        """Buckets that end before are final."""
        for ts_us in [ts_us for ts_us in self._last if ts_us < before_us]:
            del self._last[ts_us]

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _note(self, publication: Publication) -> None:
        self._last[publication.ts_us] = publication.revision, publication.digest

    def _path(self, ts_us: int) -> str:
        start = datetime.fromtimestamp((ts_us - self._bucket_us) // 10**6, UTC)
        folder = Partition(TABLE, self._venue, self._symbol, start.date()).path
        return f"{folder}/{start:%H}{file_suffix(self._bucket_us)}"

    def _stream(self, path: str) -> BinaryIO:
        """The file, unbuffered: a line is one write, which a reader sees whole."""
        if self._open is None or self._open[0] != path:
            self.close()
            local = self._storage.local_path(path)
            local.parent.mkdir(parents=True, exist_ok=True)
            self._open = path, local.open("ab", buffering=0)
        assert self._open is not None
        return self._open[1]


def _hour_of(path: str) -> int | None:
    """Start of the hour of a file, microseconds; None for a name that is not ours."""
    folder, _, name = path.rpartition("/")
    day, hour = folder.rpartition("date=")[2], name.partition("-")[0]
    if not (len(hour) == 2 and hour.isdecimal()):
        return None
    return int(datetime.fromisoformat(f"{day}T{hour}:00:00+00:00").timestamp()) * 10**6


def _repaired(path: Path) -> bytes:
    """Content of a file, its torn last line cut off on disk too."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    return data[:whole]
