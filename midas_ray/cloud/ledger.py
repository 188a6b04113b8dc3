"""spend.jsonl: what was rented, when, at which price, until when. Appended to only, by any process of the cluster.

A line is one write under the file's lock, on disk before the call returns. What a crash or a full disk leaves of a line
is passed over and said: the next comparison with the API's listing writes what it would have told.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import msgspec

from midas_ray.cloud.messages import Instance, Offer
from midas_ray.cloud.spending import (
    Ended,
    Interval,
    Priced,
    Record,
    Rented,
    day_begin,
    differences,
    fold,
    spent,
)
from midas_ray.errors import StorageError

NAME = "spend.jsonl"

log = logging.getLogger(__name__)
_decoder = msgspec.json.Decoder(Record)


class Ledger:
    """The ledger in a cluster's state folder. Safe for threads and processes. Raises StorageError."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._seen = folder / "spend.seen"
        self._lock = threading.Lock()
        self._size = -1
        self._records: list[Record] = []
        self._intervals: list[Interval] = []
        self._said: set[int] = set()

    def rented(
        self, instance_id: int, offer: Offer, price: float, label: str, now: float, disk_gb: float = 0.0
    ) -> None:
        """An instance costs `price` dollars an hour from now on."""
        record = Rented(
            id=instance_id,
            at=now,
            price=price,
            label=label,
            machine=offer.machine_id,
            offer=offer.id,
            gpu=f"{offer.num_gpus} x {offer.gpu_name}",
            disk_gb=disk_gb,
        )
        self._append([record])

    def ended(self, instance_id: int, now: float, why: str) -> None:
        """It costs nothing more."""
        self._append([Ended(id=instance_id, at=now, why=why)])

    def priced(self, instance_id: int, price: float, now: float) -> None:
        """It costs another price from now on."""
        self._append([Priced(id=instance_id, at=now, price=price)])

    def reconcile(self, listed: Iterable[Instance], now: float, unseen_s: float) -> list[Record]:
        """Bring it in line with this cluster's instances as the API lists them; gives the lines added.

        unseen_s: see `spending.differences`. Call it after having noted what one knows better.
        """
        added = differences(self.intervals(), listed, self.seen(), now, unseen_s)
        if added:
            self._append(added)
        try:
            self._seen.touch(mode=0o600)
            os.utime(self._seen, (now, now))
        except OSError as error:
            raise _storage_error(self._seen, error) from None
        return added

    def seen(self) -> float:
        """When it was last compared with a listing; 0 where never."""
        try:
            return self._seen.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def intervals(self) -> list[Interval]:
        """All that it tells of. Not to be changed."""
        with self._lock:
            try:
                size = self.path.stat().st_size
                if size != self._size:
                    with self.path.open("rb") as file:
                        fcntl.flock(file, fcntl.LOCK_SH)
                        content = file.read()
                    self._size, self._records = len(content), list(self._whole(content))
                    self._intervals = fold(self._records)
            except FileNotFoundError:
                return []
            except OSError as error:
                raise _storage_error(self.path, error) from None
            return self._intervals

    def records(self) -> list[Record]:
        """Its whole lines. Not to be changed."""
        self.intervals()
        return self._records

    def spent_on_day(self, now: float) -> float:
        """Dollars from 00:00 UTC of this day until now."""
        return spent(self.intervals(), day_begin(now), now)

    def _whole(self, content: bytes) -> Iterable[Record]:
        for number, line in enumerate(content.splitlines(), 1):
            if not line:
                continue
            try:
                yield _decoder.decode(line)
            except msgspec.DecodeError as error:
                if number not in self._said:
                    self._said.add(number)
                    log.warning("%s: line %d is not whole and is passed over: %s", self.path, number, error)

    def _append(self, records: Iterable[Record]) -> None:
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":  # what a crash left of a line
                    lines = b"\n" + lines
                if os.write(descriptor, lines) != len(lines):
                    raise OSError(0, "the disk took a part of the line")
                os.fsync(descriptor)
                if not size:
                    _sync_folder(self.path.parent)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise _storage_error(self.path, error) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _storage_error(path: Path, error: OSError) -> StorageError:
    return StorageError(f"{path}: what is spent cannot be kept or read ({error.strerror}); make room or correct it")
