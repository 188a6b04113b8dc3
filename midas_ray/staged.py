"""Tables on their way to an object store: in one local file without a name, which is gone with the process."""

import tempfile
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq


class Staged:
    """Parquet files one after the other, by the name they were given. Not thread-safe."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as this
        self._places: dict[str, tuple[int, int]] = {}

    def add(self, name: str, table: pa.Table) -> None:
        """Raises OSError; the next file takes the place then."""
        start = max((at + size for at, size in self._places.values()), default=0)
        self._file.seek(start)
        write_table(table, self._file)
        self._places[name] = start, self._file.tell() - start

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def read(self, name: str) -> bytes:
        """What was staged, as bytes."""
        start, size = self._places[name]
        self._file.seek(start)
        return self._file.read(size)

    def take(self, name: str) -> tuple[IO[bytes], int]:
        """(the file, at the start of what was staged; its bytes). It is forgotten with that."""
        start, size = self._places.pop(name)
        self._file.seek(start)
        return self._file, size

    def drop(self, name: str) -> None:
        """Forget what was staged, if it has not been taken."""
        self._places.pop(name, None)


def with_metadata(table: pa.Table, metadata: dict[str, str]) -> pa.Table:
    """The table, with more key-value metadata in its schema."""
    if not metadata:
        return table
    added = {key.encode(): value.encode() for key, value in metadata.items()}
    return table.replace_schema_metadata(dict(table.schema.metadata or {}) | added)


def write_table(table: pa.Table, stream: IO[bytes] | pa.NativeFile) -> None:
    """Parquet as MIDAS writes it."""
    pq.write_table(table, stream, compression="zstd", compression_level=1)
