"""One reconstruct task: raw files of consecutive hours in, their clean tables out. A shell around `replay`."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import polars as pl

from midas_ray.capture.bookline import BookLine, decode_book_line
from midas_ray.capture.journal import read_blocks
from midas_ray.errors import CorruptFileError, TruncatedFileError
from midas_ray.reconstruct.plan import HOUR_MS, HOUR_NS, SKEW_NS, HourTask, RawFile, hour_path, raw_files
from midas_ray.reconstruct.replay import HourReplay
from midas_ray.reconstruct.tables import decimals_of
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage
from midas_ray.tables import SCHEMA_VERSION
from midas_ray.venues import get_venue

BLOCK_BYTES = 2 * 2**20
_HEAD_BYTES = 64 * 2**10


def file_blocks(storage: Storage, file: RawFile, block_bytes: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Blocks of whole lines of a raw file. A growing file may end in the middle of a line; a sealed one may not.

    Raises CorruptFileError.
    """
    with storage.open_input(file.path) as stream:
        blocks = read_blocks(stream, file.path, block_bytes)
        if not file.growing:
            yield from blocks
            return
        with contextlib.suppress(TruncatedFileError):
            yield from blocks


def file_head(storage: Storage, file: RawFile) -> BookLine | None:
    """The book line that heads a file; None where its book was not live."""
    block = next(iter(file_blocks(storage, file, _HEAD_BYTES)), b"")
    line = block[: block.find(b"\n")]
    if b'"kind":"book"' not in line[:200]:
        return None
    try:
        return decode_book_line(line)
    except msgspec.DecodeError as error:
        raise CorruptFileError(f"{file.path}: damaged book line ({error}); move the file away, then rerun") from None


def first_file(storage: Storage, files: list[RawFile], first_hour: int) -> int:
    """Index of the file to start at: the last that stands alone and surely begins before the hour, else the first."""
    for at in range(len(files) - 1, 0, -1):
        if files[at].first_recv_ns >= first_hour * HOUR_NS - SKEW_NS:
            continue
        head = file_head(storage, files[at])
        if head is not None and first_hour * HOUR_MS > head.T and _knows_last_trade(head):
            return at
    return 0


def _knows_last_trade(head: BookLine) -> bool:
    """A session without a trade so far says nothing of what was lost since the one before."""
    collected = not {"trade", "aggTrade"}.isdisjoint(head.streams)
    return not collected or head.last_trade_id is not None or head.last_agg_id is not None


def reconstruct_hours(data_dir: str, task: HourTask, settings: BookSettings) -> dict[str, Any]:
    """Write the clean tables of the task's hours and their manifest; gives what was done, for the summary.

    All files of the task appear together at the end, or none does. Raises DataError, CorruptFileError, StorageError.
    """
    storage = Storage(data_dir)
    venue = get_venue(task.venue)
    staged: list[tuple[int, str, str]] = []
    rows: dict[str, int] = {}

    def stage(hour: int, table: str, frame: pl.DataFrame, metadata: dict[str, str]) -> None:
        path = hour_path(f"clean/{table}", task.venue, task.symbol, hour)
        common = {
            "schema_version": str(SCHEMA_VERSION),
            "venue": task.venue,
        }
        staged.append((hour, storage.stage_parquet(path, frame.to_arrow(), common | metadata), path))
        rows[table] = rows.get(table, 0) + len(frame)

    def stage_book(hour: int, frame: pl.DataFrame) -> None:
        metadata = decimals_of(frame, replay.scale) | {
            "snapshot_interval_ms": str(settings.snapshot_interval_ms),
            "order_book_depth": str(settings.order_book_depth),
            "streams": ",".join(sorted(replay.streams[hour])),
        }
        stage(hour, "book", frame, metadata)

    replay = HourReplay(venue, task.symbol, task.first_hour, task.last_hour, settings, stage_book)
    try:
        files = raw_files(storage, task.venue, task.symbol)
        goes_on = False
        for file in files[first_file(storage, files, task.first_hour) :]:
            if file.first_recv_ns > (task.last_hour + 1) * HOUR_NS + SKEW_NS and not replay.waits:
                goes_on = True
                break
            replay.feed(file_blocks(storage, file))
        replay.finish(goes_on=goes_on)
        for hour in task.keys:
            trades = replay.trades(hour)
            if trades is not None:
                frame, metadata = trades
                stage(hour, "trades", frame, metadata | decimals_of(frame, replay.scale))
            for table, small in replay.small_tables(hour).items():
                stage(hour, table, small, {})
    except BaseException:
        for _, temporary, _ in staged:
            with contextlib.suppress(OSError):
                storage.delete(temporary)
        raise
    notes = {
        hour: {
            "raw": {file.path: file.size for file in files if file.hour == hour},
            "cannot_verify": ["raw without a head line"] if hour in replay.headless else [],
        }
        for hour in task.keys
    }
    _publish(storage, task, staged, notes)
    tally = replay.tally
    return {
        "symbol": task.symbol,
        "hours": len({hour for hour, _, _ in staged}),
        "rows": rows,
        "live_rows": tally.live_rows,
        "undecodable": tally.undecodable,
        "divergences": tally.divergences,
    }


def _publish(
    storage: Storage, task: HourTask, staged: list[tuple[int, str, str]], notes: dict[int, dict[str, Any]]
) -> None:
    """Give staged files their names, remove what an earlier run left and this one did not write, note it all.

    The manifest of an hour also says which raw files of that hour of receive time were read, and `notes` in general.
    """
    outputs: dict[int, list[str]] = {hour: [] for hour in task.keys}
    for hour, temporary, path in staged:
        storage.publish(temporary, path)
        outputs[hour].append(path)
    for hour, key in task.keys.items():
        manifest = hour_path("clean/manifest", task.venue, task.symbol, hour, ".json")
        if storage.exists(manifest):
            for old in json.loads(storage.read_bytes(manifest))["outputs"]:
                if old not in outputs[hour] and storage.exists(old):
                    storage.delete(old)
        entry = {"hour": hour, "key": key, "outputs": outputs[hour], **notes[hour]}
        storage.write_bytes(manifest, json.dumps(entry).encode())
