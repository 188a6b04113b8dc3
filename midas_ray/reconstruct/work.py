"""What a reconstruct task has read and is going to write."""

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from midas_ray.reconstruct.plan import HourTask, RawFile, file_before, hour_path, near_files
from midas_ray.reconstruct.raw_file import BLOCKS_AHEAD, RawFileReader, head_fault
from midas_ray.reconstruct.replay import HourReplay
from midas_ray.storage import Storage
from midas_ray.tables import SCHEMA_VERSION

NO_DICTIONARY = frozenset({"ts", "trade_id", "recv_ns", "last_update_id"})
"""Columns of values that hardly repeat: a Parquet dictionary only costs there."""

DAMAGED = "damaged raw file"
NO_HEAD = "raw without a head line"


MOST_ENCODING = 2
"""Tables that wait to become Parquet files."""


class Encoded(NamedTuple):
    """A Parquet file in memory, and its digest."""

    data: pa.Buffer
    digest: str


@dataclass(slots=True)
class Output:
    """A clean file to be written."""

    hour: int
    path: str
    encoding: Future[Encoded]


@dataclass(slots=True)
class TaskWork:
    """What a task has read and is going to write.

    encoder: a thread in which files are made while the task goes on, and beside which raw files are read ahead; None to
    do one after the other, on one core.
    """

    storage: Storage
    task: HourTask
    encoder: ThreadPoolExecutor | None
    outputs: list[Output] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    readers: dict[str, RawFileReader] = field(default_factory=dict)
    copies: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    _heads: dict[bytes, RawFile] = field(default_factory=dict)

    def add(self, hour: int, table: str, frame: pa.Table, metadata: dict[str, str]) -> None:
        """Make the Parquet file of an hour, in memory: nothing appears before all of the task is done."""
        common = {"schema_version": str(SCHEMA_VERSION), "venue": self.task.venue}
        merged = {key.encode(): value.encode() for key, value in (common | metadata).items()}
        known: dict[bytes, bytes] = frame.schema.metadata or {}
        path = hour_path(f"clean/{table}", self.task.venue, self.task.symbol, hour)
        described = frame.replace_schema_metadata(known | merged)
        for output in self.outputs[:-MOST_ENCODING]:
            output.encoding.result()
        if self.encoder is not None:
            encoding = self.encoder.submit(_encoded, described)
        else:
            encoding = Future()
            encoding.set_result(_encoded(described))
        self.outputs.append(Output(hour, path, encoding))
        self.rows[table] = self.rows.get(table, 0) + len(frame)

    def feed(self, replay: HourReplay, file: RawFile) -> None:
        """Replay one file, but for copies of another and for what is damaged in it."""
        before = replay.tally.foreign.copy()
        with RawFileReader(self.storage, file, lambda: replay.damaged(file.first_recv_ns)) as reader:
            self.readers[file.path] = reader
            blocks = reader.blocks(ahead=BLOCKS_AHEAD if self.encoder is not None else 0)
            block = next(blocks, b"")
            head = block[: block.find(b"\n") + 1]
            fault = head_fault(file, head) if head else None
            if fault is not None:
                reader.refuse(fault)
            elif head in self._heads and self._is_copy(file, self._heads[head]):
                self.copies.append(
                    f"{file.path}: holds nothing but what {self._heads[head].path} begins with; taken once"
                )
            elif head:
                self._heads.setdefault(head, file)
                replay.feed(itertools.chain([block], blocks))
            if self.storage.is_local:  # from an object store it would have to be fetched
                reader.hash_rest()
        found = replay.tally.foreign - before
        if found:
            names = ", ".join(f"{count:,} of {symbol}" for symbol, count in sorted(found.items()))
            self.foreign.append(
                f"{file.path}: expected frames of {self.task.symbol} only, found {names}, which are left out; "
                "import the file, or move what is not its symbol's to its own folder"
            )

    def _is_copy(self, file: RawFile, of: RawFile) -> bool:
        """Whether all lines of a file are those that the other begins with."""
        with (
            RawFileReader(self.storage, file, lambda: None) as short,
            RawFileReader(self.storage, of, lambda: None) as whole,
        ):
            return is_prefix(short.blocks(), whole.blocks())

    @property
    def damaged(self) -> dict[str, str]:
        """Why lines are missing, by file."""
        return {path: reader.damage for path, reader in self.readers.items() if reader.damage is not None}

    def publish(self, files: list[RawFile], headless: set[int]) -> None:
        """Write the files that are not there just so, remove what an earlier run left and this one did not make, then
        note of each hour what it was made from.

        The manifest of an hour names the raw files of that hour of receive time (`raw`), those that its lines lie in
        (`read`: stamp, content, damage), the one before them, and what nobody can say of it (`cannot_verify`).
        """
        for hour, key in self.task.keys.items():
            manifest = hour_path("clean/manifest", self.task.venue, self.task.symbol, hour, ".json")
            old = read_entry(self.storage, manifest)
            outputs = [output for output in self.outputs if output.hour == hour]
            digests: dict[str, str] = {}
            for output in outputs:
                data, digests[output.path] = output.encoding.result()
                same = old.get("digests", {}).get(output.path) == digests[output.path]
                if not (same and self.storage.exists(output.path)):
                    with self.storage.atomic_output(output.path) as stream:
                        stream.write(data)
            paths = [output.path for output in outputs]
            for path in old.get("outputs", []):
                if path not in paths and self.storage.exists(path):
                    self.storage.delete(path)
            near = near_files(files, hour)
            damaged = any(self._damage(file) for file in near)
            entry = {
                "hour": hour,
                "key": key,
                "outputs": paths,
                "digests": digests,
                "raw": {file.path: file.size for file in files if file.hour == hour},
                "read": {file.path: self._note(file) for file in near},
                "before": [file.path for file in file_before(files, hour)],
                "cannot_verify": [NO_HEAD] * (hour in headless) + [DAMAGED] * damaged,
            }
            self.storage.write_bytes(manifest, json.dumps(entry).encode())

    def _damage(self, file: RawFile) -> str | None:
        reader = self.readers.get(file.path)
        return None if reader is None else reader.damage

    def _note(self, file: RawFile) -> dict[str, Any]:
        reader = self.readers.get(file.path)
        digest = None if reader is None else reader.digest
        return {"stamp": file.stamp, "digest": digest, "damage": self._damage(file)}


def is_prefix(short: Iterator[bytes], whole: Iterator[bytes]) -> bool:
    """Whether the text of the first blocks is what that of the second begins with."""
    held = b""
    for block in short:
        while len(held) < len(block):
            more = next(whole, b"")
            if not more:
                return False
            held += more
        if not held.startswith(block):
            return False
        held = held[len(block) :]
    return True


def _encoded(table: pa.Table) -> Encoded:
    sink = pa.BufferOutputStream()
    repeating = [name for name in table.column_names if name not in NO_DICTIONARY and not name.startswith("ofi_")]
    pq.write_table(
        table, sink, compression="zstd", compression_level=1, use_dictionary=repeating, write_statistics=["ts"]
    )
    data = sink.getvalue()
    return Encoded(data, xxhash.xxh3_128_hexdigest(data))


def read_entry(storage: Storage, manifest: str) -> dict[str, Any]:
    """What the manifest of an hour says; empty where there is none."""
    if not storage.exists(manifest):
        return {}
    entry: dict[str, Any] = json.loads(storage.read_bytes(manifest))
    return entry
