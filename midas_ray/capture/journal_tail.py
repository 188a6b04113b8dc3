"""The tail of a growing journal file: lines that a flush has not written yet, where the end of the process leaves them.

It lies beside the growing file as `<name>.jsonl.zst.open.tail` and is a series of records: a header (where the text
begins in the growing file's uncompressed content, its bytes, its XXH64) and the text as it is. After a flush the next
record goes to the file's beginning again; nothing is truncated, for a reader sees by header and checksum where what is
torn or older begins. Never synced: it outlives the process, not the machine.
"""

import contextlib
import os
import struct
from pathlib import Path

import xxhash

TAIL_SUFFIX = ".tail"

_HEADER = struct.Struct("<QIQ")


def tail_of(growing: Path) -> Path:
    """The tail of a growing file."""
    return growing.with_name(growing.name + TAIL_SUFFIX)


class Tail:
    """Writes the tail of one growing file, made with its first record. Nothing raises: the lines are in memory too.

    ready: whether `append` makes sense; False after a failure, until `restart`.
    """

    def __init__(self, growing: Path) -> None:
        self.ready = True
        self._path = tail_of(growing)
        self._fd: int | None = None
        self._end = 0

    def append(self, start: int, text: bytes) -> None:
        """Add `text`, which begins at byte `start` of the growing file's content and goes on from the record before."""
        record = _HEADER.pack(start, len(text), _digest(start, text)) + text
        try:
            if self._fd is None:
                self._fd, self._end = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 0
            written = os.pwrite(self._fd, record, self._end)
        except OSError:
            written = 0
        self._end += written
        if written < len(record):
            self.ready = False
            self.release()  # what is there already stays of use

    def restart(self) -> None:
        """All that was appended is in the growing file: the next record takes its place."""
        self.ready, self._end = True, 0

    def release(self) -> None:
        """Close the file, which stays; the next record would make it anew."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)

    def remove(self) -> None:
        """Close the file and remove it. Call it once the growing file is no more: a tail alone counts nothing."""
        self.release()
        with contextlib.suppress(OSError):  # the next claim of the symbol removes what stays
            self._path.unlink(missing_ok=True)


def read_tail(growing: Path) -> tuple[int, bytes]:
    """Where the tail's text begins in the growing file's content, and the text up to the first record that is torn,
    older, or not there; empty where there is no tail. Raises OSError."""
    try:
        data = tail_of(growing).read_bytes()
    except FileNotFoundError:
        return 0, b""
    begin, texts, end, at = 0, list[bytes](), 0, 0
    while len(data) - at >= _HEADER.size:
        start, size, digest = _HEADER.unpack_from(data, at)
        text = data[at + _HEADER.size : at + _HEADER.size + size]
        if len(text) < size or _digest(start, text) != digest or (texts and start != end):
            break
        if not texts:
            begin = start
        texts.append(text)
        end, at = start + size, at + _HEADER.size + size
    return begin, b"".join(texts)


def _digest(start: int, text: bytes) -> int:
    return xxhash.xxh64_intdigest(text, seed=start)
