"""Raw files as a task reads them: damage told and passed over, copies left out, the content's digest on the way."""

import contextlib
import io
from collections.abc import Callable, Generator, Iterator
from typing import Any, BinaryIO, Self, cast

import msgspec
import xxhash

from midas_ray.capture.bookline import BookLine, decode_book_line, decode_file_head
from midas_ray.capture.journal import blocks_and_damage
from midas_ray.capture.journal_run import STEP_BACK_NS
from midas_ray.errors import CorruptFileError, TruncatedFileError
from midas_ray.reconstruct.plan import RawFile
from midas_ray.reconstruct.read_ahead import read_ahead
from midas_ray.reconstruct.replay import first_recv_ns
from midas_ray.storage import Storage

BLOCK_BYTES = 2 * 2**20
"""Text scanned at a time: with its tables it stays in the processor's cache."""

READ_BYTES = 4 * 2**20
"""Compressed bytes fetched at a time: an object store answers each in some 20 ms."""

BLOCKS_AHEAD = 8
"""Blocks decompressed beforehand: those of a Zstandard frame and some more."""

HEAD_BYTES = 64 * 2**10


class _Digesting(io.RawIOBase):
    """A stream that hashes what is read from it for the first time, in order."""

    def __init__(self, stream: io.RawIOBase) -> None:
        self._stream, self._hash, self._hashed = stream, xxhash.xxh3_128(), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        at = self._stream.tell()
        data = self._stream.read(len(buffer)) or b""
        buffer[: len(data)] = data
        if at <= self._hashed < at + len(data):
            self._hash.update(data[self._hashed - at :])
            self._hashed = at + len(data)
        return len(data)

    def hash_rest(self, chunk_bytes: int) -> None:
        """Hash what was not read yet."""
        self._stream.seek(self._hashed)
        while self.read(chunk_bytes):
            pass

    def digest(self, size: int) -> str | None:
        """Of a file of `size` bytes that was read to its end; None where it was not."""
        return self._hash.hexdigest() if self._hashed == size else None


class RawFileReader:
    """One raw file, open inside a `with`.

    damage: why lines of it are missing, None where none are. digest: of its bytes, once it was read to its end.

    on_damage is told between the blocks before and after the damage.
    """

    def __init__(self, storage: Storage, file: RawFile, on_damage: Callable[[], None]) -> None:
        self.file = file
        self.damage: str | None = None
        self.digest: str | None = None
        self._storage, self._on_damage = storage, on_damage
        self._open = contextlib.ExitStack()
        self._ahead: Generator[bytes | CorruptFileError, None, None] | None = None

    def __enter__(self) -> Self:
        stream = self._open.enter_context(self._storage.open_input(self.file.path))
        self._digesting = _Digesting(cast(io.RawIOBase, stream))
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)
        self.digest = self._digesting.digest(self.file.size)

    def blocks(self, block_bytes: int = BLOCK_BYTES, ahead: int = 0) -> Iterator[bytes]:
        """Blocks of whole lines, up to `ahead` of them made beforehand in a thread.

        A growing file may end in the middle of a line or a frame; a sealed one may not.
        """
        buffered = cast(BinaryIO, io.BufferedReader(self._digesting, READ_BYTES))
        everything = blocks_and_damage(buffered, self.file.path, block_bytes)
        if ahead:
            everything = self._ahead = read_ahead(everything, ahead)
            self._open.callback(self._ahead.close)  # its thread reads from the stream
        for found in everything:
            if isinstance(found, CorruptFileError):
                self._damaged(found)
            else:
                yield found

    def hash_rest(self) -> None:
        """Read on to the end of the file for its digest alone; no more blocks then."""
        if self._ahead is not None:
            self._ahead.close()
        self._digesting.hash_rest(READ_BYTES)

    def refuse(self, reason: str) -> None:
        """Leave the whole file out."""
        self.damage = reason
        self._on_damage()

    def _damaged(self, error: CorruptFileError) -> None:
        if isinstance(error, TruncatedFileError) and self.file.growing:
            return
        self.damage = self.damage or str(error)
        self._on_damage()


def content_digest(storage: Storage, path: str) -> str:
    """Digest of a file's bytes, as `RawFileReader.digest`."""
    digest = xxhash.xxh3_128()
    with storage.open_input(path) as stream:
        while data := stream.read(READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def head_fault(file: RawFile, line: bytes) -> str | None:
    """Why a file that begins with `line` cannot be used; None where it can."""
    recv_ns = first_recv_ns(line)
    if abs(recv_ns - file.first_recv_ns) > STEP_BACK_NS:
        return (
            f"{file.path}: expected a name that begins with the recv_ns of its first line, found {recv_ns} there; "
            "rename the file"
        )
    try:
        if b'"kind":"book"' in line[:200]:
            decode_book_line(line)
        elif b'"event":"unsynced"' in line[:200]:
            decode_file_head(line)
    except (msgspec.DecodeError, ValueError) as error:
        return f"{file.path}: damaged head line ({error}); move the file away"
    return None


def file_head(storage: Storage, file: RawFile) -> BookLine | None:
    """The book line that heads a file; None where its book was not live, or the head cannot be read."""
    with RawFileReader(storage, file, lambda: None) as reader:
        block = next(reader.blocks(HEAD_BYTES), b"")
    line = block[: block.find(b"\n")]
    if b'"kind":"book"' not in line[:200] or head_fault(file, line) is not None:
        return None
    return decode_book_line(line)
