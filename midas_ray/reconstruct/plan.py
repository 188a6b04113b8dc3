"""Which hours of which symbol are to be reconstructed, and what each depends on."""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime

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
"""Consecutive hours are packed into one task until their raw files reach this size."""


@dataclass(frozen=True, slots=True)
class RawFile:
    """A raw journal file. A file lies within one UTC hour of receive time, because its writer rotates on the hour."""

    path: str
    first_recv_ns: int
    size: int

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


def raw_files(storage: Storage, venue: str, symbol: str) -> list[RawFile]:
    """The symbol's raw files in order of their first line."""
    prefix = f"raw/venue={venue}/symbol={symbol}"
    paths = [path for path in storage.list_files(prefix) if path.endswith((SUFFIX, OPEN_SUFFIX))]
    files = []
    for path, size in zip(paths, storage.sizes(paths), strict=True):
        stamp = path.rsplit("/", 1)[1].split("-")[0]
        if stamp.isdecimal():
            files.append(RawFile(path, int(stamp), size))
    return sorted(files, key=lambda file: (file.first_recv_ns, file.path))


def hour_keys(files: list[RawFile], settings: BookSettings) -> dict[int, str]:
    """For every hour of exchange time that the files can hold, the hash of what its rows are made from."""
    hours = sorted({hour for file in files for hour in range(file.hour - 1, file.hour + 2)})
    keys = {}
    for hour in hours:
        near = [file for file in files if hour - 1 <= file.hour <= hour + 1]
        before = [file for file in files if file.hour < hour - 1][-1:]
        inputs = [[file.path, file.size] for file in (*before, *near)]
        following = next((file for file in files if file.hour > hour + 1), None)
        # Whether data follow decides on what is lost at the hour's end; where the next hour has none, they fill it up.
        after = following and (near[-1].hour > hour or [following.path, following.size])
        body = [
            SCHEMA_VERSION,
            code_version("venues", "book", "reconstruct"),
            settings.snapshot_interval_ms,
            settings.order_book_depth,
            inputs,
            after,
        ]
        keys[hour] = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    return keys


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
        packed += size_of.get(hour, 0)
    return [HourTask(venue, symbol, pack[0], pack[-1], {hour: keys[hour] for hour in pack}) for pack in packs]


def hour_path(table: str, venue: str, symbol: str, hour: int, suffix: str = ".parquet") -> str:
    """Path of the file of an hour in `table`."""
    moment = datetime.fromtimestamp(hour * 3600, UTC)
    return f"{Partition(table, venue, symbol, moment.date()).path}/{moment:%H}{suffix}"


def read_manifest(storage: Storage, venue: str, symbol: str) -> dict[int, dict[str, object]]:
    """What earlier runs say of each hour: key, outputs, counts. Hours whose outputs are gone are left out."""
    found: dict[int, dict[str, object]] = {}
    for path in storage.list_files(f"clean/manifest/venue={venue}/symbol={symbol}", ".json"):
        entry = json.loads(storage.read_bytes(path))
        if all(storage.exists(output) for output in entry["outputs"]):
            found[entry["hour"]] = entry
    return found
