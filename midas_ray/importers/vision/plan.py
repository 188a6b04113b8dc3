"""Which days of which files are to be read: of several sources of a day the best, in whatever order they come."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date

from midas_ray.code_version import code_version
from midas_ray.errors import DataError, UsageError
from midas_ray.importers.staged import StagedHours
from midas_ray.importers.vision.names import Kind
from midas_ray.importers.vision.notes import TABLE_OF, DayNote, Days, Table
from midas_ray.importers.vision.source import Source
from midas_ray.settings import BookSettings
from midas_ray.tables import SCHEMA_VERSION


@dataclass(slots=True)
class TablePlan:
    """One table of one symbol. todo: days to read of each source. fresh: days that hold the same already.

    kept: days that have a better source, and which.
    """

    symbol: str
    table: Table
    notes: Days
    key: str
    todo: list[tuple[Source, set[date]]] = field(default_factory=list)
    fresh: int = 0
    kept: dict[date, str] = field(default_factory=dict)


def check_symbols(sources: list[Source], symbols: tuple[str, ...]) -> None:
    """Raises UsageError where the files and --symbols are not of the same symbols."""
    for source in sources:
        if symbols and source.name.symbol not in symbols:
            raise UsageError(
                f"{source.path}: expected files of {', '.join(symbols)} (--symbols), found one of "
                f"{source.name.symbol} by its name; leave it out or add its symbol"
            )
    found = sorted({source.name.symbol for source in sources})
    unknown = [symbol for symbol in symbols if symbol not in found]
    if unknown:
        raise UsageError(f"--symbols {','.join(unknown)}: expected symbols of the files, found {', '.join(found)}")


def each_once(sources: list[Source]) -> list[Source]:
    """Files of the same name and content once. Raises DataError where two of a name differ."""
    found: dict[str, Source] = {}
    for source in sources:
        first = found.setdefault(source.file, source)
        if first.sha256 != source.sha256:
            raise DataError(
                f"{source.path}: expected the same content as {first.path}, found SHA-256 {source.sha256} and "
                f"{first.sha256}; import one of them"
            )
    return list(found.values())


def by_table(sources: list[Source]) -> dict[tuple[str, Table], list[Source]]:
    """Sources of trades and quotes by (symbol, table), in order."""
    groups: dict[tuple[str, Table], list[Source]] = {}
    for source in sources:
        kind: Kind = source.name.kind
        if kind in TABLE_OF:
            groups.setdefault((source.name.symbol, TABLE_OF[kind]), []).append(source)
    return dict(sorted(groups.items()))


def content_key(table: Table, settings: BookSettings) -> str:
    """Hash of the code and settings that a table depends on beside the file."""
    book = [settings.snapshot_interval_ms, settings.order_book_depth] if table == "book" else []
    parts = [SCHEMA_VERSION, code_version("importers/vision", "book", "reconstruct"), *book]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def plan_table(
    symbol: str, table: Table, sources: list[Source], notes: Days, key: str, path_of: Callable[[int], str],
    staged: StagedHours,
) -> TablePlan:  # fmt: skip
    """What is to be done for a table of a symbol. path_of: where the file of an hour lies."""
    plan = TablePlan(symbol, table, notes, key)
    best: dict[date, Source] = {}
    for source in sorted(sources, key=lambda source: _rank(source), reverse=True):
        for day in source.name.days:
            best.setdefault(day, source)
    hours = {day: [path_of(hour) for hour in notes[day].hours] for day in best if day in notes}
    existing = staged.storage.existing(path for paths in hours.values() for path in paths)
    todo: dict[str, set[date]] = {}
    for day, source in sorted(best.items()):
        note = notes.get(day)
        there = note is not None and existing.issuperset(hours[day])
        if note is not None and there and note.rank > _rank(source):
            plan.kept[day] = note.file
        elif note is not None and there and _is_same(note, source, key):
            plan.fresh += 1
        else:
            todo.setdefault(source.file, set()).add(day)
    plan.todo = [(source, todo[source.file]) for source in sources if source.file in todo]
    return plan


def _rank(source: Source) -> tuple[bool, bool]:
    return source.name.kind == "trades", not source.name.is_month


def _is_same(note: DayNote, source: Source, key: str) -> bool:
    return (note.file, note.sha256, note.key) == (source.file, source.sha256, key)
