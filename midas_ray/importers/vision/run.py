"""`midas import binance-vision`: files of the public archive, at hand or downloaded, into clean tables."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import msgspec
import polars as pl

from midas_ray import console
from midas_ray.errors import UsageError
from midas_ray.importers.klines import stage_klines
from midas_ray.importers.staged import StagedHours
from midas_ray.importers.textfile import check_paths
from midas_ray.importers.vision.book_days import BookDays
from midas_ray.importers.vision.download import download
from midas_ray.importers.vision.hours import Occupied
from midas_ray.importers.vision.joins import Joiner
from midas_ray.importers.vision.notes import AnyDay, Days, Table, note_path, read_notes
from midas_ray.importers.vision.plan import (
    TablePlan,
    by_table,
    check_symbols,
    content_key,
    each_once,
    plan_table,
)
from midas_ray.importers.vision.source import Source, csv_stream, open_source
from midas_ray.importers.vision.summary import lacking_sentence, table_summary, unverified_sentence
from midas_ray.importers.vision.table import Rows
from midas_ray.importers.vision.trade_days import TradeDays
from midas_ray.reconstruct.plan import hour_path
from midas_ray.settings import Import
from midas_ray.storage import Storage

MB = 10**6


@dataclass(slots=True)
class ReadTable:
    """What the files of one table of one symbol came to."""

    plan: TablePlan
    units: set[str] = field(default_factory=set)
    made: Days = field(default_factory=dict)


def import_vision(settings: Import, storage: Storage) -> int:
    """Import `settings.paths`, or what --download names; gives 0, or 1 where a symbol has no file in the archive.

    Nothing is written unless all can be; the same files again change nothing. Raises UsageError, DataError,
    CorruptFileError, VenueError, StorageError: one line each.
    """
    if settings.download and settings.paths:
        raise UsageError("--download FROM TO: expected no PATH beside it, found some; import files or download them")
    if not settings.download and not settings.paths:
        raise UsageError("midas import binance-vision: expected PATH... or --download FROM TO, found neither")
    if not settings.download:
        import_files(settings, storage, check_paths(settings.paths))
        return 0
    fetched = download(settings, storage)
    for line in fetched.lines:
        console.out.print(line, markup=False)
    if fetched.paths:
        import_files(settings.model_copy(update={"symbols": ()}), storage, fetched.paths)
    for symbol in fetched.without:
        console.err.print(
            f"{symbol}: found no file at all in the archive: check --symbols, --venue, --kinds, and the days"
        )
    return 1 if fetched.without else 0


def import_files(settings: Import, storage: Storage, paths: list[Path]) -> None:
    """Import files of the archive and say what came of it. Raises as `import_vision`."""
    with console.progress_bar() as progress, StagedHours(storage) as staged:
        checking = progress.add_task("checking files", total=len(paths))
        sources = []
        for path in paths:
            sources.append(open_source(path))
            progress.advance(checking)
        sources = each_once(sources)
        check_symbols(sources, settings.symbols)
        storage.check_writable()
        plans = [
            _plan(settings, staged, symbol, table, of_table) for (symbol, table), of_table in by_table(sources).items()
        ]
        megabytes = sum(source.path.stat().st_size for plan in plans for source, _ in plan.todo) / MB
        reading = progress.add_task("reading, MB", total=round(megabytes, 1))
        done = [_read(settings, staged, plan, lambda mb: progress.advance(reading, mb)) for plan in plans]
        for symbol in sorted({read.plan.symbol for read in done if read.made}):
            _join(settings, staged, symbol, [read for read in done if read.plan.symbol == symbol])
        klines = [source.path for source in sources if source.name.kind == "klines"]
        every = settings.model_copy(update={"symbols": ()})
        lines = stage_klines(every, storage, klines, progress, staged) if klines else []
        staged.publish()
    for read in done:
        console.out.print(table_summary(read.plan, read.made, read.units), markup=False)
    for line in (*lines, *unverified_sentence(sources), *lacking_sentence(sources)):
        console.out.print(line, markup=False)


def _plan(settings: Import, staged: StagedHours, symbol: str, table: Table, sources: list[Source]) -> TablePlan:
    notes = read_notes(staged.storage, settings.venue, symbol, table)

    def path_of(hour: int) -> str:
        return hour_path(f"clean/{table}", settings.venue, symbol, hour)

    return plan_table(symbol, table, sources, notes, content_key(table, settings), path_of, staged)


def _read(settings: Import, staged: StagedHours, plan: TablePlan, advance: Callable[[float], None]) -> ReadTable:
    """Stage the hours of every day to be read, in the place of those that its earlier source had."""
    read = ReadTable(plan)
    occupied = Occupied(staged.storage, settings.venue, plan.symbol)
    for source, days in plan.todo:

        def stage(hour: int, frame: pl.DataFrame, metadata: dict[str, str], source: Source = source) -> None:
            occupied.check(hour, plan.table, source.file)
            path = hour_path(f"clean/{plan.table}", settings.venue, plan.symbol, hour)
            staged.write(path, frame, {"venue": settings.venue, **metadata})

        made = _read_days(settings, source, days, plan, stage, advance, read.units)
        for day in sorted(days):
            _replace(settings, staged, plan, day, made.get(day))
        read.made |= made
    read.made = dict(sorted(read.made.items()))
    return read


def _read_days(
    settings: Import, source: Source, days: set[date], plan: TablePlan, stage: Callable[..., None],
    advance: Callable[[float], None], units: set[str],
) -> dict[date, AnyDay]:  # fmt: skip
    reader: TradeDays | BookDays
    if plan.table == "trades":
        reader = TradeDays(source, days, plan.key, stage)
    else:
        reader = BookDays(source, days, plan.key, settings, stage)
    with csv_stream(source.path) as (inside, on_disk):
        rows, at = Rows(source, inside), 0
        for block in rows.blocks():
            reader.feed(block)
            advance((on_disk.tell() - at) / MB)
            at = on_disk.tell()
    advance((source.path.stat().st_size - at) / MB)
    if rows.unit is not None:
        units.add(rows.unit.name)
    return dict(reader.finish())


def _replace(settings: Import, staged: StagedHours, plan: TablePlan, day: date, new: AnyDay | None) -> None:
    """Hours and note of a day as its new source says."""
    old = plan.notes.get(day)
    kept = set() if new is None else set(new.hours)
    for hour in [] if old is None else old.hours:
        path = hour_path(f"clean/{plan.table}", settings.venue, plan.symbol, hour)
        if hour not in kept and staged.exists(path) and staged.origin(path) is not None:
            staged.delete(path)
    path = note_path(settings.venue, plan.symbol, day, plan.table)
    if new is not None:
        staged.note(path, msgspec.json.encode(new))
    elif old is not None:
        staged.delete(path)


def _join(settings: Import, staged: StagedHours, symbol: str, read: list[ReadTable]) -> None:
    """Bring the edges of the days that changed, and the ledger, in line."""
    notes: dict[Table, Days] = {}
    for table in ("trades", "book"):
        notes[table] = _whole_days(settings, staged.storage, symbol, table)
    joiner = Joiner(staged, Occupied(staged.storage, settings.venue, symbol), settings.venue, symbol)
    for each in read:
        changed = {day for _, days in each.plan.todo for day in days}
        kept = {day: note for day, note in notes[each.plan.table].items() if day not in changed}
        days = notes[each.plan.table] = dict(sorted((kept | each.made).items()))
        near = set(_around(changed))
        if each.plan.table == "trades":
            joiner.trades(days, near)
        else:
            joiner.book(days, settings, near)
    joiner.ledger(notes["trades"], notes["book"])


def _whole_days(settings: Import, storage: Storage, symbol: str, table: Table) -> Days:
    """Notes of the days of which everything is still there: what was deleted since is not brought back in part."""
    notes = read_notes(storage, settings.venue, symbol, table)
    paths = {
        day: [hour_path(f"clean/{table}", settings.venue, symbol, hour) for hour in note.hours]
        for day, note in notes.items()
    }
    there = storage.existing(path for each in paths.values() for path in each)
    return {day: note for day, note in notes.items() if there.issuperset(paths[day])}


def _around(days: set[date]) -> Iterator[date]:
    for day in days:
        yield from (day - timedelta(days=1), day, day + timedelta(days=1))
