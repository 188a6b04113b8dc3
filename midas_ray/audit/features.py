"""The features of clean data, computed anew with another future behind a cut and compared with those in features/.

Nothing of the user's is written: what is computed lands in a temporary folder, clean data are read as they are and
changed in memory. Hours that ended by the cut keep their statistics of `feature_stats/`, for their input is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from midas_ray.audit.another_future import clean_with_another_future
from midas_ray.audit.finding import first_difference, moment
from midas_ray.code_version import code_version
from midas_ray.errors import DataError
from midas_ray.features.daily import DAY_US
from midas_ray.features.hour_rows import HOUR_US
from midas_ray.features.pipeline import compute
from midas_ray.features.plan import SymbolFiles, SymbolPlan, day_date, features_path, plan_symbol, symbol_files
from midas_ray.features.registry import FEATURE_NAMES, FEATURE_SCHEMA_VERSION
from midas_ray.features.store import TABLE as STATISTICS
from midas_ray.storage import Storage, StoredFile

T = TypeVar("T")
_SETTINGS = ("time_bucket_ms", "price_source", "cost_notional_setting", "vpin_bucket_share")


class AnotherFuture(Storage):
    """Clean data of `source` with another future after `cut_us`; what is written goes to `folder`."""

    def __init__(self, source: Storage, cut_us: int, folder: str) -> None:
        super().__init__(folder)
        self._source, self._cut_us = source, cut_us

    def _is_past(self, path: str) -> bool:
        """Statistics of an hour that ended by the cut."""
        folder, _, name = path.rpartition("/")
        if not path.startswith(f"{STATISTICS}/"):
            return False
        begun = datetime.fromisoformat(f"{folder.rpartition('date=')[2]}T{name[:2]}:00:00+00:00")
        return int(begun.timestamp()) * 10**6 + HOUR_US <= self._cut_us

    def find(self, paths: Sequence[str]) -> dict[str, StoredFile]:
        """Also the statistics that `source` has of hours before the cut."""
        past = [path for path in paths if self._is_past(path)]
        return super().find(paths) | (self._source.find(past) if past else {})

    def read_parquet(self, relative: str, columns: list[str] | None = None) -> pa.Table:
        """A clean table as it would be with another future, or what was computed."""
        if relative.startswith("clean/"):
            table = self._source.read_parquet(relative, columns)
            return clean_with_another_future(table, relative.split("/")[1], self._cut_us)
        if self._is_past(relative) and not self.exists(relative):
            return self._source.read_parquet(relative, columns)
        return super().read_parquet(relative, columns)

    def read_parquet_metadata(self, relative: str) -> dict[str, str]:
        """Of a clean table: as it is."""
        if relative.startswith("clean/"):
            return self._source.read_parquet_metadata(relative)
        return super().read_parquet_metadata(relative)


class InTurn:
    """Runs the pipeline's tasks in this process."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def __call__(
        self,
        label: str,  # noqa: ARG002
        work: Callable[[Storage, T], dict[str, Any]],
        tasks: Sequence[T],
    ) -> list[dict[str, Any]]:
        return [work(self._storage, task) for task in tasks]


def _day_of(bucket_end_us: int) -> int:
    return (bucket_end_us - 1) // DAY_US * DAY_US


class ComputedFeatures:
    """The stored features of one symbol, and what they were computed with."""

    def __init__(self, storage: Storage, venue: str, symbol: str) -> None:
        self._storage = storage
        self.files: SymbolFiles = symbol_files(storage, venue, symbol)
        self._stale: set[int] | None = None
        self._settings: dict[str, Any] = {}

    @property
    def has_clean(self) -> bool:
        return bool(self.files.hours)

    def _prepare(self, day_us: int) -> None:
        path = features_path(self.files, day_us)
        metadata = self._storage.read_parquet_metadata(path)
        if "inputs" not in metadata:
            raise DataError(f"{path}: expected a file of midas features, found another's; run midas features")
        code = {"schema_version": str(FEATURE_SCHEMA_VERSION), "code_version": code_version("features")}
        settings = code | {name: metadata[name] for name in _SETTINGS}
        if self._stale is None or settings != self._settings:
            self._settings = settings
            self._stale = {day.day_us for day in plan_symbol(self._storage, self.files, settings).days}
        if day_us in self._stale:
            raise DataError(
                f"features of {self.files.symbol}, {day_date(day_us)}: expected them up to date with clean/ and this "
                "version, found older ones; run midas features first"
            )

    def difference(self, cut_us: int, folder: str) -> str | None:
        """The first feature at or before the bucket that ends at `cut_us` that another future changes.

        Raises DataError where the features of that day are not up to date.
        """
        days = sorted({_day_of(cut_us - HOUR_US), _day_of(cut_us)} & {_day_of(hour + 1) for hour in self.files.hours})
        days = [day_us for day_us in days if self._storage.exists(features_path(self.files, day_us))]
        for day_us in days:
            self._prepare(day_us)
        storage = AnotherFuture(self._storage, cut_us, folder)
        failures = compute(storage, [self._plan(storage, days, cut_us)], InTurn(storage))
        if failures:
            raise DataError("; ".join(failures))
        for day_us in days:
            path = features_path(self.files, day_us)
            found = _difference(self._storage.read_parquet(path), Storage(folder).read_parquet(path), cut_us)
            if found is not None:
                return f"{found} of {self.files.symbol} changes with what comes after {moment(cut_us)}"
        return None

    def _plan(self, storage: Storage, days: list[int], cut_us: int) -> SymbolPlan:
        known_gaps = [gap for gap in self.files.trade_gaps if gap[0] < cut_us]
        plan = plan_symbol(storage, replace(self.files, trade_gaps=known_gaps), self._settings)
        return replace(plan, days=[day for day in plan.days if day.day_us in days])


def _difference(expected: pa.Table, found: pa.Table, cut_us: int) -> str | None:
    """The first difference up to the cut, in words. Raises DataError where the future is the same as well."""
    ts_us, other_us = (table.column("ts").cast(pa.int64()).to_numpy() for table in (expected, found))
    if not np.array_equal(ts_us[ts_us <= cut_us], other_us[other_us <= cut_us]):
        return "which buckets exist"
    rows = int((ts_us <= cut_us).sum())
    later_differs = False
    for name in (*FEATURE_NAMES, "coverage", "trades_coverage"):
        before, after = (table.column(name).cast(pa.float64()).to_numpy() for table in (expected, found))
        at = first_difference(before[:rows], after[:rows])
        if at is not None:
            row = at[0]
            return f"{name} at {moment(ts_us[row])} ({before[row]:g} becomes {after[row]:g})"
        later_differs |= first_difference(before[rows:], after[rows:]) is not None
    kinds, other_kinds = (table.column("null_kinds").slice(0, rows).to_pylist() for table in (expected, found))
    for row, (kind, other) in enumerate(zip(kinds, other_kinds, strict=True)):
        if kind != other:
            position = next(i for i, pair in enumerate(zip(kind, other, strict=True)) if pair[0] != pair[1])
            return f"why {FEATURE_NAMES[position]} is null at {moment(ts_us[row])}"
    if len(ts_us) > rows and not later_differs:
        raise DataError(f"audit at {moment(cut_us)}: expected another future to show after it, found the same features")
    return None
