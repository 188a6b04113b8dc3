"""`midas clean-data`: delete by age and size, never what is needed, never without a yes."""

import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from midas_ray import console
from midas_ray.errors import DataError, UsageError
from midas_ray.interrupt import held_back
from midas_ray.retention.choose import Choice, Limits, choose
from midas_ray.retention.models import model_needs
from midas_ray.retention.needs import clean_needs, growing_needs, live_needs, made_from, raw_needs
from midas_ray.retention.units import Key, Need, Unit, list_units
from midas_ray.setting_values import RETENTION_TABLES
from midas_ray.settings import CleanData
from midas_ray.storage import Storage

RELEASED_BY = "--delete-unfinished (what stages need) and --delete-model-data delete these too"


def clean_data(settings: CleanData, now: datetime | None = None) -> int:
    """Run `midas clean-data`; gives 0, or 1 where the answer was no.

    Only files in a partition of venue, symbol and date are touched. now: the present moment, for tests. Raises
    UsageError where nobody can be asked, DataError where --max-size cannot be reached.
    """
    storage = Storage.of(settings)
    units = list_units(storage, settings.venue, settings.symbols)
    choice = choose(
        units,
        settings.tables or RETENTION_TABLES,
        find_needs(storage, units, settings),
        made_from,
        Limits(settings.older_than, settings.max_size),
        now or datetime.now(UTC),
        delete_unfinished=settings.delete_unfinished,
    )
    if settings.dry_run or not settings.assume_yes:
        show(choice, settings.dry_run)
    if not choice.go:
        console.out.print(f"nothing to delete in {storage.shown_path()}")
    elif not delete_chosen(storage, choice, settings):
        return 1
    check_size(choice, settings)
    return 0


def find_needs(storage: Storage, units: dict[Key, Unit], settings: CleanData) -> dict[Key, Need]:
    """What must stay whatever the limits say, but for what the flags release. Raises DataError."""
    needs: dict[Key, Need] = {}
    if not settings.delete_unfinished:
        needs |= live_needs(units)
        for symbol in sorted({key.symbol for key in units}):
            needs |= raw_needs(storage, settings.venue, symbol, settings)
            needs |= clean_needs(storage, settings.venue, symbol, settings)
    if not settings.delete_model_data:
        needs |= model_needs(units, storage, settings.venue, Path(settings.model_dir))
    return needs | growing_needs(units)


def delete_chosen(storage: Storage, choice: Choice, settings: CleanData) -> bool:
    """Delete what is to go, or say what would; False where the answer was no."""
    n_files, size = sum(len(unit.paths) for unit in choice.go), sum(unit.size for unit in choice.go)
    what = f"{n_files} files ({console.size_text(size)}) of {len(choice.go)} symbol-days in {storage.shown_path()}"
    if settings.dry_run:
        console.out.print(f"would delete {what}")
        return True
    if not settings.assume_yes and not _confirmed(what):
        console.out.print("nothing deleted")
        return False
    for unit in choice.go:
        with held_back():  # half a day of clean would make features of half a day
            for partition, paths in unit.partitions.items():
                storage.delete_partition(partition, paths)
    console.out.print(f"deleted {what}")
    return True


def check_size(choice: Choice, settings: CleanData) -> None:
    """Raises DataError where more is left than --max-size allows, as it is needed."""
    if settings.max_size is None or choice.size_left <= settings.max_size:
        return
    limit, left = console.size_text(settings.max_size), console.size_text(choice.size_left)
    raise DataError(
        f"--max-size {limit}: {left} stay, as they are needed (--dry-run says why); run midas reconstruct and midas "
        "features first, or allow more"
    )


def show(choice: Choice, dry_run: bool) -> None:
    """One line for each run of days of a symbol's table that goes, or stays for the same reason."""
    for line in _runs([(unit, "") for unit in choice.go]):
        console.out.print(f"{'would delete' if dry_run else 'delete'} {line}")
    for line in _runs(choice.kept):
        console.out.print(f"keep {line}")
    if choice.held_back:
        console.out.print(RELEASED_BY)


def _runs(units: list[tuple[Unit, str]]) -> list[str]:
    """Days that follow each other with the same reason become one line."""
    lines: list[tuple[Key, date, int, int, str]] = []
    for unit, reason in sorted(units, key=lambda item: (RETENTION_TABLES.index(item[0].key.table), item[0].key)):
        key = unit.key
        first, last, days, size, before = lines[-1] if lines else (key, key.day, 0, 0, None)
        same = (first.table, first.symbol, before) == (key.table, key.symbol, reason)
        if same and key.day - last == timedelta(days=1):
            lines[-1] = first, key.day, days + 1, size + unit.size, reason
        else:
            lines.append((key, key.day, 1, unit.size, reason))
    return [_line(*line) for line in lines]


def _line(first: Key, last: date, days: int, size: int, reason: str) -> str:
    span = f"{first.day}" if days == 1 else f"{first.day} to {last} ({days} days)"
    text = f"{first.table} of {first.symbol} {span}, {console.size_text(size)}"
    return f"{text}: {reason}" if reason else text


def _confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "midas clean-data: expected a terminal to ask, found none; add --assume-yes to delete without asking"
        )
    return input(f"delete {what}? [y/N] ").strip().lower() in {"y", "yes"}
