"""The heavy pass's results between runs: `feature_stats/`, one file per symbol-hour, named by the key of its inputs.

An hour whose key has not changed is not computed again. Deleting the folder costs time, never a result.
"""

from dataclasses import fields
from datetime import UTC, datetime

import pyarrow as pa

from midas_ray.features.clean_hour import HourInput
from midas_ray.features.cost import CostStatistics
from midas_ray.features.plan import digest
from midas_ray.features.statistics import BookStatistics, Statistics
from midas_ray.storage import Partition, Storage

TABLE = "feature_stats"
_STATISTICS, _COST = ".statistics.parquet", ".cost.parquet"


def _hour_prefix(task: HourInput) -> tuple[str, str]:
    """(folder, start of the file names) of an hour."""
    moment = datetime.fromtimestamp(task.start_us // 10**6, UTC)
    return Partition(TABLE, task.venue, task.symbol, moment.date()).path, f"{moment:%H}-"


def statistics_path(task: HourInput) -> str:
    return "{}/{}".format(*_hour_prefix(task)) + task.key + _STATISTICS


def cost_path(task: HourInput, notional_quote: float) -> str:
    return "{}/{}".format(*_hour_prefix(task)) + digest(task.key, repr(notional_quote)) + _COST


def _write(storage: Storage, task: HourInput, path: str, table: pa.Table, suffix: str) -> None:
    """Write, then take away what other inputs of the same hour had yielded."""
    storage.write_parquet(path, table)
    folder, start = _hour_prefix(task)
    for old in storage.list_files(folder, suffix):
        if old.startswith(f"{folder}/{start}") and old != path:
            storage.delete(old)


def write_statistics(storage: Storage, task: HourInput, statistics: Statistics) -> None:
    _write(storage, task, statistics_path(task), statistics.to_table(), _STATISTICS)


def read_statistics(storage: Storage, task: HourInput) -> Statistics:
    return Statistics.from_table(storage.read_parquet(statistics_path(task)))


def read_book_statistics(storage: Storage, task: HourInput) -> BookStatistics:
    """The book's part alone."""
    columns = [f"book.{f.name}" for f in fields(BookStatistics)]
    return BookStatistics.from_table(storage.read_parquet(statistics_path(task), columns), "book")


def write_cost(storage: Storage, task: HourInput, notional_quote: float, cost: CostStatistics) -> None:
    _write(storage, task, cost_path(task, notional_quote), pa.table(cost.columns("cost")), _COST)


def read_cost(storage: Storage, task: HourInput, notional_quote: float) -> CostStatistics:
    return CostStatistics.from_table(storage.read_parquet(cost_path(task, notional_quote)), "cost")
