"""What retention deletes or keeps as a whole: one table of one symbol on one UTC day."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Literal, NamedTuple

from midas_ray.features.store import TABLE as STATISTICS
from midas_ray.importers.vision.notes import FOLDER as NOTES
from midas_ray.live.record import TABLE as LIVE
from midas_ray.setting_values import RETENTION_TABLES
from midas_ray.stats_read import CLEAN_TABLES
from midas_ray.storage import Partition, Storage

FOLDERS: dict[str, tuple[str, ...]] = {
    "raw": ("raw",),
    "clean": (*(f"clean/{table}" for table in CLEAN_TABLES), "clean/manifest", NOTES),
    "features": ("features",),
    "feature_stats": (STATISTICS,),
    "live_features": (LIVE,),
}
"""The folders of DATA_DIR behind each name of `--tables`."""

Cause = Literal["collector", "unfinished", "model"]


class Key(NamedTuple):
    """Which table, symbol and day."""

    table: str
    symbol: str
    day: date


class Need(NamedTuple):
    """Why something must stay, and by which flag it goes nevertheless (none where a collector writes it)."""

    cause: Cause
    reason: str


@dataclass(slots=True)
class Unit:
    """Files of one table of a symbol's day by partition, and their bytes together."""

    key: Key
    size: int = 0
    partitions: dict[Partition, list[str]] = field(default_factory=dict)

    @property
    def paths(self) -> list[str]:
        """All files, relative to DATA_DIR."""
        return [path for paths in self.partitions.values() for path in paths]

    @property
    def end(self) -> datetime:
        """When its day was over."""
        return datetime.combine(self.key.day, datetime.min.time(), UTC) + timedelta(days=1)


def list_units(storage: Storage, venue: str, symbols: tuple[str, ...]) -> dict[Key, Unit]:
    """Everything of a venue, of these symbols or all, that retention may touch: files in a partition, nothing else."""
    units: dict[Key, Unit] = {}
    for table in RETENTION_TABLES:
        for folder in FOLDERS[table]:
            partitions = {
                partition: paths
                for partition, paths in storage.partitions(folder).items()
                if partition.venue == venue and (not symbols or partition.symbol in symbols)
            }
            every = [path for paths in partitions.values() for path in paths]
            size_of = dict(zip(every, storage.sizes(every), strict=True))
            for partition, paths in partitions.items():
                key = Key(table, partition.symbol, partition.date)
                unit = units.setdefault(key, Unit(key))
                unit.partitions[partition] = paths
                unit.size += sum(size_of[path] for path in paths)
    return units
