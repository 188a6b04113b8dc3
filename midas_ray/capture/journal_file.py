"""A growing journal file, which a full or failing disk does not stop: what cannot be written is kept until it can.

While it grows it is named `<name>.jsonl.zst.open`; `close()` seals it under its final name. What was flushed, or
spilled to the tail beside it, is kept whatever happens to the process.
"""

import contextlib
import errno
import os
from collections import deque
from pathlib import Path

import xxhash
import zstandard

from midas_ray.capture.journal import SUFFIX, journal_folder
from midas_ray.capture.journal_tail import Tail
from midas_ray.errors import StorageError

FRAME_MAX_BYTES = 2**20
FRAME_MAX_NS = 600 * 10**9

BUFFER_BYTES = 2**17
"""Lines that may wait for `flush` before `write` hands them on by itself: a Zstandard block."""

PACK_BYTES = 2**20
"""Lines that wait as they are after a failure; as many are then packed."""

LINE_OVERHEAD_BYTES = 48
"""What a waiting line takes in memory beside its text."""

_EMPTY_LAST_BLOCK = b"\x01\x00\x00"


class JournalFile:
    """One growing file of a symbol's journal.

    Lines wait in memory for `flush`, which compresses them, writes them and notes the size up to which the file is
    good; `spill` has them outlive the process in the meantime.

    hold: what to do where the file cannot be created or written. False: StorageError is raised. True: `failure` says
    why, every line since the last good flush stays in memory (`held_bytes`), later ones join them, and `recover` writes
    them once that is possible. `close` raises StorageError either way. Not thread-safe: one writer at a time.
    """

    def __init__(
        self, root: Path, venue: str, symbol: str, first_recv_ns: int, *, level: int = 3, hold: bool = False
    ) -> None:
        self.failure: str | None = None
        self._hold = hold
        self._folder = root / journal_folder(venue, symbol, first_recv_ns)
        self._first_recv_ns = first_recv_ns
        self._final = self._folder / f"{first_recv_ns}-{os.getpid()}{SUFFIX}"
        self._fd: int | None = None
        self._zstd = zstandard.ZstdCompressor(level=level, write_checksum=True)
        self._lines: list[bytes] = []
        self._line_bytes = 0
        self._packed: deque[tuple[bytes, int, int]] = deque()
        self._packed_bytes = 0
        self._good_bytes = 0
        self._content_bytes = 0
        self._tail: Tail | None = None
        self._spilled = 0
        self._spilled_bytes = 0
        self._frame: zstandard.ZstdCompressionObj | None = None
        self._content: xxhash.xxh64 | None = None
        self._frame_start_ns = first_recv_ns
        self._frame_start_byte = 0
        try:
            self._create()
        except OSError as error:
            self._failed("create", error)

    @property
    def path(self) -> Path:
        """Where the file lies while it grows."""
        return self._final.with_name(self._final.name + ".open")

    @property
    def bytes_written(self) -> int:
        """Compressed bytes on disk, up to the last good flush."""
        return self._good_bytes

    @property
    def held_bytes(self) -> int:
        """Memory taken by what is not on disk yet."""
        return self._packed_bytes + self._line_bytes + LINE_OVERHEAD_BYTES * len(self._lines)

    @property
    def held_lines(self) -> int:
        """Lines that are not on disk yet."""
        return sum(lines for _, lines, _ in self._packed) + sum(data.count(b"\n") for data in self._lines)

    def write(self, data: bytes, recv_ns: int) -> None:
        """Append whole lines; `recv_ns` decides when a new Zstandard frame begins."""
        if recv_ns - self._frame_start_ns >= FRAME_MAX_NS:
            self._frame_start_ns = recv_ns
            self._flush(end_frame=True)
        self._lines.append(data)
        self._line_bytes += len(data)
        if self._line_bytes < BUFFER_BYTES:
            return
        if self.failure is None or not self._hold:
            self._flush(end_frame=False)
        elif self._line_bytes >= PACK_BYTES:
            self._pack()

    def flush(self) -> None:
        """Everything written so far becomes readable on disk."""
        self._flush(end_frame=False)

    def spill(self) -> None:
        """Everything written so far outlives this process, if not the machine: what came since the last spill goes to
        the tail, as it is.

        Never raises. Where it cannot be done, or a failure has come before, the lines wait for `flush` as ever.
        """
        tail = self._tail
        if self.failure is not None or tail is None or not tail.ready or self._spilled == len(self._lines):
            return
        text = b"".join(self._lines[self._spilled :])
        tail.append(self._content_bytes + self._spilled_bytes, text)
        self._spilled = len(self._lines)
        self._spilled_bytes += len(text)

    def recover(self) -> bool:
        """Try to write what is held after a failure; False where that still fails, and nothing is lost.

        The Zstandard frame that the failure cut off is ended by hand, so that the file stays a series of whole frames.
        """
        if self.failure is None:
            return True
        try:
            self._reach()
            self._end_cut_frame()
            while self._packed:
                packed, _, content_bytes = self._packed[0]
                self._append(packed, content_bytes)
                self._packed_bytes -= len(packed)
                self._packed.popleft()
            self._put_out(end_frame=False)
        except OSError as error:
            self._note_failure("write", error)
            return False
        self.failure = None
        if self._tail is not None:
            self._tail.release()  # the mount may have been renewed
            self._tail.restart()
        return True

    def close(self) -> Path:
        """Seal the file under its final name, which is returned. Raises StorageError; may be called again then."""
        if self.failure is not None or self._fd is None:
            raise StorageError(f"{self.failure}; free space or fix permissions")
        try:
            self._put_out(end_frame=True)
            os.fsync(self._fd)
            self.path.rename(self._final)
        except OSError as error:
            raise StorageError(f"{self._note_failure('seal', error)}; free space or fix permissions") from None
        self._release()
        if self._tail is not None:
            self._tail.remove()
        return self._final

    def abandon(self) -> None:
        """Write no more; what was flushed or spilled stays for the next collector to seal."""
        self._release()
        if self._tail is not None:
            self._tail.release()

    def discard(self) -> None:
        """Give the file up: nothing of it stays."""
        self._release()
        self.path.unlink(missing_ok=True)
        if self._tail is not None:
            self._tail.remove()

    def _create(self) -> None:
        """Make the file, under a later stamp where another has its name: a restart within the same instant, or the same
        process id in another container."""
        self._folder.mkdir(parents=True, exist_ok=True)
        stamp = self._first_recv_ns
        while self._fd is None:
            self._final = self._folder / f"{stamp}-{os.getpid()}{SUFFIX}"
            if not self._final.exists():
                with contextlib.suppress(FileExistsError):
                    self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            stamp += 1
        self._tail = Tail(self.path)

    def _flush(self, *, end_frame: bool) -> None:
        if self.failure is not None:
            if not self._hold:
                raise StorageError(f"{self.failure}; free space or fix permissions")
            return
        try:
            self._put_out(end_frame=end_frame)
        except OSError as error:
            self._failed("write", error)

    def _put_out(self, *, end_frame: bool) -> None:
        """Compress the waiting lines and write them up to a block's boundary, or to the frame's end."""
        data = b"".join(self._lines)
        if self._frame is None:
            if not data and not (end_frame and self._good_bytes == 0):
                return
            self._frame, self._content = self._zstd.compressobj(), xxhash.xxh64()
            self._frame_start_byte = self._good_bytes
        elif not data and not end_frame:
            return
        end_frame = end_frame or self._good_bytes - self._frame_start_byte >= FRAME_MAX_BYTES
        kind = zstandard.COMPRESSOBJ_FLUSH_FINISH if end_frame else zstandard.COMPRESSOBJ_FLUSH_BLOCK
        self._append(self._frame.compress(data) + self._frame.flush(kind), len(data))
        self._forget_lines()
        if self._tail is not None:
            self._tail.restart()
        if end_frame:
            self._frame = self._content = None
        elif self._content is not None:
            self._content.update(data)

    def _append(self, data: bytes, content_bytes: int) -> None:
        """Write all of `data`, so many bytes of lines compressed, behind what is good. Raises OSError, and what is good
        stays as it was."""
        if self._fd is None:
            raise OSError(errno.EBADF, "the file is not open")
        done = 0
        while done < len(data):
            count = os.pwrite(self._fd, memoryview(data)[done:], self._good_bytes + done)
            if count == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            done += count
        self._good_bytes += len(data)
        self._content_bytes += content_bytes

    def _reach(self) -> None:
        """Have the file open, ending where it is good."""
        if self._fd is None:
            self._create()
            return
        try:
            os.ftruncate(self._fd, self._good_bytes)
        except OSError:  # the mount may have been renewed
            fd = os.open(self.path, os.O_WRONLY)
            self._release()
            self._fd = fd
            if os.fstat(fd).st_size < self._good_bytes:
                raise OSError(errno.EIO, "it is shorter than what was written") from None
            os.ftruncate(fd, self._good_bytes)

    def _end_cut_frame(self) -> None:
        """RFC 8878, 3.1.1: an empty last block, then the low 32 bits of the content's XXH64."""
        if self._content is None:
            return
        if self._good_bytes > self._frame_start_byte:
            checksum = self._content.intdigest() & 0xFFFFFFFF
            self._append(_EMPTY_LAST_BLOCK + checksum.to_bytes(4, "little"), 0)
        self._content = None

    def _pack(self) -> None:
        """Compress the waiting lines to a frame of its own: a full disk may last for hours."""
        data = b"".join(self._lines)
        packed = self._zstd.compress(data)
        self._packed.append((packed, data.count(b"\n"), len(data)))
        self._packed_bytes += len(packed)
        self._forget_lines()

    def _forget_lines(self) -> None:
        """The waiting lines are written, or packed."""
        self._lines.clear()
        self._line_bytes = self._spilled = self._spilled_bytes = 0

    def _failed(self, doing: str, error: OSError) -> None:
        failure = self._note_failure(doing, error)
        if not self._hold:
            raise StorageError(f"{failure}; free space or fix permissions") from None

    def _note_failure(self, doing: str, error: OSError) -> str:
        """Remember why; what was half written is taken back where that is possible, so that the file reads well."""
        self.failure = f"cannot {doing} {self.path}: {error.strerror}"
        self._frame = None  # it has swallowed lines that did not reach the disk
        if self._fd is not None:
            with contextlib.suppress(OSError):  # `recover` does it again
                os.ftruncate(self._fd, self._good_bytes)
        return self.failure

    def _release(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):  # what mattered was synced, or given up
                os.close(fd)
