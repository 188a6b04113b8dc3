"""Following a symbol's raw journals while a collector writes them: whole lines, in order, each once.

What is flushed stands in the growing file, what came since in the tail beside it; both are cut from the same text, so
that the position in the text says what is new. A file that is sealed (by its collector, or by the next one after a
kill) is read to its end before the next one is begun. Nothing is locked and nothing is written.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import zstandard

from midas_ray.capture.journal import OPEN_SUFFIX, SUFFIX, read_blocks
from midas_ray.capture.journal_tail import read_tail, tail_of
from midas_ray.errors import CorruptFileError

BLOCK_BYTES = 2 * 2**20
_READ_BYTES = 2**20
_DAY = "date="
_STAMP_STEP_NS = 50_000_000
"""More than the step of a file's modification time."""


class JournalRewrittenError(Exception):
    """The journal holds no longer what was read of it: a damaged file was sealed without its end. Begin anew."""


class JournalFollower:
    """The journals of one symbol from a file on.

    folder: raw/venue=V/symbol=S. first: name of the file to begin with; None: the first there is.
    """

    def __init__(self, folder: Path, first: str | None = None) -> None:
        self._folder = folder
        self._first = first
        self._done: Path | None = None
        self._file: _Growing | None = None

    @property
    def path(self) -> Path | None:
        """The file that is being followed; None while there is none."""
        return None if self._file is None else self._file.path

    def poll(self) -> Iterator[bytes]:
        """Blocks of whole lines that have come since; ends once there are no more for now.

        Raises JournalRewrittenError, CorruptFileError.
        """
        while True:
            if self._file is None:
                following = self._next()
                if following is None:
                    return
                if following.name.endswith(SUFFIX):
                    yield from _sealed_blocks(following)
                    self._done = following
                    continue
                self._file = _Growing(following)
            yield from self._file.poll()
            if not self._file.sealed:
                return
            self._done = _final(self._file.path)
            self._file = None

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _next(self) -> Path | None:
        """The first file behind the one that is done."""
        try:
            days = sorted(entry.name for entry in os.scandir(self._folder) if entry.name.startswith(_DAY))
        except FileNotFoundError:
            return None
        after = None if self._done is None else _key(self._done)
        begin = None if self._first is None else _key(Path(self._first))
        for day in days:
            if self._done is not None and day < self._done.parent.name:
                continue
            paths = [path for path in (self._folder / day).iterdir() if path.name.endswith((SUFFIX, OPEN_SUFFIX))]
            paths = [path for path in paths if path.name.partition("-")[0].isdecimal()]
            for path in sorted(paths, key=_key):
                if (after is None or _key(path) > after) and (begin is None or _key(path) >= begin):
                    return path
        return None


def _final(path: Path) -> Path:
    """The name of a file once it is sealed."""
    return path.with_name(path.name.removesuffix(".open"))


def _key(path: Path) -> tuple[int, str]:
    """Files are in order of their first line, as for reconstruction."""
    name = path.name.removesuffix(".open")
    return int(name.partition("-")[0]), name


def _sealed_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from read_blocks(stream, str(path), BLOCK_BYTES)


class _Growing:
    """One growing file and its tail. sealed: it was, and all of it has been read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sealed = False
        self._fd: int | None = None
        self._taken = 0
        self._rest = b""
        self._tail_seen: tuple[int, int] | None = None
        self._begin()

    def _begin(self) -> None:
        """Read the file from its start; what was taken of it is passed over."""
        self.close()
        try:
            self._fd = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            self._fd = None  # sealed in this moment
        self._content = 0
        self._read = 0
        self._decompressor = zstandard.ZstdDecompressor().decompressobj(read_across_frames=True)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def poll(self) -> Iterator[bytes]:
        """Blocks of whole lines that have come since."""
        gone = not self.path.exists()  # before reading: what is there now is then all there ever will be
        yield from self._flushed()
        if not gone:
            yield from self._spilled()
            return
        if self._fd is None or not self._is_final():
            yield from self._rewritten()
        self.close()
        self.sealed = True

    def _flushed(self) -> Iterator[bytes]:
        """What is new in the growing file."""
        if self._fd is None:
            return
        if os.fstat(self._fd).st_size < self._read:  # a failed write was taken back
            self._begin()
        try:
            yield from self._decompressed()
        except zstandard.ZstdError:
            self._begin()  # bytes of a failed write were read before they were taken back
            try:
                yield from self._decompressed()
            except zstandard.ZstdError as error:
                raise CorruptFileError(
                    f"{self.path}: damaged Zstandard data ({error}); restart its collector: it seals what can be read"
                ) from None

    def _decompressed(self) -> Iterator[bytes]:
        while self._fd is not None and (chunk := os.read(self._fd, _READ_BYTES)):
            self._read += len(chunk)
            data = self._decompressor.decompress(chunk)
            self._content += len(data)
            fresh = self._content - self._taken
            if fresh > 0:
                self._taken = self._content
                yield from self._lines(data[-fresh:])

    def _spilled(self) -> Iterator[bytes]:
        """What is new in the tail, where it goes on from what was read."""
        try:
            changed_ns = tail_of(self.path).stat().st_mtime_ns
        except FileNotFoundError:
            return
        if (changed_ns, self._taken) == self._tail_seen:
            return
        settled = time.time_ns() - changed_ns > _STAMP_STEP_NS  # else another record may come under the same stamp
        start, text = read_tail(self.path)
        if start <= self._taken < start + len(text):
            fresh = text[self._taken - start :]
            self._taken = start + len(text)
            yield from self._lines(fresh)
        self._tail_seen = (changed_ns, self._taken) if settled else None

    def _is_final(self) -> bool:
        """Whether the sealed file is the very one that was read, under its final name."""
        try:
            return self._fd is not None and os.path.samestat(_final(self.path).stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _rewritten(self) -> Iterator[bytes]:
        """The rest of a file that the next collector has sealed, its tail included."""
        final, passed = _final(self.path), 0
        if final.exists():
            for block in _sealed_blocks(final):
                begin, passed = passed, passed + len(block)
                if passed > self._taken:
                    fresh = block[max(self._taken - begin, 0) :]
                    self._taken = passed
                    yield from self._lines(fresh)
        if passed < self._taken - len(self._rest):
            raise JournalRewrittenError(f"{final}: holds {passed} bytes of lines, {self._taken} were read before")

    def _lines(self, data: bytes) -> Iterator[bytes]:
        data = self._rest + data
        cut = data.rfind(b"\n") + 1
        self._rest = data[cut:]
        if cut:
            yield data[:cut]
