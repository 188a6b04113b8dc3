"""Which hours of which symbol are to be reconstructed, and what each depends on."""

import bisect
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from midas_ray.capture.journal import OPEN_SUFFIX, SUFFIX
from midas_ray.code_version import code_version
from midas_ray.settings import BookSettings
from midas_ray.storage import Partition, Storage
from midas_ray.tables import SCHEMA_VERSION

HOUR_MS = 3_600_000
HOUR_NS = HOUR_MS * 10**6

SKEW_NS = 60 * 10**9
"""How far a local clock may be from the exchange's, and how late an event may arrive."""

PACK_BYTES = 64 * 2**20
"""Consecutive hours are packed into one task until they weigh so much."""

HOUR_BYTES = 2 * 2**20
"""What an hour weighs beside its raw files: its grid rows are written however little happened in it."""


@dataclass(frozen=True, slots=True)
class RawFile:
    """A raw journal file. A file lies within one UTC hour of receive time, because its writer rotates on the hour."""

    path: str
    first_recv_ns: int
    size: int
    stamp: str = ""
    """Another one means that the file was written anew, or only copied."""

    @property
    def hour(self) -> int:
        """Hours since the epoch of its first line's receive time."""
        return self.first_recv_ns // HOUR_NS

    @property
    def growing(self) -> bool:
        """A collector has it open, or left it so: it may end in the middle of a line."""
        return self.path.endswith(OPEN_SUFFIX)


@dataclass(frozen=True, slots=True)
class HourTask:
    """Consecutive hours [first_hour, last_hour] (since the epoch, exchange time) of one symbol, and the key of each."""

    venue: str
    symbol: str
    first_hour: int
    last_hour: int
    keys: dict[int, str]
    raw_bytes: int = 0
    """Size of the raw files of these hours."""

    @property
    def weight(self) -> int:
        """How much work it is, in bytes."""
        return self.raw_bytes + HOUR_BYTES * len(self.keys)


def raw_files(storage: Storage, venue: str, symbol: str) -> list[RawFile]:
    """The symbol's raw files in order of their first line; of those that begin with the same one the largest first."""
    prefix = f"raw/venue={venue}/symbol={symbol}"
    files = []
    for found in storage.listing(prefix):
        first = found.path.rsplit("/", 1)[1].split("-")[0]
        if found.path.endswith((SUFFIX, OPEN_SUFFIX)) and first.isdecimal():
            files.append(RawFile(found.path, int(first), found.size, found.stamp))
    return sorted(files, key=lambda file: (file.first_recv_ns, -file.size, file.path))


def misnamed_files(storage: Storage, venue: str, symbol: str) -> list[str]:
    """What lies among the symbol's raw files like one of them, but does not say in its name when it begins."""
    names = {path: path.rsplit("/", 1)[1] for path in storage.list_files(f"raw/venue={venue}/symbol={symbol}")}
    return [
        f"{path}: expected a name that begins with the recv_ns of its first line, found {name}; "
        "rename the file or move it away"
        for path, name in names.items()
        if name.endswith((SUFFIX, OPEN_SUFFIX)) and not name.split("-")[0].isdecimal()
    ]


def hour_keys(files: list[RawFile], settings: BookSettings) -> dict[int, str]:
    """For every hour of exchange time that the files can hold, the hash of what its rows are made from."""
    made_by = [
        SCHEMA_VERSION,
        code_version("venues", "book", "reconstruct"),
        settings.snapshot_interval_ms,
        settings.order_book_depth,
    ]
    keys = {}
    for hour in sorted({hour for file in files for hour in range(file.hour - 1, file.hour + 2)}):
        near = near_files(files, hour)
        inputs = [[file.path, file.size] for file in (*file_before(files, hour), *near)]
        stop = _first_at(files, hour + 2)
        following = files[stop] if stop < len(files) else None
        # Whether data follow decides on what is lost at the hour's end; where the next hour has none, they fill it up.
        after = following and (near[-1].hour > hour or [following.path, following.size])
        keys[hour] = hashlib.sha256(json.dumps([*made_by, inputs, after]).encode()).hexdigest()
    return keys


def near_files(files: list[RawFile], hour: int) -> list[RawFile]:
    """The files that hold lines of an hour of exchange time, whatever the local clock."""
    return files[_first_at(files, hour - 1) : _first_at(files, hour + 2)]


def file_before(files: list[RawFile], hour: int) -> list[RawFile]:
    """The last file before those near an hour, if any: the book may have to start there."""
    at = _first_at(files, hour - 1)
    return files[max(at - 1, 0) : at]


def _first_at(files: list[RawFile], hour: int) -> int:
    return bisect.bisect_left(files, hour, key=lambda file: file.hour)


def up_to_date(files: list[RawFile], keys: dict[int, str], manifest: dict[int, dict[str, Any]]) -> dict[int, str]:
    """The keys of the hours that need no task: made from just these files, or from more of them.

    Raw files that have gone since (retention) change nothing: what was known then is still right.
    """
    present = {file.path: file.stamp for file in files}
    found = {}
    for hour, key in keys.items():
        entry = manifest.get(hour)
        if entry is None:
            continue
        read: dict[str, dict[str, Any]] = entry.get("read", {})
        same = all(present.get(path) in (None, note["stamp"]) for path, note in read.items())
        gone = any(path not in present for path in (*read, *entry.get("before", [])))
        if same and (entry["key"] == key or (gone and not _has_new_files(files, hour, read))):
            found[hour] = key
    return found


def _has_new_files(files: list[RawFile], hour: int, read: dict[str, dict[str, Any]]) -> bool:
    return any(file.path not in read for file in near_files(files, hour))


def plan_tasks(
    venue: str,
    symbol: str,
    files: list[RawFile],
    keys: dict[int, str],
    done: dict[int, str],
    pack_bytes: int = PACK_BYTES,
) -> list[HourTask]:
    """Tasks for the hours whose key is not in `done`; small neighbouring hours are packed together."""
    size_of: dict[int, int] = {}
    for file in files:
        size_of[file.hour] = size_of.get(file.hour, 0) + file.size
    packs: list[list[int]] = []
    packed = 0
    for hour in sorted(hour for hour, key in keys.items() if done.get(hour) != key):
        if not packs or packs[-1][-1] != hour - 1 or packed >= pack_bytes:
            packs.append([])
            packed = 0
        packs[-1].append(hour)
        packed += size_of.get(hour, 0) + HOUR_BYTES
    return [
        HourTask(
            *(venue, symbol, pack[0], pack[-1], {hour: keys[hour] for hour in pack}),
            raw_bytes=sum(size_of.get(hour, 0) for hour in pack),
        )
        for pack in packs
    ]


def hour_path(table: str, venue: str, symbol: str, hour: int, suffix: str = ".parquet") -> str:
    """Path of the file of an hour in `table`."""
    moment = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{Partition(table, venue, symbol, moment.date()).path}/{moment:%H}{suffix}"


def read_manifest(storage: Storage, venue: str, symbol: str) -> dict[int, dict[str, Any]]:
    """What earlier runs say of each hour: key, outputs, what was read. Hours whose outputs are gone are left out."""
    paths = storage.list_files(f"clean/manifest/venue={venue}/symbol={symbol}", ".json")
    entries: list[dict[str, Any]] = [json.loads(data) for data in storage.read_many(paths)]
    tables = {output.partition("/venue=")[0] for entry in entries for output in entry["outputs"]}
    present = {path for table in tables for path in storage.list_files(f"{table}/venue={venue}/symbol={symbol}")}
    return {entry["hour"]: entry for entry in entries if present.issuperset(entry["outputs"])}
