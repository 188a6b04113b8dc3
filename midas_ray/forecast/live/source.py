"""Where live features come from: this process makes them, or another one does and its record is followed."""

from typing import Protocol

from midas_ray.live.features import LiveFeatures
from midas_ray.live.publication import Publication, from_line
from midas_ray.live.record import TABLE, AlreadyPublishedError, file_suffix
from midas_ray.settings import Features
from midas_ray.storage import Storage


class Source(Protocol):
    """Gives what was published since it was asked last."""

    def poll(self) -> list[Publication]: ...

    def close(self) -> None: ...


class OwnFeatures:
    """Live features made in this process. Reads what there is so far first; what that publishes is on the record."""

    def __init__(self, live: LiveFeatures) -> None:
        self._live = live
        for session in live.sessions:
            for _ in session.starting():
                pass

    def poll(self) -> list[Publication]:
        return self._live.poll()

    def close(self) -> None:
        self._live.__exit__(None, None, None)


class FollowedFeatures:
    """What another `midas features --live` appends to its record."""

    def __init__(self, storage: Storage, venue: str, symbols: list[str], bucket_us: int) -> None:
        self._storage, self._venue, self._symbols, self._bucket_us = storage, venue, symbols, bucket_us
        self._read: dict[str, int] = {}
        for path in self._paths():
            self._read[path] = self._whole(path)

    def _paths(self) -> list[str]:
        return [
            path
            for symbol in self._symbols
            for path in self._storage.list_files(
                f"{TABLE}/venue={self._venue}/symbol={symbol}", file_suffix(self._bucket_us)
            )[-2:]
        ]

    def _whole(self, path: str) -> int:
        return self._storage.local_path(path).read_bytes().rfind(b"\n") + 1

    def poll(self) -> list[Publication]:
        found: list[Publication] = []
        for path in self._paths():
            begun = self._read.get(path, 0)
            with self._storage.local_path(path).open("rb") as stream:
                stream.seek(begun)
                data = stream.read()
            whole = data.rfind(b"\n") + 1
            if whole:
                found += [from_line(line) for line in data[:whole].splitlines()]
                self._read[path] = begun + whole
        return found

    def close(self) -> None:
        self._read.clear()


def open_source(settings: Features) -> tuple[Source, list[str], bool]:
    """The source, its symbols, and whether another process makes the features.

    Raises UsageError, DataError as `LiveFeatures`.
    """
    live = LiveFeatures(settings)
    try:
        live.__enter__()
    except AlreadyPublishedError:
        storage = Storage(settings.data_dir)
        bucket_us = settings.time_bucket_ms * 1000
        return FollowedFeatures(storage, settings.venue, live.symbols, bucket_us), live.symbols, True
    return OwnFeatures(live), live.symbols, False
