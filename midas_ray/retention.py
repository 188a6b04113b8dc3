"""`midas clean-data`: delete what MIDAS collected and derived, partition by partition, never without a yes."""

import sys
from datetime import UTC, datetime, timedelta

from midas_ray import console
from midas_ray.capture.journal import OPEN_SUFFIX
from midas_ray.capture.journal_tail import TAIL_SUFFIX
from midas_ray.errors import UsageError
from midas_ray.settings import CleanData
from midas_ray.stats_read import CLEAN_TABLES
from midas_ray.storage import Partition, Storage

TABLES = ("raw", *(f"clean/{table}" for table in CLEAN_TABLES), "clean/manifest", "features", "feature_stats")


def clean_data(settings: CleanData, now: datetime | None = None) -> int:
    """Run `midas clean-data`; gives 0, or 1 where the answer was no.

    Only files in `TABLES` that lie in a partition of venue, symbol and date are touched; a file that a collector has
    open is left. now: the present moment, for tests. Raises UsageError where nobody can be asked.
    """
    storage = Storage.of(settings)
    doomed = _doomed(storage, settings, now or datetime.now(UTC))
    if not doomed:
        console.out.print(f"nothing to delete in {storage.shown_path()}")
        return 0
    total = 0
    for partition, paths in doomed.items():
        n_bytes = sum(file.size for file in storage.find(paths).values())
        total += n_bytes
        console.out.print(f"{partition.path}: {len(paths)} files, {console.size_text(n_bytes)}")
    n_files = sum(map(len, doomed.values()))
    size = console.size_text(total)
    what = f"{n_files} files ({size}) in {len(doomed)} partitions of {storage.shown_path()}"
    if settings.dry_run:
        console.out.print(f"would delete {what}")
        return 0
    if not settings.assume_yes and not _confirmed(what):
        console.out.print("nothing deleted")
        return 1
    for partition, paths in doomed.items():
        storage.delete_partition(partition, paths)
    console.out.print(f"deleted {what}")
    return 0


def _doomed(storage: Storage, settings: CleanData, now: datetime) -> dict[Partition, list[str]]:
    """The files to delete, by partition."""
    found: dict[Partition, list[str]] = {}
    for table in TABLES:
        for partition, paths in storage.partitions(table).items():
            if partition.venue != settings.venue or (settings.symbols and partition.symbol not in settings.symbols):
                continue
            if settings.older_than is not None:
                end = datetime.combine(partition.date, datetime.min.time(), UTC) + timedelta(days=1)
                if end + timedelta(seconds=settings.older_than) > now:
                    continue
            closed = [path for path in paths if not path.endswith((OPEN_SUFFIX, OPEN_SUFFIX + TAIL_SUFFIX))]
            if closed:
                found[partition] = closed
    return found


def _confirmed(what: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(
            "midas clean-data: expected a terminal to ask, found none; add --assume-yes to delete without asking"
        )
    return input(f"delete {what}? [y/N] ").strip().lower() in {"y", "yes"}
