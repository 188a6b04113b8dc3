"""From plans to feature files: four rounds of independent tasks. How tasks are spread is the caller's: Ray, or a loop.

Rounds: statistics (per hour), COST_NOTIONAL (per day), costs (per hour), features (per symbol).
"""

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
from midas_ray.storage import Storage

T = TypeVar("T")
Result = dict[str, Any]


class Spread(Protocol):
    """Runs `work(storage, task)` for every task, in any order and place; gives the results in any order."""

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


def day_notionals(plans: Sequence[SymbolPlan], spread: Spread) -> dict[tuple[str, int], tuple[float | None, int]]:
    """(quote, known_from) of each (symbol, day) to compute."""
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
    for result in spread("cost notional", notional_task, tasks):
        found[result["symbol"], result["day_us"]] = (result["quote"], result["known_from"])
    return found


def compute(storage: Storage, plans: Sequence[SymbolPlan], spread: Spread) -> None:
    """Bring the planned days up to date. Raises what `spread` raises when a task fails."""
    spread("statistics", statistics_task, missing_hours(storage, plans))
    notionals = day_notionals(plans, spread)
    costs: list[CostTask] = []
    for plan in plans:
        for day in plan.days:
            quote, _ = notionals.get((plan.files.symbol, day.day_us), (None, 0))
            if quote is not None:
                costs += [CostTask(hour, quote) for hour in _hours_of_day(plan, day.day_us)]
    there = storage.existing(cost_path(task.hour, task.notional_quote) for task in costs)
    missing = [task for task in costs if cost_path(task.hour, task.notional_quote) not in there]
    spread("costs", cost_task, missing)
    spread("features", light_task, [_symbol_task(plan, notionals) for plan in plans if plan.days])


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
