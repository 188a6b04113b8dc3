"""Where data lies: one folder or URI, reached through `pyarrow.fs`, with atomic writes and Hive partitions."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from midas_ray.errors import CorruptFileError, StorageError


@dataclass(frozen=True, slots=True)
class Partition:
    """One Hive partition: a symbol's day of a table, such as clean/book of btcusdt on 2026-11-22 (UTC)."""

    table: str
    venue: str
    symbol: str
    date: date

    @property
    def path(self) -> str:
        return f"{self.table}/venue={self.venue}/symbol={self.symbol}/date={self.date.isoformat()}"


class Storage:
    """The data folder. Paths are relative to it, with `/`; every write is atomic.

    Example:
        storage = Storage("data")
        storage.write_parquet("features/venue=v/symbol=s/date=2026-01-05/day.parquet", table)
    """

    def __init__(self, data_dir: str) -> None:
        self.data_dir = data_dir
        if "://" in data_dir:
            try:
                self.fs, self.root = pafs.FileSystem.from_uri(data_dir)
            except (pa.ArrowInvalid, OSError) as error:
                raise StorageError(f"DATA_DIR {data_dir}: not a folder or URI that pyarrow can open: {error}") from None
        else:
            self.fs, self.root = pafs.LocalFileSystem(), str(Path(data_dir).expanduser().resolve())

    @property
    def is_local(self) -> bool:
        return isinstance(self.fs, pafs.LocalFileSystem)

    def local_path(self, relative: str = "") -> Path:
        """The path on this machine. Raises StorageError where the data folder is not local."""
        if not self.is_local:
            raise StorageError(f"DATA_DIR {self.data_dir}: expected a local folder for this command")
        return Path(self.root) / relative

    def _full(self, relative: str) -> str:
        return f"{self.root}/{relative}" if relative else self.root

    def list_files(self, prefix: str, suffix: str = "") -> list[str]:
        """Relative paths of all files under `prefix` that end in `suffix`, sorted; temporary files are left out."""
        selector = pafs.FileSelector(self._full(prefix), recursive=True, allow_not_found=True)
        start = len(self.root) + 1
        return sorted(
            info.path[start:]
            for info in self.fs.get_file_info(selector)
            if info.type == pafs.FileType.File and info.path.endswith(suffix) and "/.tmp-" not in info.path
        )

    def sizes(self, paths: list[str]) -> list[int]:
        """Bytes of each file."""
        return [info.size for info in self.fs.get_file_info([self._full(path) for path in paths])]

    def stamps(self, paths: list[str]) -> list[str]:
        """Size and modification time of each file: another stamp means that it was written anew."""
        infos = self.fs.get_file_info([self._full(path) for path in paths])
        return [f"{info.size}-{info.mtime_ns}" for info in infos]

    def exists(self, relative: str) -> bool:
        return bool(self.fs.get_file_info(self._full(relative)).type != pafs.FileType.NotFound)

    def read_bytes(self, relative: str) -> bytes:
        with self.fs.open_input_file(self._full(relative)) as stream:
            return bytes(stream.read())

    def open_input(self, relative: str) -> pa.NativeFile:
        return self.fs.open_input_file(self._full(relative))

    @contextlib.contextmanager
    def atomic_output(self, relative: str) -> Iterator[pa.NativeFile]:
        """A binary output that appears under `relative` only if the block ends well. Raises StorageError."""
        folder, _, name = relative.rpartition("/")
        temporary = self._full(f"{folder}/.tmp-{uuid.uuid4().hex[:12]}-{name}".lstrip("/"))
        try:
            self.fs.create_dir(self._full(folder), recursive=True)
            with self.fs.open_output_stream(temporary, compression=None) as stream:
                yield stream
            self.fs.move(temporary, self._full(relative))
        except BaseException as error:
            with contextlib.suppress(OSError):
                self.fs.delete_file(temporary)
            if isinstance(error, OSError):
                raise StorageError(
                    f"cannot write {self._full(relative)}: {error}; check the disk and permissions"
                ) from None
            raise

    def write_bytes(self, relative: str, data: bytes) -> None:
        with self.atomic_output(relative) as stream:
            stream.write(data)

    def write_parquet(self, relative: str, table: pa.Table, metadata: dict[str, str] | None = None) -> None:
        """Write `table` atomically (Zstandard); `metadata` is added to the schema's key-value metadata."""
        if metadata is not None:
            merged = dict(table.schema.metadata or {}) | {
                key.encode(): value.encode() for key, value in metadata.items()
            }
            table = table.replace_schema_metadata(merged)
        with self.atomic_output(relative) as stream:
            pq.write_table(table, stream, compression="zstd", compression_level=1)

    def stage_parquet(self, relative: str, table: pa.Table, metadata: dict[str, str]) -> str:
        """Write `table` under a temporary name beside `relative`; gives that name for `publish` or `delete`."""
        folder, _, name = relative.rpartition("/")
        staged = f"{folder}/.tmp-{uuid.uuid4().hex[:12]}-{name}"
        merged = dict(table.schema.metadata or {}) | {key.encode(): value.encode() for key, value in metadata.items()}
        try:
            self.fs.create_dir(self._full(folder), recursive=True)
            with self.fs.open_output_stream(self._full(staged)) as stream:
                pq.write_table(table.replace_schema_metadata(merged), stream, compression="zstd", compression_level=1)
        except OSError as error:
            raise StorageError(
                f"cannot write {self._full(relative)}: {error}; check the disk and permissions"
            ) from None
        return staged

    def publish(self, staged: str, relative: str) -> None:
        """Give a staged file its final name, in the place of an older one."""
        self.fs.move(self._full(staged), self._full(relative))

    def read_parquet(self, relative: str, columns: list[str] | None = None) -> pa.Table:
        """Read one Parquet file. Raises CorruptFileError with one line where it is damaged."""
        try:
            with self.open_input(relative) as stream:
                return pq.ParquetFile(stream).read(columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            raise CorruptFileError(
                f"{self._full(relative)}: not a readable Parquet file ({reason}); delete it, then rerun its stage"
            ) from None

    def read_parquet_metadata(self, relative: str) -> dict[str, str]:
        """Key-value metadata of a Parquet file. Raises CorruptFileError where it is damaged."""
        try:
            with self.open_input(relative) as stream:
                raw: dict[bytes, bytes] = pq.ParquetFile(stream).schema_arrow.metadata or {}
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            raise CorruptFileError(
                f"{self._full(relative)}: not a readable Parquet file ({reason}); delete it, then rerun its stage"
            ) from None
        return {key.decode(): value.decode() for key, value in raw.items() if key != b"ARROW:schema"}

    def delete(self, relative: str) -> None:
        self.fs.delete_file(self._full(relative))

    def check_writable(self) -> None:
        """Raises StorageError with one line where nothing can be written to the data folder."""
        if not self.is_local:
            return
        folder = Path(self.root)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / f".tmp-probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise StorageError(f"DATA_DIR {folder}: expected a writable folder, found: {error.strerror}") from None

    def partitions(self, table: str) -> dict[Partition, list[str]]:
        """The files of `table`, by partition, both in order."""
        found: dict[Partition, list[str]] = {}
        for path in self.list_files(table):
            parts = dict(part.split("=", 1) for part in path.split("/") if "=" in part)
            try:
                key = Partition(table, parts["venue"], parts["symbol"], date.fromisoformat(parts["date"]))
            except (KeyError, ValueError):
                continue  # not laid out by MIDAS
            found.setdefault(key, []).append(path)
        return dict(sorted(found.items(), key=lambda item: item[0].path))

    def other_venues(self, tables: tuple[str, ...], venue: str) -> str:
        """What to say where `venue` has nothing in `tables`: the venues that have something, or no words at all."""
        found = {each.venue for table in tables for each in self.partitions(table)} - {venue}
        return f" (found data of {', '.join(sorted(found))}: choose with --venue)" if found else ""

    def symbols(self, table: str, venue: str) -> list[str]:
        """Symbols of `venue` that have files in `table`, sorted."""
        return sorted({partition.symbol for partition in self.partitions(table) if partition.venue == venue})


def metadata_of(table: pa.Table) -> dict[str, Any]:
    """Key-value metadata of a table in memory."""
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
