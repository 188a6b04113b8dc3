"""`--download FROM TO`: the archive's files of whole days to DATA_DIR/archive, several at a time."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from midas_ray import console
from midas_ray.errors import UsageError
from midas_ray.importers.vision.fetch import ArchiveClient
from midas_ray.importers.vision.names import ArchiveName, wanted_days
from midas_ray.settings import Import
from midas_ray.storage import Storage

AT_ONCE = 4
"""Files that are downloaded at the same time."""
FOLDER = "archive"


@dataclass(slots=True)
class Fetched:
    """paths: files that are there now, in order. lines: what to say. without: symbols of which nothing is published."""

    paths: list[Path] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)


def download(settings: Import, storage: Storage) -> Fetched:
    """Bring what --download, --symbols and --kinds name.

    Raises UsageError, VenueError, CorruptFileError, StorageError.
    """
    days = wanted_days(settings.download, datetime.now(UTC).date())
    if not settings.symbols:
        raise UsageError("--download: expected --symbols, such as btcusdt,ethusdt, found none")
    storage.check_writable()
    folder = storage.local_path(FOLDER)
    names = [
        ArchiveName(symbol, kind, day, day)
        for symbol in settings.symbols
        for kind in dict.fromkeys(settings.kinds)
        for day in days
    ]
    started = time.monotonic()
    with _Bars() as bars:
        there = asyncio.run(_fetch_all(settings, folder, names, bars))
    found = Fetched([path_of(folder, settings.venue, name) for name in names if name in there])
    found.without = [
        symbol for symbol in settings.symbols if not any(name in there for name in names if name.symbol == symbol)
    ]
    seconds = max(time.monotonic() - started, 1e-3)
    speed = f" at {console.size_text(bars.bytes / seconds)}/s" if bars.bytes else ""
    found.lines = [
        f"{len(found.paths)} files in {folder}, {console.size_text(bars.bytes)} of them downloaded now{speed}",
        *_missing(settings, names, there),
    ]
    return found


def path_of(folder: Path, venue: str, name: ArchiveName) -> Path:
    """Where a file is kept: as in the archive."""
    return folder / name.url_path(venue).removeprefix("data/")


async def _fetch_all(settings: Import, folder: Path, names: list[ArchiveName], bars: "_Bars") -> set[ArchiveName]:
    """Bring all files; gives those that are published. The first that fails stops the others."""
    there: set[ArchiveName] = set()
    waiting = iter(names)

    async def work(client: ArchiveClient) -> None:
        for name in waiting:
            bar = bars.file(name, len(names))
            target = path_of(folder, settings.venue, name)
            if await client.fetch(name.url_path(settings.venue), target, bar.advance, bar.expect):
                there.add(name)
            bar.done()

    async with ArchiveClient(settings.archive_url) as client:
        tasks = [asyncio.create_task(work(client)) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return there


def _missing(settings: Import, names: list[ArchiveName], there: set[ArchiveName]) -> Iterable[str]:
    """Names the days that the archive does not have, by symbol and kind."""
    for symbol in settings.symbols:
        for kind in dict.fromkeys(settings.kinds):
            mine = [name for name in names if (name.symbol, name.kind) == (symbol, kind)]
            days = [name.first for name in mine if name not in there]
            if days:
                yield f"{symbol} {kind}: not published (404): {spans(days)}"


def spans(days: list[date]) -> str:
    """Days in order as spans: `2024-10-01 to 2024-10-03, 2024-10-07`."""
    runs: list[list[date]] = []
    for day in days:
        if runs and (day - runs[-1][-1]).days == 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


class _Bars:
    """Progress: files done, bytes, bytes/s, and the time left as if files to come were as long as those known."""

    def __init__(self) -> None:
        self.bytes = 0
        self._known: dict[ArchiveName, int] = {}
        self._finished = 0
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(
            *columns, TimeRemainingColumn(), console=console.err, disable=not console.err.is_terminal, transient=True
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "_Bars":
        self._progress.start()
        self._task = self._progress.add_task("downloading", total=None)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def file(self, name: ArchiveName, of: int) -> "_FileBar":
        return _FileBar(self, name, of)

    def advance(self, n_bytes: int) -> None:
        self.bytes += n_bytes
        if self._task is not None:
            self._progress.advance(self._task, n_bytes)

    def expect(self, name: ArchiveName, n_bytes: int, of: int) -> None:
        self._known[name] = n_bytes
        self._show(of)

    def finished(self, of: int) -> None:
        self._finished += 1
        self._show(of)

    def _show(self, of: int) -> None:
        if self._task is None or not self._known:
            return
        mean = sum(self._known.values()) / len(self._known)
        open_files = max(of - self._finished - len(self._known), 0)
        self._progress.update(
            self._task,
            total=round(sum(self._known.values()) + mean * open_files),
            description=f"downloading, {self._finished} of {of} files",
        )


@dataclass(frozen=True, slots=True)
class _FileBar:
    """What one file tells the progress."""

    bars: _Bars
    name: ArchiveName
    of: int

    def advance(self, n_bytes: int) -> None:
        self.bars.advance(n_bytes)

    def expect(self, n_bytes: int) -> None:
        self.bars.expect(self.name, n_bytes, self.of)

    def done(self) -> None:
        self.bars.finished(self.of)
