"""The tasks of the heavy pass: each reads and writes files of one symbol-hour, or reads those of one symbol-day.

Three rounds: statistics of every hour; then COST_NOTIONAL of every day, which rests on the statistics of the day
before; then what that notional costs, hour by hour.
"""

from dataclasses import dataclass
from typing import Any

from midas_ray.features.clean_hour import HourInput, read_grid_rows, read_hour
from midas_ray.features.cost import cost_notional, cost_of_hour
from midas_ray.features.coverage import NOTHING
from midas_ray.features.daily import DAY_US
from midas_ray.features.hour import hour_statistics
from midas_ray.features.hour_rows import HOUR_US, Hour
from midas_ray.features.statistics import BookStatistics
from midas_ray.features.store import read_book_statistics, write_cost, write_statistics
from midas_ray.storage import Storage


@dataclass(frozen=True, slots=True)
class NotionalTask:
    """Hours with data of a day and of the day before it."""

    symbol: str
    day_us: int
    bucket_us: int
    hours: list[HourInput]


@dataclass(frozen=True, slots=True)
class CostTask:
    """One hour and the notional of its day."""

    hour: HourInput
    notional_quote: float


def statistics_task(storage: Storage, task: HourInput) -> dict[str, Any]:
    """Statistics of one hour, written."""
    write_statistics(storage, task, hour_statistics(read_hour(storage, task)))
    return {}


def day_book(storage: Storage, hours: list[HourInput], day_us: int, bucket_us: int) -> BookStatistics:
    """Book statistics of all buckets of a day; hours without data are absent."""
    inside = {hour.start_us: hour for hour in hours}
    per_hour = HOUR_US // bucket_us
    return BookStatistics.joined(
        [
            read_book_statistics(storage, inside[start]) if start in inside else BookStatistics.absent(per_hour)
            for start in range(day_us, day_us + DAY_US, HOUR_US)
        ]
    )


def notional_task(storage: Storage, task: NotionalTask) -> dict[str, Any]:
    """COST_NOTIONAL of a day: `quote` (null where it never became known) and `known_from`."""
    before = day_book(storage, task.hours, task.day_us - DAY_US, task.bucket_us)
    notional = cost_notional(before, day_book(storage, task.hours, task.day_us, task.bucket_us), task.bucket_us)
    return {
        "symbol": task.symbol,
        "day_us": task.day_us,
        "quote": notional.quote,
        "known_from": notional.known_from,
    }


def cost_task(storage: Storage, task: CostTask) -> dict[str, Any]:
    """Costs of one hour, written."""
    inputs = task.hour
    book = read_grid_rows(storage, inputs.book, inputs.start_us, inputs.bucket_us, flow=False) if inputs.book else None
    hour = Hour(
        start_us=inputs.start_us,
        bucket_us=inputs.bucket_us,
        book=book,
        before=None,
        prints=None,
        marks=None,
        forced=None,
        uncovered=NOTHING,
    )
    write_cost(storage, inputs, task.notional_quote, cost_of_hour(hour, task.notional_quote))
    return {}
