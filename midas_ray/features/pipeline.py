"""From plans to feature files: four rounds of independent tasks. How tasks are spread is the caller's: Ray, or a loop.

Rounds: statistics (per hour), COST_NOTIONAL (per day), costs (per hour), features (per some days of a symbol).
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from midas_ray.features.buckets import PriceSource
from midas_ray.features.clean_hour import HourInput
from midas_ray.features.daily import DAY_US
from midas_ray.features.heavy import CostTask, NotionalTask, cost_task, notional_task, statistics_task
from midas_ray.features.light import DayTask, SymbolTask, light_task
from midas_ray.features.plan import DayPlan, SymbolPlan, features_path
from midas_ray.features.store import cost_path, statistics_path
from midas_ray.spread import errors_of
from midas_ray.storage import Storage

T = TypeVar("T")
Result = dict[str, Any]

DAYS_A_TASK = 8
"""Days of a symbol that share a task of the light pass: each reads the history before its first one."""


class Spread(Protocol):
    """Runs `work(storage, task)` for every task, in any order and place; gives the results in any order.

    A task that fails may raise, or give {"error": its line}: then the days that need it are left out.
    """

    def __call__(self, label: str, work: Callable[[Storage, T], Result], tasks: Sequence[T]) -> list[Result]: ...


def _hours_of_day(plan: SymbolPlan, day_us: int) -> list[HourInput]:
    return [each for hour, each in sorted(plan.hours.items()) if day_us <= hour < day_us + DAY_US]


def _window(plan: SymbolPlan, day: DayPlan) -> list[HourInput]:
    return [plan.hours[hour] for hour in sorted(day.own) if hour in plan.hours]


def missing_hours(storage: Storage, plans: Sequence[SymbolPlan]) -> list[HourInput]:
    """Hours that the days to compute need and that have no statistics yet."""
    hours: list[HourInput] = []
    for plan in plans:
        starts = sorted({hour for day in plan.days for hour in day.own if hour in plan.hours})
        hours += [plan.hours[start] for start in starts]
    there = storage.existing(map(statistics_path, hours))
    return [hour for hour in hours if statistics_path(hour) not in there]


def day_notionals(
    plans: Sequence[SymbolPlan], spread: Spread
) -> tuple[dict[tuple[str, int], tuple[float | None, int]], list[str]]:
    """(quote, known_from) of each (symbol, day) to compute, and a line for each that failed."""
    found: dict[tuple[str, int], tuple[float | None, int]] = {}
    tasks: list[NotionalTask] = []
    for plan in plans:
        setting = plan.settings["cost_notional_setting"]
        bucket_us = int(plan.settings["time_bucket_ms"]) * 1000
        for day in plan.days:
            if setting:
                found[plan.files.symbol, day.day_us] = (float(setting), 0)
            elif not day.from_bars:
                hours = _hours_of_day(plan, day.day_us - DAY_US) + _hours_of_day(plan, day.day_us)
                tasks.append(NotionalTask(plan.files.symbol, day.day_us, bucket_us, hours))
    results = spread("cost notional", notional_task, tasks)
    for result in results:
        if "error" not in result:
            found[result["symbol"], result["day_us"]] = (result["quote"], result["known_from"])
    return found, errors_of(results)


def compute(storage: Storage, plans: Sequence[SymbolPlan], spread: Spread) -> list[str]:
    """Bring the planned days up to date; gives a line for each task that failed, whose days stay as they were.

    Raises what `spread` raises.
    """
    failures = errors_of(spread("statistics", statistics_task, missing_hours(storage, plans)))
    if failures:
        plans = _without_hours(plans, missing_hours(storage, plans))
    notionals, failed = day_notionals(plans, spread)
    failures += failed
    if failed:
        plans = [_with_notional(plan, notionals) for plan in plans]
    costs: list[CostTask] = []
    for plan in plans:
        for day in plan.days:
            quote, _ = notionals.get((plan.files.symbol, day.day_us), (None, 0))
            if quote is not None:
                costs += [CostTask(hour, quote) for hour in _hours_of_day(plan, day.day_us)]
    there = storage.existing(cost_path(task.hour, task.notional_quote) for task in costs)
    missing = [task for task in costs if cost_path(task.hour, task.notional_quote) not in there]
    failed = errors_of(spread("costs", cost_task, missing))
    failures += failed
    if failed:
        there = storage.existing(cost_path(task.hour, task.notional_quote) for task in missing)
        lost = [task.hour for task in missing if cost_path(task.hour, task.notional_quote) not in there]
        plans = _without_hours(plans, lost)
    tasks = [
        _symbol_task(dataclasses.replace(plan, days=plan.days[first : first + DAYS_A_TASK]), notionals)
        for plan in plans
        for first in range(0, len(plan.days), DAYS_A_TASK)
    ]
    return failures + errors_of(spread("features", light_task, tasks))


def _without_hours(plans: Sequence[SymbolPlan], lost: Sequence[HourInput]) -> list[SymbolPlan]:
    """The plans without the days that need one of these hours."""
    gone = {(hour.symbol, hour.start_us) for hour in lost}
    return [
        dataclasses.replace(
            plan, days=[day for day in plan.days if not any((plan.files.symbol, hour) in gone for hour in day.own)]
        )
        for plan in plans
    ]


def _with_notional(plan: SymbolPlan, notionals: dict[tuple[str, int], tuple[float | None, int]]) -> SymbolPlan:
    """The plan without the days whose COST_NOTIONAL could not be told."""
    days = [day for day in plan.days if day.from_bars or (plan.files.symbol, day.day_us) in notionals]
    return dataclasses.replace(plan, days=days)


def _bar_paths(plan: SymbolPlan) -> list[str]:
    """Files of the days that come from bars, and of their history as far as it has some."""
    bars = plan.files.tables["bars"]
    return [
        bars[hour] for hour in sorted({hour for day in plan.days if day.from_bars for hour in day.own if hour in bars})
    ]


def _symbol_task(plan: SymbolPlan, notionals: dict[tuple[str, int], tuple[float | None, int]]) -> SymbolTask:
    files, settings = plan.files, plan.settings
    price_source: PriceSource = settings["price_source"]
    days = []
    for day in plan.days:
        quote, known_from = notionals.get((files.symbol, day.day_us), (None, 0))
        metadata = settings | {
            "venue": files.venue,
            "symbol": files.symbol,
            "cost_notional": "" if quote is None else repr(quote),
            "has_start": str(day.has_start),
            "inputs": json.dumps({str(hour): key for hour, key in sorted(day.own.items())}),
        }
        days.append(
            DayTask(
                day_us=day.day_us,
                path=features_path(files, day.day_us),
                hours=[hour.start_us for hour in _window(plan, day)],
                has_start=day.has_start,
                from_bars=day.from_bars,
                cost_quote=quote,
                cost_known_from=known_from,
                metadata=metadata,
            )
        )
    bucket_us = int(settings["time_bucket_ms"]) * 1000
    named = sorted({start for day in days for start in day.hours})
    return SymbolTask(
        venue=files.venue,
        symbol=files.symbol,
        bucket_us=bucket_us,
        price_source=price_source,
        vpin_bucket_share=float(settings["vpin_bucket_share"]),
        hours=[plan.hours[start] for start in named],
        bar_paths=_bar_paths(plan),
        days=days,
    )
