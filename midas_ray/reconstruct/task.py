"""One reconstruct task: raw files of consecutive hours in, their clean tables out. A shell around `replay`."""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl

from midas_ray.capture.bookline import BookLine
from midas_ray.reconstruct.plan import HOUR_MS, HOUR_NS, SKEW_NS, HourTask, RawFile, hour_path, raw_files
from midas_ray.reconstruct.raw_file import content_digest, file_head
from midas_ray.reconstruct.replay import HourReplay
from midas_ray.reconstruct.tables import decimals_of
from midas_ray.reconstruct.work import TaskWork, read_entry
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage
from midas_ray.venues import get_venue

SAME_START_NS = 10**6
"""Files whose first lines are so close together may be copies of each other: a task begins at the first of them."""


def reconstruct_hours(data_dir: str, task: HourTask, settings: BookSettings, *, beside: bool = True) -> dict[str, Any]:
    """Write the clean tables of the task's hours and their manifest; gives what was done, for the summary.

    Nothing is written before all was read. A damaged raw file is used but for what is damaged in it, and named
    (`damaged`); so are frames of other symbols (`foreign`) and copies of files (`copies`). Where the raw files only
    have other times than before, their content alone is looked at. beside: whether raw files are decompressed and clean
    files made in threads of their own, where cores are free. Raises DataError, StorageError.
    """
    storage = Storage(data_dir)
    files = raw_files(storage, task.venue, task.symbol)
    if _only_touched(storage, task, files):
        return _result(task, {}, unchanged=len(task.keys))
    with contextlib.ExitStack() as threads:
        encoder = threads.enter_context(ThreadPoolExecutor(1)) if beside else None
        return _made(TaskWork(storage, task, encoder), files, settings)


def _made(work: TaskWork, files: list[RawFile], settings: BookSettings) -> dict[str, Any]:
    """Read, replay and write."""
    storage, task = work.storage, work.task

    def add_book(hour: int, frame: pl.DataFrame) -> None:
        metadata = decimals_of(frame, replay.scale) | {
            "snapshot_interval_ms": str(settings.snapshot_interval_ms),
            "order_book_depth": str(settings.order_book_depth),
            "streams": ",".join(sorted(replay.streams[hour])),
        }
        newest_us.extend(frame["ts"].dt.epoch("us").tail(1))
        work.add(hour, "book", frame.to_arrow(), metadata)

    newest_us: list[int] = []
    replay = HourReplay(get_venue(task.venue), task.symbol, task.first_hour, task.last_hour, settings, add_book)
    goes_on = False
    for file in files[first_file(storage, files, task.first_hour) :]:
        if file.first_recv_ns > (task.last_hour + 1) * HOUR_NS + SKEW_NS and not replay.waits:
            goes_on = True
            break
        work.feed(replay, file)
    replay.finish(goes_on=goes_on)
    for hour in task.keys:
        trades = replay.trades(hour)
        if trades is not None:
            frame, metadata = trades
            work.add(hour, "trades", frame.to_arrow(), metadata | decimals_of(frame, replay.scale))
        for table, small in replay.small_tables(hour).items():
            work.add(hour, table, small.to_arrow(), {})
    work.publish(files, replay.headless)
    return _result(task, work.rows) | {
        "newest_us": {"book": max(newest_us)} if newest_us else {},
        "live_rows": replay.tally.live_rows,
        "undecodable": replay.tally.undecodable,
        "divergences": replay.tally.divergences,
        "damaged": list(work.damaged.values()),
        "foreign": work.foreign,
        "copies": work.copies,
    }


def _result(task: HourTask, rows: dict[str, int], unchanged: int = 0) -> dict[str, Any]:
    counts = dict.fromkeys(("live_rows", "undecodable", "divergences"), 0)
    names: dict[str, list[str]] = {"damaged": [], "foreign": [], "copies": []}
    return {"symbol": task.symbol, "rows": rows, "unchanged": unchanged, **counts, **names}


def _only_touched(storage: Storage, task: HourTask, files: list[RawFile]) -> bool:
    """Whether every hour was made from files of just this content, which only have new times; these are noted then."""
    entries: dict[str, dict[str, Any]] = {}
    for hour, key in task.keys.items():
        path = hour_path("clean/manifest", task.venue, task.symbol, hour, ".json")
        entry = entries[path] = read_entry(storage, path)
        if entry.get("key") != key or not all(map(storage.exists, entry["outputs"])):
            return False
    by_path = {file.path: file for file in files}
    notes = [(path, note) for entry in entries.values() for path, note in entry.get("read", {}).items()]
    if all(path in by_path and by_path[path].stamp == note["stamp"] for path, note in notes):
        return False  # nothing was touched: whoever asks for the hours wants them made
    for path in dict.fromkeys(path for path, _ in notes):
        wanted = {entry["read"][path]["digest"] for entry in entries.values() if path in entry["read"]}
        if None in wanted or path not in by_path or wanted != {content_digest(storage, path)}:
            return False
    for path, note in notes:
        note["stamp"] = by_path[path].stamp
    for manifest, entry in entries.items():
        storage.write_bytes(manifest, json.dumps(entry).encode())
    return True


def first_file(storage: Storage, files: list[RawFile], first_hour: int) -> int:
    """Index of the file to start at: the last that stands alone and surely begins before the hour, else the first."""
    for at in range(len(files) - 1, 0, -1):
        if files[at].first_recv_ns >= first_hour * HOUR_NS - SKEW_NS:
            continue
        head = file_head(storage, files[at])
        if head is not None and first_hour * HOUR_MS > head.T and _knows_last_trade(head):
            while at > 0 and files[at].first_recv_ns - files[at - 1].first_recv_ns < SAME_START_NS:
                at -= 1
            return at
    return 0


def _knows_last_trade(head: BookLine) -> bool:
    """A session without a trade so far says nothing of what was lost since the one before."""
    collected = not {"trade", "aggTrade"}.isdisjoint(head.streams)
    return not collected or head.last_trade_id is not None or head.last_agg_id is not None
