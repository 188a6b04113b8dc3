"""Hour files of an import: written under temporary names, read back where need be, published all together."""

import contextlib
from types import TracebackType

import polars as pl

from midas_ray.storage import Storage
from midas_ray.tables import ORIGIN, SCHEMA_VERSION


class StagedHours:
    """Files to be written and deleted; nothing happens to DATA_DIR before `publish`. Use as a context manager."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self._staged: dict[str, str] = {}
        self._doomed: set[str] = set()
        self._notes: dict[str, bytes] = {}

    def __enter__(self) -> "StagedHours":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for temporary in self._staged.values():
            with contextlib.suppress(OSError):
                self.storage.delete(temporary)

    def add(self, path: str, temporary: str) -> None:
        """`temporary` is to become `path`."""
        before = self._staged.pop(path, None)
        if before is not None:
            self.storage.delete(before)
        self._doomed.discard(path)
        self._staged[path] = temporary

    def write(self, path: str, frame: pl.DataFrame, metadata: dict[str, str]) -> None:
        """Stage a clean table."""
        common = {"schema_version": str(SCHEMA_VERSION)}
        self.add(path, self.storage.stage_parquet(path, frame.to_arrow(), common | metadata))

    def delete(self, path: str) -> None:
        """The file is to go, staged or there."""
        temporary = self._staged.pop(path, None)
        if temporary is not None:
            self.storage.delete(temporary)
        self._doomed.add(path)

    def note(self, path: str, data: bytes) -> None:
        """A note to be written after all else."""
        self._notes[path] = data

    def exists(self, path: str) -> bool:
        """Whether there will be such a file."""
        return path in self._staged or (path not in self._doomed and self.storage.exists(path))

    def read(self, path: str) -> tuple[pl.DataFrame, dict[str, str]]:
        """(rows, metadata) as they will be."""
        table = self.storage.read_parquet(self._staged.get(path, path))
        return pl.DataFrame(pl.from_arrow(table)), self.metadata(path)

    def list_files(self, prefix: str) -> list[str]:
        """Paths of the Parquet files that there will be under `prefix`."""
        there = {path for path in self.storage.list_files(prefix, ".parquet") if path not in self._doomed}
        return sorted(there | {path for path in self._staged if path.startswith(f"{prefix}/")})

    def metadata(self, path: str) -> dict[str, str]:
        """Metadata of a file as it will be."""
        return self.storage.read_parquet_metadata(self._staged.get(path, path))

    def origin(self, path: str) -> str | None:
        """The archive's file that a file there was made of; None where something else made it."""
        return self.metadata(path).get(ORIGIN)

    def publish(self) -> int:
        """Give all files their names; gives how many clean files were written."""
        written = len(self._staged)
        for path, temporary in list(self._staged.items()):
            self.storage.publish(temporary, path)
            del self._staged[path]
        for path in sorted(self._doomed):
            if self.storage.exists(path):
                self.storage.delete(path)
        for path, data in self._notes.items():
            self.storage.write_bytes(path, data)
        return written
