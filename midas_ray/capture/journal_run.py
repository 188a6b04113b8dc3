"""A symbol's journal files, one after the other: what cannot be sealed or made now waits in memory."""

from pathlib import Path

from midas_ray.capture.journal import journal_folder
from midas_ray.capture.journal_file import JournalFile
from midas_ray.errors import StorageError

HOUR_NS = 3600 * 10**9

STEP_BACK_NS = 15 * 60 * 10**9
"""How far the local clock may step back without files changing their order: names then run ahead of it so far."""


class JournalRun:
    """The files of one run of a collector, of which the last one grows.

    A file begins on the UTC hour of receive time or once the one before has reached max_bytes (compressed). Its name is
    later than that of the one before, also of an earlier run's, even where the clock stepped back.

    hold: as in JournalFile; a file that cannot be sealed then waits until `recover` seals it, in turn.
    is_live: a collector's, which comes after every earlier one; what is imported may be older than what is there.
    """

    def __init__(
        self, root: Path, venue: str, symbol: str, *, max_bytes: int, level: int, hold: bool, is_live: bool = False
    ) -> None:
        self.sealed: list[Path] = []
        self._root, self._venue, self._symbol = root, venue, symbol
        self._max_bytes = max_bytes
        self._level = level
        self._hold = hold
        self._is_live = is_live
        self._file: JournalFile | None = None
        self._unsealed: list[JournalFile] = []
        self._hour = -1
        self._stamp_ns = 0

    @property
    def growing(self) -> bool:
        """Whether there is a file to write to."""
        return self._file is not None

    @property
    def path(self) -> Path | None:
        """The growing file."""
        return None if self._file is None else self._file.path

    @property
    def bytes_on_disk(self) -> int:
        """Compressed bytes of the growing file."""
        return 0 if self._file is None else self._file.bytes_written

    @property
    def failure(self) -> str | None:
        """Why something cannot be written now; None while all is well."""
        if self._unsealed:
            return self._unsealed[0].failure
        return None if self._file is None else self._file.failure

    @property
    def held_bytes(self) -> int:
        """Memory taken by lines that are not on disk yet."""
        return sum(file.held_bytes for file in self._files())

    def due(self, recv_ns: int) -> bool:
        """Whether something received at `recv_ns` belongs into a new file."""
        file = self._file
        return file is None or recv_ns // HOUR_NS > self._hour or file.bytes_written >= self._max_bytes

    def begin(self, recv_ns: int) -> None:
        """Seal the growing file, if there is one, and make the next. Raises StorageError unless they may wait."""
        if self._file is not None:
            try:
                self.sealed.append(self._file.close())
            except StorageError:
                if not self._hold:
                    raise
                self._unsealed.append(self._file)
            self._file = None
        before_ns = self._stamp_ns or (self._newest_stamp_ns(recv_ns) if self._is_live else 0)
        self._stamp_ns = max(recv_ns, before_ns + 1)
        self._file = JournalFile(
            self._root, self._venue, self._symbol, self._stamp_ns, level=self._level, hold=self._hold
        )
        self._hour = max(recv_ns // HOUR_NS, self._hour)

    def write(self, line: bytes, recv_ns: int) -> None:
        """Append to the growing file."""
        if self._file is None:
            raise RuntimeError("the journal is closed")
        self._file.write(line, recv_ns)

    def flush(self) -> None:
        """What was written so far becomes readable on disk."""
        if self._file is not None:
            self._file.flush()

    def spill(self) -> None:
        """What was written so far outlives the process. Never raises."""
        if self._file is not None:
            self._file.spill()

    def recover(self) -> bool:
        """Try to write and seal what waits; True where nothing waits (any more)."""
        while self._unsealed:
            if not self._unsealed[0].recover():
                return False
            try:
                self.sealed.append(self._unsealed[0].close())
            except StorageError:
                return False  # `failure` says why, and it is tried again
            del self._unsealed[0]
        return self._file is None or self._file.recover()

    def close(self) -> Path:
        """Seal the growing file, whose path is returned.

        Raises StorageError where that, or sealing an earlier one, is still not possible: what is on disk stays
        readable, what is in memory only is lost.
        """
        files, self._unsealed, self._file = self._files(), [], None
        failures, lost = list[StorageError](), 0
        for file in files:
            try:
                self.sealed.append(file.close())
            except StorageError as error:
                failures.append(error)
                lost += file.held_lines
                file.abandon()
        if failures:
            raise StorageError(f"{failures[0]}; {lost} lines could not be written and are lost")
        return self.sealed[-1]

    def _newest_stamp_ns(self, recv_ns: int) -> int:
        """The latest beginning among the symbol's files of earlier runs that a step back of the clock explains."""
        last_ns = recv_ns + STEP_BACK_NS
        folders = {journal_folder(self._venue, self._symbol, ns) for ns in (recv_ns, last_ns)}
        stamps = [path.name.split("-")[0] for folder in folders for path in (self._root / folder).glob("*.jsonl.zst*")]
        return max((int(stamp) for stamp in stamps if stamp.isdecimal() and int(stamp) <= last_ns), default=0)

    def _files(self) -> list[JournalFile]:
        """Files that are not sealed, in order."""
        return self._unsealed if self._file is None else [*self._unsealed, self._file]
