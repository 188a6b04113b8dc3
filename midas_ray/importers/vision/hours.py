"""Hours of a symbol: which day each is of, and which were made from raw journals."""

from datetime import UTC, date, datetime

from midas_ray import tables
from midas_ray.errors import DataError
from midas_ray.reconstruct.plan import hour_path, read_manifest
from midas_ray.storage import Storage

HOUR_MS = 3_600_000
HOUR_US = HOUR_MS * 1000


def day_of(hour: int) -> date:
    """UTC day of an hour since 1970."""
    return datetime.fromtimestamp(hour * 3600, UTC).date()


class Occupied:
    """Hours of a symbol that were made from raw journals: not to be touched."""

    def __init__(self, storage: Storage, venue: str, symbol: str) -> None:
        self._storage, self._venue, self._symbol = storage, venue, symbol
        self._outputs = {
            hour: [str(path) for path in entry["outputs"]]
            for hour, entry in read_manifest(storage, venue, symbol).items()
        }
        self._known: dict[int, bool] = {}

    def __contains__(self, hour: int) -> bool:
        if hour not in self._known:
            self._known[hour] = any(self._is_foreign(path) for path in self._outputs.get(hour, []))
        return self._known[hour]

    def meets(self, first_hour: int, last_hour: int) -> bool:
        """Whether one of the hours [first, last] is among them."""
        return any(first_hour <= hour <= last_hour and hour in self for hour in self._outputs)

    def check(self, hour: int, table: str, source: str) -> None:
        """Raises DataError where the hour is taken."""
        path = hour_path(f"clean/{table}", self._venue, self._symbol, hour)
        if hour in self or (self._storage.exists(path) and self._is_foreign(path)):
            raise DataError(
                f"{source}: expected no data of {self._symbol} made from raw journals, found {path}, which is never "
                "overwritten; import only the days around it, or into another --data-dir"
            )

    def _is_foreign(self, path: str) -> bool:
        return path.endswith(".parquet") and tables.ORIGIN not in self._storage.read_parquet_metadata(path)
