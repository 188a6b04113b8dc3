"""Where simulated history goes: journal files, compressed in a thread beside the one that simulates."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from midas_ray.capture.journal_file import JournalFile
from midas_ray.storage import Storage

MOST_PENDING = 8
"""Blocks that may wait for the thread, which bounds memory."""


class JournalSink:
    """One symbol's journal files, one after the other, each started by `open`, made in `folder` and moved into the data
    folder once it is sealed.

    What goes wrong in the thread is raised by a later call, by `close` at the latest. Raises StorageError.
    """

    def __init__(self, storage: Storage, folder: Path, venue: str, symbol: str, level: int) -> None:
        self._storage, self._folder = storage, folder
        self._venue, self._symbol, self._level = venue, symbol, level
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._pending: deque[Future[Any]] = deque()
        self._file: JournalFile | None = None
        self._file_json_bytes = 0
        self.json_bytes = 0
        self.file_bytes = 0

    def open(self, first_recv_ns: int) -> None:
        """Seal the file before, if there is one, and begin the next."""
        self._seal()
        self._file = JournalFile(self._folder, self._venue, self._symbol, first_recv_ns, level=self._level)
        self._file_json_bytes = 0

    def put(self, data: bytes, recv_ns: int) -> None:
        """Append whole lines, the last of them received at `recv_ns`."""
        if self._file is None:
            raise RuntimeError("no journal file is open")
        self.json_bytes += len(data)
        self._file_json_bytes += len(data)
        self.submit(self._file.write, data, recv_ns)

    def is_larger(self, most_bytes: int) -> bool:
        """Whether the file has reached this size, compressed. Waits for the thread only where it may have."""
        if self._file is None or self._file_json_bytes < most_bytes:
            return False
        self._wait(0)
        return self._file.bytes_written >= most_bytes

    def submit(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Have the thread do `work`, in turn."""
        self._pending.append(self._pool.submit(work, *arguments))
        self._wait(MOST_PENDING)

    def close(self) -> None:
        """Seal the last file and end the thread."""
        self._seal()
        self._wait(0)
        self._pool.shutdown()

    def abandon(self) -> None:
        """Give up the unfinished file and end the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._file is not None:
            self._file.discard()

    def _seal(self) -> None:
        self._wait(0)
        if self._file is not None:
            path, self._file = self._file.close(), None
            self.file_bytes += path.stat().st_size
            self.submit(self._storage.adopt, path, str(path.relative_to(self._folder)))

    def _wait(self, most: int) -> None:
        while len(self._pending) > most:
            self._pending.popleft().result()
