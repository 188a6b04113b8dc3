"""Where data lies: one folder or URI, reached through `pyarrow.fs`, with atomic writes and Hive partitions."""

import contextlib
import functools
import io
import os
import posixpath
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any, BinaryIO, Self, cast

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from midas_ray import object_store
from midas_ray.errors import CorruptFileError, StorageError
from midas_ray.settings import MidasSettings
from midas_ray.spool import spool_folder
from midas_ray.staged import Staged, with_metadata, write_table

STREAM_BYTES = 4 * 2**20
"""What one request to an object store brings of a file that is read from its start to its end."""
REQUESTS = 16
"""Requests to an object store at a time."""
WRITER_NOTE = ".midas/writable"
"""Written to an object store to see whether that can be done. It stays: where pyarrow deletes an object, it leaves an
empty one in the name of the folder."""
FEW = 4
"""So many files are asked for one by one, more by listing their folder."""


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


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that a listing found. mtime_ns: when it was written, in whole seconds where an object store says so."""

    path: str
    size: int
    mtime_ns: int

    @property
    def stamp(self) -> str:
        """Another stamp means that the file was written anew."""
        return f"{self.size}-{self.mtime_ns}"


class Storage:
    """The data folder. Paths are relative to it, with `/`; every write is atomic: a file is whole or not there.

    An object store is reached when it is first needed; every method raises StorageError where that, or a request,
    fails. What is staged for one lies in a nameless local file until it is published, and is gone with the process.

    spool_dir: for an object store, where on this machine growing journals and logs lie; None = the user's state folder.

    Example:
        storage = Storage("data")
        storage.write_parquet("features/venue=v/symbol=s/date=2026-01-05/day.parquet", table)
    """

    def __init__(self, data_dir: str, spool_dir: str | None = None) -> None:
        self.data_dir = data_dir
        self._spool_dir = spool_dir
        self._staged: Staged | None = None
        self.s3 = object_store.parse_location(data_dir) if data_dir.startswith(object_store.SCHEME) else None
        self._opened: pafs.FileSystem | None = None
        if self.s3 is not None:
            self.root = self.s3.root
        elif "://" in data_dir:
            try:
                self._opened, self.root = pafs.FileSystem.from_uri(data_dir)
            except (pa.ArrowInvalid, OSError) as error:
                shown = object_store.shown_uri(data_dir)
                reason = str(error).replace(data_dir, shown)
                raise StorageError(f"DATA_DIR {shown}: not a folder or URI that pyarrow can open: {reason}") from None
        else:
            self._opened, self.root = pafs.LocalFileSystem(), str(Path(data_dir).expanduser().resolve())

    @classmethod
    def of(cls, settings: MidasSettings) -> Self:
        """The data folder of a command."""
        return cls(settings.data_dir, settings.spool_dir)

    @functools.cached_property
    def fs(self) -> pafs.FileSystem:
        """The file system. Raises StorageError where an object store cannot be reached."""
        return self._opened if self.s3 is None else object_store.open_s3(self.s3)

    @property
    def is_local(self) -> bool:
        return isinstance(self._opened, pafs.LocalFileSystem)

    @property
    def address(self) -> str:
        """What another process opens the same data with. It may hold credentials: not to be shown."""
        return self.root if self.is_local else self.data_dir

    @property
    def store_address(self) -> str | None:
        """`address` of an object store; None where the data folder is local."""
        return None if self.is_local else self.address

    @property
    def shown(self) -> str:
        """The data folder for messages, logs and reports: as it was named, without credentials."""
        return object_store.shown_uri(self.data_dir)

    def shown_path(self, relative: str = "") -> str:
        """A whole path for messages."""
        root = self.root if self.is_local else self.shown.rstrip("/")
        return f"{root}/{relative}" if relative else root

    @property
    def work_folder(self) -> Path:
        """Where on this machine growing journals, logs and the collectors' plan lie: in a local data folder."""
        if self.is_local:
            return Path(self.root)
        return spool_folder(self._spool_dir, self.root, self.shown if self.s3 is None else self.s3.identity)

    def local_path(self, relative: str = "") -> Path:
        """The path on this machine. Raises StorageError where the data folder is not local."""
        if not self.is_local:
            raise StorageError(f"DATA_DIR {self.shown}: expected a local folder for this command")
        return Path(self.root) / relative

    def _full(self, relative: str) -> str:
        return f"{self.root}/{relative}" if relative else self.root

    @contextlib.contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Inside the block a failing object store raises StorageError. Other errors pass."""
        try:
            yield
        except OSError as error:
            if self.s3 is not None and object_store.is_of_store(error):
                raise object_store.explained(error, self.s3) from None
            raise

    def listing(self, prefix: str, suffix: str = "") -> list[StoredFile]:
        """All files under `prefix` that end in `suffix`, by path; temporary files are left out."""
        selector = pafs.FileSelector(self._full(prefix).rstrip("/"), recursive=True, allow_not_found=True)
        start = len(self.root) + 1
        with self._store_errors():
            infos = self.fs.get_file_info(selector)
        found = (
            self._stored(info, info.path[start:])
            for info in infos
            if info.type == pafs.FileType.File and info.path.endswith(suffix) and "/.tmp-" not in info.path
        )
        return sorted(found, key=lambda file: file.path)

    def _stored(self, info: pafs.FileInfo, relative: str) -> StoredFile:
        # Some stores list fractions of a second that they do not tell of a single file.
        mtime_ns = info.mtime_ns if self.is_local else info.mtime_ns // 10**9 * 10**9
        return StoredFile(relative, info.size, mtime_ns)

    def list_files(self, prefix: str, suffix: str = "") -> list[str]:
        """Relative paths of all files under `prefix` that end in `suffix`, sorted; temporary files are left out."""
        return [file.path for file in self.listing(prefix, suffix)]

    def find(self, paths: Sequence[str]) -> dict[str, StoredFile]:
        """Those of `paths` that are files. Of an object store many are found by listing their symbols' folders."""
        if self.is_local or len(paths) <= FEW:
            with self._store_errors():
                infos = self.fs.get_file_info([self._full(path) for path in paths])
            pairs = zip(paths, infos, strict=True)
            return {path: self._stored(info, path) for path, info in pairs if info.type == pafs.FileType.File}
        wanted: dict[str, list[str]] = {}
        for path in paths:
            folder = posixpath.dirname(path)
            wanted.setdefault(folder.partition("/date=")[0], []).append(folder)
        listed = {
            file.path: file for folders in wanted.values() for file in self.listing(posixpath.commonpath(folders))
        }
        return {path: listed[path] for path in paths if path in listed}

    def _find_all(self, paths: Sequence[str]) -> list[StoredFile]:
        found = self.find(paths)
        gone = [path for path in paths if path not in found]
        if gone:
            raise StorageError(
                f"{self.shown_path(gone[0])}: expected a file, found none; it has been deleted: run again"
            )
        return [found[path] for path in paths]

    def sizes(self, paths: Sequence[str]) -> list[int]:
        """Bytes of each file."""
        return [file.size for file in self._find_all(paths)]

    def stamps(self, paths: Sequence[str]) -> list[str]:
        """Size and modification time of each file: another stamp means that it was written anew."""
        return [file.stamp for file in self._find_all(paths)]

    def existing(self, paths: Iterable[str]) -> set[str]:
        """Those of `paths` that are files: for many at once, instead of `exists` in a loop."""
        return set(self.find(list(paths)))

    def exists(self, relative: str) -> bool:
        with self._store_errors():
            return bool(self.fs.get_file_info(self._full(relative)).type != pafs.FileType.NotFound)

    def read_bytes(self, relative: str) -> bytes:
        with self.open_input(relative) as stream:
            return bytes(stream.read())

    def read_many(self, paths: Sequence[str]) -> list[bytes]:
        """The contents of small files, in the order of `paths`; of an object store several at a time."""
        if self.is_local or len(paths) < 2:
            return [self.read_bytes(path) for path in paths]
        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(self.read_bytes, paths))

    @contextlib.contextmanager
    def open_input(self, relative: str) -> Iterator[pa.NativeFile]:
        """A file to read anywhere in, also one that is staged: each read of an object store is a request."""
        if self._staged is not None and relative in self._staged:
            yield pa.BufferReader(self._staged.read(relative))
            return
        with self._store_errors(), self.fs.open_input_file(self._full(relative)) as stream:
            yield stream

    @contextlib.contextmanager
    def open_stream(self, relative: str) -> Iterator[BinaryIO]:
        """A file to read from its start to its end in small pieces, for the most part: a request brings 4 MiB."""
        with self.open_input(relative) as stream, io.BufferedReader(cast(io.RawIOBase, stream), STREAM_BYTES) as reader:
            yield cast(BinaryIO, reader)

    @contextlib.contextmanager
    def atomic_output(self, relative: str) -> Iterator[IO[bytes] | pa.NativeFile]:
        """A binary output that appears under `relative` only if the block ends well. Raises StorageError."""
        if not self.is_local:
            with tempfile.TemporaryFile() as spooled:
                yield spooled
                size = spooled.tell()
                spooled.seek(0)
                self._upload(relative, spooled, size)
            return
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
                raise self._cannot_write(relative, error) from None
            raise

    def _cannot_write(self, relative: str, error: OSError) -> StorageError:
        return StorageError(f"cannot write {self.shown_path(relative)}: {error}; check the disk and permissions")

    def _upload(self, relative: str, source: IO[bytes], size: int) -> None:
        try:
            with self._store_errors():
                object_store.upload(self.fs, self._full(relative), source, size)
        except OSError as error:
            raise self._cannot_write(relative, error) from None

    def write_bytes(self, relative: str, data: bytes) -> None:
        with self.atomic_output(relative) as stream:
            stream.write(data)

    def write_parquet(self, relative: str, table: pa.Table, metadata: dict[str, str] | None = None) -> None:
        """Write `table` atomically (Zstandard); `metadata` is added to the schema's key-value metadata."""
        with self.atomic_output(relative) as stream:
            write_table(with_metadata(table, metadata or {}), stream)

    def stage_parquet(self, relative: str, table: pa.Table, metadata: dict[str, str]) -> str:
        """Write `table` where nobody sees it; gives a name for `publish` or `delete`."""
        folder, _, name = relative.rpartition("/")
        staged = f"{folder}/.tmp-{uuid.uuid4().hex[:12]}-{name}"
        table = with_metadata(table, metadata)
        try:
            if not self.is_local:
                self._staged = self._staged or Staged()
                self._staged.add(staged, table)
                return staged
            self.fs.create_dir(self._full(folder), recursive=True)
            with self.fs.open_output_stream(self._full(staged)) as stream:
                write_table(table, stream)
        except OSError as error:
            raise self._cannot_write(relative, error) from None
        return staged

    def publish(self, staged: str, relative: str) -> None:
        """Give a staged file its final name, in the place of an older one. By the Storage that staged it."""
        if self.is_local:
            self.fs.move(self._full(staged), self._full(relative))
        elif self._staged is not None:
            source, size = self._staged.take(staged)
            self._upload(relative, source, size)

    def adopt(self, path: Path, relative: str) -> None:
        """Move a local file to `relative`, where it appears whole. Raises StorageError, the file as it was."""
        try:
            if self.is_local:
                target = self.local_path(relative)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
                return
            size = path.stat().st_size
            with path.open("rb") as source:
                self._upload(relative, source, size)
            found = self.find([relative]).get(relative)
            if found is None or found.size != size:
                there = "nothing" if found is None else f"{found.size}"
                raise StorageError(f"{self.shown_path(relative)}: expected {size} bytes after writing, found {there}")
            path.unlink()
        except OSError as error:
            raise self._cannot_write(relative, error) from None

    def read_parquet(self, relative: str, columns: list[str] | None = None) -> pa.Table:
        """Read one Parquet file. Raises CorruptFileError with one line where it is damaged."""
        try:
            with self.open_input(relative) as stream:
                return pq.ParquetFile(stream, pre_buffer=not self.is_local).read(columns=columns)
        except (pa.ArrowInvalid, OSError) as error:
            raise self._unreadable(relative, error) from None

    def _unreadable(self, relative: str, error: Exception) -> CorruptFileError:
        reason = str(error).splitlines()[0]
        return CorruptFileError(
            f"{self.shown_path(relative)}: not a readable Parquet file ({reason}); delete it, then rerun its stage"
        )

    def read_parquet_metadata(self, relative: str) -> dict[str, str]:
        """Key-value metadata of a Parquet file. Raises CorruptFileError where it is damaged."""
        try:
            with self.open_input(relative) as stream:
                raw: dict[bytes, bytes] = pq.ParquetFile(stream).schema_arrow.metadata or {}
        except (pa.ArrowInvalid, OSError) as error:
            raise self._unreadable(relative, error) from None
        return {key.decode(): value.decode() for key, value in raw.items() if key != b"ARROW:schema"}

    def delete(self, relative: str) -> None:
        """Delete a file, or what was staged."""
        if not self.is_local and "/.tmp-" in relative:
            if self._staged is not None:
                self._staged.drop(relative)
            return
        with self._store_errors():
            self.fs.delete_file(self._full(relative))

    def delete_partition(self, partition: Partition, paths: Sequence[str]) -> None:
        """Delete files of a partition, and its folder where they were all that it held."""
        if not self.is_local and set(self.list_files(partition.path)) == set(paths):
            with self._store_errors():
                self.fs.delete_dir(self._full(partition.path))  # a thousand a request
            return
        for path in paths:
            self.delete(path)
        if self.is_local:
            with contextlib.suppress(OSError):  # not empty: a growing file, or something that is not ours
                self.local_path(partition.path).rmdir()

    def check_writable(self) -> None:
        """Raises StorageError with one line where nothing can be written to the data folder."""
        if not self.is_local:
            self.write_bytes(WRITER_NOTE, b"")
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
