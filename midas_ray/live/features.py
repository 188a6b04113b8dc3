"""Live features of many symbols in one process: for the command, and for Python as an asynchronous iterator."""

import asyncio
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from midas_ray.errors import DataError, UsageError
from midas_ray.live.publication import Publication
from midas_ray.live.record import claimed
from midas_ray.live.session import Clock, SymbolSession
from midas_ray.settings import Features
from midas_ray.storage import Storage

POLL_S = 0.05
"""How often the journals are looked at."""


class LiveFeatures:
    """Publishes each bucket of the symbols as it closes, once it is entered.

    Example:
        with LiveFeatures(Features(data_dir="data", symbols="btcusdt")) as live:
            async for publication in live.publications():
                print(publication.ts_us, publication.revision, publication.values)

    clock: this machine's wall clock, ns. Raises UsageError where DATA_DIR is not a local folder or another process
    publishes one of the symbols, DataError where there is nothing to follow.
    """

    def __init__(self, settings: Features, clock: Clock = time.time_ns) -> None:
        self._settings = settings
        storage = Storage(settings.data_dir)
        if not storage.is_local:
            raise UsageError(
                f"--live follows the journals that a collector writes on this machine: expected a local --data-dir, "
                f"found {storage.shown}"
            )
        if settings.time_bucket_ms % settings.snapshot_interval_ms:
            raise UsageError(
                f"--snapshot-interval-ms {settings.snapshot_interval_ms}: expected a grid that divides the bucket of "
                f"{settings.time_bucket_ms} ms; see midas features --help"
            )
        self.present = storage.symbols("raw", settings.venue)
        self.symbols = list(settings.symbols) or self.present
        if not self.symbols:
            raise DataError(
                f"no raw journals of {settings.venue} under {storage.shown}/raw"
                f"{storage.other_venues(('raw',), settings.venue)}: start midas collect or midas up, or name "
                "with --symbols what to wait for"
            )
        storage.check_writable()
        self._claim = claimed(storage.local_path(), settings.venue, self.symbols)
        self.sessions = [SymbolSession(settings, symbol, clock) for symbol in self.symbols]

    def __enter__(self) -> Self:
        self._claim.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for session in self.sessions:
            session.close()
        self._claim.__exit__(kind, error, trace)

    @property
    def waiting(self) -> list[str]:
        """Symbols of which no collector writes a journal now."""
        return [session.symbol for session in self.sessions if not session.following]

    async def start(self) -> None:
        """Read what there is so far, so that the next bucket to close is in time. Raises as `poll`."""
        for session in self.sessions:
            for _ in session.starting():
                await asyncio.sleep(0)

    async def publications(self) -> AsyncIterator[Publication]:
        """What is published from now on, for ever. Raises as `poll`."""
        if not all(session.started for session in self.sessions):
            await self.start()
        while True:
            begun_s = time.monotonic()
            for publication in self.poll():
                yield publication
            await asyncio.sleep(max(POLL_S - (time.monotonic() - begun_s), 0.0))

    def poll(self) -> list[Publication]:
        """Look at every journal once; gives what was published for it.

        Raises DataError, SchemaError, CorruptFileError, StorageError.
        """
        return [publication for session in self.sessions for publication in session.poll()]
