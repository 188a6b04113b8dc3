"""`midas reconstruct`: plans the hours that are not up to date and spreads them over Ray."""

import time
from collections.abc import Callable
from typing import Any

from midas_ray.errors import DataError, MidasError
from midas_ray.log import Reporter
from midas_ray.progress import duration_text
from midas_ray.ray_session import ray_session
from midas_ray.reconstruct.plan import (
    HourTask,
    RawFile,
    hour_keys,
    misnamed_files,
    plan_tasks,
    raw_files,
    read_manifest,
    up_to_date,
)
from midas_ray.settings import BookSettings, Reconstruct
from midas_ray.spread import Result, cluster_cpus, errors_of, spread
from midas_ray.storage import Storage


def reconstruct(settings: Reconstruct) -> int:
    """Bring clean/ up to date with raw/.

    Raises DataError after all was done that can be, naming every task that failed and every raw file that is damaged,
    holds frames of other symbols or does not say in its name when it begins: also one that an earlier run has met, as
    long as it lies there unchanged.
    """
    storage = Storage.of(settings)
    symbols = chosen_symbols(storage, settings)
    storage.check_writable()
    report = Reporter(storage, "processor")
    started = time.monotonic()
    tasks: list[HourTask] = []
    known: list[str] = []
    fresh = 0
    for symbol in symbols:
        files = raw_files(storage, settings.venue, symbol)
        keys = hour_keys(files, settings)
        manifest = read_manifest(storage, settings.venue, symbol)
        done = up_to_date(files, keys, manifest)
        fresh += len(done)
        known += misnamed_files(storage, settings.venue, symbol)
        known += known_damage(files, [manifest[hour] for hour in done])
        tasks += plan_tasks(settings.venue, symbol, files, keys, done)
    tasks.sort(key=lambda task: task.weight, reverse=True)  # a large one begun last would keep one CPU alone
    results = run_tasks(settings, tasks, report.note) if tasks else []
    for symbol in symbols:
        report.result(summary(symbol, [result for result in results if result["symbol"] == symbol]))
    for copy in dict.fromkeys(copy for result in results for copy in result.get("copies", [])):
        report.result(copy)
    hours = sum(len(task.keys) for task in tasks)
    took = duration_text(time.monotonic() - started) if tasks else "nothing to do"
    report.result(f"reconstruct: {hours} hours looked at, {fresh} up to date, {took}")
    found = [line for name in ("damaged", "foreign") for result in results for line in result.get(name, [])]
    failures = list(dict.fromkeys([*errors_of(results), *found, *known]))
    for failure in failures:
        report.failure(failure)
    if failures:
        raise DataError("; ".join(failures))
    return 0


def known_damage(files: list[RawFile], entries: list[dict[str, Any]]) -> list[str]:
    """Why lines of files are missing that hours were made from, of those that lie there as they were then."""
    stamps = {file.path: file.stamp for file in files}
    notes = {path: note for entry in entries for path, note in entry.get("read", {}).items() if note["damage"]}
    return [note["damage"] for path, note in sorted(notes.items()) if stamps.get(path) == note["stamp"]]


def chosen_symbols(storage: Storage, settings: Reconstruct) -> list[str]:
    """The symbols asked for, or all. Raises DataError where there is nothing raw of them."""
    present = storage.symbols("raw", settings.venue)
    if not present:
        raise DataError(
            f"no raw journals of {settings.venue} under {storage.shown}/raw"
            f"{storage.other_venues(('raw',), settings.venue)}; "
            "run midas collect, midas import or midas simulate --history first"
        )
    missing = [symbol for symbol in settings.symbols if symbol not in present]
    if missing:
        raise DataError(
            f"no raw journals of {', '.join(missing)} under {storage.shown}/raw; found {', '.join(present)}"
        )
    return list(settings.symbols) or present


def run_tasks(settings: Reconstruct, tasks: list[HourTask], note: Callable[[str], None]) -> list[Result]:
    """One task per pack of hours. A task that fails gives its error; the others go on."""
    from midas_ray.reconstruct.task import reconstruct_hours  # it compiles: not where nothing is to be done

    book = {name: getattr(settings, name) for name in BookSettings.model_fields}
    data_dir = Storage.of(settings).address

    def work(task: HourTask) -> Result:
        try:
            return reconstruct_hours(data_dir, task, BookSettings(**book), beside=beside)
        except MidasError as error:
            return {"symbol": task.symbol, "error": str(error)}

    with ray_session(settings):
        beside = len(tasks) < cluster_cpus()  # else every core has a task of its own
        return spread(
            "reconstruct", work, tasks, weight=lambda task: task.weight, size=lambda task: task.raw_bytes, note=note
        )


def summary(symbol: str, results: list[dict[str, Any]]) -> str:
    """One line for a symbol: rows per table, live share, what could not be decoded."""
    good = [result for result in results if "error" not in result]
    if all(result["unchanged"] for result in good):
        return f"{symbol}: " + ("failed" if len(good) < len(results) else "up to date")
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
