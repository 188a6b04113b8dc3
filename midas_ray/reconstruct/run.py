"""`midas reconstruct`: plans the hours that are not up to date and spreads them over Ray."""

import time
from typing import Any

from midas_ray.errors import DataError, MidasError
from midas_ray.log import Reporter
from midas_ray.ray_session import ray_session
from midas_ray.reconstruct.plan import HourTask, hour_keys, plan_tasks, raw_files, read_manifest
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings, Reconstruct
from midas_ray.spread import Result, errors_of, spread
from midas_ray.storage import Storage


def reconstruct(settings: Reconstruct) -> int:
    """Bring clean/ up to date with raw/. Raises DataError naming every task that failed, after the others finished."""
    storage = Storage(settings.data_dir)
    symbols = chosen_symbols(storage, settings)
    storage.check_writable()
    report = Reporter(storage, "processor")
    started = time.monotonic()
    tasks: list[HourTask] = []
    fresh = 0
    for symbol in symbols:
        files = raw_files(storage, settings.venue, symbol)
        keys = hour_keys(files, settings)
        done = {hour: str(entry["key"]) for hour, entry in read_manifest(storage, settings.venue, symbol).items()}
        fresh += sum(done.get(hour) == key for hour, key in keys.items())
        tasks += plan_tasks(settings.venue, symbol, files, keys, done)
    results = run_tasks(settings, tasks) if tasks else []
    for symbol in symbols:
        report.result(summary(symbol, [result for result in results if result["symbol"] == symbol]))
    hours = sum(len(task.keys) for task in tasks)
    report.result(f"reconstruct: {hours} hours looked at, {fresh} up to date, {time.monotonic() - started:.1f} s")
    failures = errors_of(results)
    for failure in failures:
        report.failure(failure)
    if failures:
        raise DataError("; ".join(failures))
    return 0


def chosen_symbols(storage: Storage, settings: Reconstruct) -> list[str]:
    """The symbols asked for, or all. Raises DataError where there is nothing raw of them."""
    present = storage.symbols("raw", settings.venue)
    if not present:
        raise DataError(
            f"no raw journals of {settings.venue} under {settings.data_dir}/raw"
            f"{storage.other_venues(('raw',), settings.venue)}; "
            "run midas collect, midas import or midas simulate --history first"
        )
    missing = [symbol for symbol in settings.symbols if symbol not in present]
    if missing:
        raise DataError(
            f"no raw journals of {', '.join(missing)} under {settings.data_dir}/raw; found {', '.join(present)}"
        )
    return list(settings.symbols) or present


def run_tasks(settings: Reconstruct, tasks: list[HourTask]) -> list[Result]:
    """One Ray Data task per pack of hours. A task that fails gives its error; the others go on."""
    book = {name: getattr(settings, name) for name in BookSettings.model_fields}
    data_dir = Storage(settings.data_dir).root if "://" not in settings.data_dir else settings.data_dir

    def work(task: HourTask) -> Result:
        try:
            return reconstruct_hours(data_dir, task, BookSettings(**book))
        except MidasError as error:
            return {"symbol": task.symbol, "error": str(error)}

    with ray_session(settings):
        return spread("reconstruct", work, tasks)


def summary(symbol: str, results: list[dict[str, Any]]) -> str:
    """One line for a symbol: rows per table, live share, what could not be decoded."""
    good = [result for result in results if "error" not in result]
    if not good:
        return f"{symbol}: " + ("failed" if results else "up to date")
    rows: dict[str, int] = {}
    for result in good:
        for table, count in result["rows"].items():
            rows[table] = rows.get(table, 0) + (count or 0)
    live = sum(result["live_rows"] for result in good)
    book = max(rows.get("book", 0), 1)
    parts = [f"{table} {count:,}" for table, count in rows.items()]
    parts.append(f"live {100 * live / book:.2f} %")
    for name in ("undecodable", "divergences"):
        count = sum(result[name] for result in good)
        if count:
            parts.append(f"{name} {count:,}")
    return f"{symbol}: " + ", ".join(parts)
