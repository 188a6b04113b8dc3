"""What DATA_DIR holds of a venue's symbols and days, for `midas stats`: file sizes, Parquet metadata, a few columns."""

import itertools
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from midas_ray import tables
from midas_ray.capture.journal import OPEN_SUFFIX, SUFFIX
from midas_ray.completeness import DAY_US, CleanDay, Completeness, LedgerRow, measure
from midas_ray.errors import CorruptFileError
from midas_ray.storage import Storage

CLEAN_TABLES = ("book", "trades", "gaps", "mark", "liquidations", "bars")
HOUR_NS = 3600 * 10**9
NOT_RECONSTRUCTED = "not reconstructed"
_TRADE_STREAMS = {"trade", "aggTrade"}

Key = tuple[str, date]
"""(symbol, day)."""


@dataclass(slots=True)
class DayStats:
    """A symbol's day. rows: per clean table. span: first and last moment of the book's rows (of the prints without a
    book, of raw files without those). collected_s: how long a collector ran. clean: None without clean files."""

    raw_files: int = 0
    growing_files: int = 0
    raw_bytes: int = 0
    collected_s: float = 0.0
    rows: dict[str, int] = field(default_factory=dict)
    feature_rows: int = 0
    span: tuple[datetime, datetime] | None = None
    clean: CleanDay | None = None
    completeness: Completeness = field(default_factory=Completeness)

    @property
    def bytes_per_day(self) -> float | None:
        """Raw bytes of a whole day at this rate; None where less than a minute was collected."""
        return self.raw_bytes * DAY_US / 1e6 / self.collected_s if self.collected_s >= 60 else None

    @property
    def is_extrapolated(self) -> bool:
        return self.collected_s < 0.99 * DAY_US / 1e6


def collect_stats(storage: Storage, venue: str) -> dict[Key, DayStats]:
    """Figures of every (symbol, day) of a venue, in order. Raises CorruptFileError."""
    days: dict[Key, DayStats] = {}
    hours: dict[str, dict[int, dict[str, int]]] = {}
    for partition, paths in storage.partitions("raw").items():
        files = [path for path in paths if path.endswith((SUFFIX, OPEN_SUFFIX)) and _stamp_ns(path) is not None]
        if partition.venue == venue and files:
            day = days.setdefault((partition.symbol, partition.date), DayStats())
            _add_raw(storage, day, files, hours.setdefault(partition.symbol, {}))
    ledgers: dict[str, list[LedgerRow]] = {}
    for name in (*(f"clean/{table}" for table in CLEAN_TABLES), "features"):
        for partition, paths in storage.partitions(name).items():
            files = [path for path in paths if tables.is_own(name, path)]
            if partition.venue == venue and files:
                day = days.setdefault((partition.symbol, partition.date), DayStats())
                ledger = ledgers.setdefault(partition.symbol, [])
                for path in files:
                    _add_table(storage, day, name.removeprefix("clean/"), path, ledger)
    for symbol in sorted({symbol for symbol, _ in days}):
        _doubt(storage, venue, symbol, days, hours.get(symbol, {}))
        _judge(days, symbol, ledgers.get(symbol, []))
    return dict(sorted(days.items()))


def _stamp_ns(path: str) -> int | None:
    """Receive time of a raw file's first line, in its name."""
    stamp = path.rsplit("/", 1)[1].partition("-")[0]
    return int(stamp) if stamp.isdecimal() else None


def _add_raw(storage: Storage, day: DayStats, files: list[str], hours: dict[int, dict[str, int]]) -> None:
    """Count a day's raw files. A file's span ends with its last change, at the latest where the next begins."""
    stored = storage.find(files)
    files = [path for path in files if path in stored]
    day.raw_files, day.raw_bytes = len(files), sum(file.size for file in stored.values())
    day.growing_files = sum(path.endswith(OPEN_SUFFIX) for path in files)
    rows = sorted((_stamp_ns(path) or 0, stored[path].mtime_ns) for path in files)
    if not rows:
        return  # deleted in the meantime
    last_ns = rows[0][0]
    for (first_ns, changed_ns), following in itertools.zip_longest(rows, rows[1:]):
        most_ns = (first_ns // HOUR_NS + 1) * HOUR_NS if following is None else following[0]
        last_ns = max(first_ns, min(changed_ns, most_ns))
        day.collected_s += (last_ns - first_ns) / 1e9
    day.span = datetime.fromtimestamp(rows[0][0] / 1e9, UTC), datetime.fromtimestamp(last_ns / 1e9, UTC)
    for path in files:
        hours.setdefault((_stamp_ns(path) or 0) // HOUR_NS, {})[path] = stored[path].size


def _add_table(storage: Storage, day: DayStats, table: str, path: str, ledger: list[LedgerRow]) -> None:
    try:
        with storage.open_input(path) as stream:
            parquet = pq.ParquetFile(stream)
            rows, metadata = parquet.metadata.num_rows, parquet.schema_arrow.metadata or {}
            if table == "features":
                day.feature_rows += rows
                return
            day.rows[table] = day.rows.get(table, 0) + rows
            day.clean = day.clean or CleanDay()
            if table == "book":
                _add_book(day, _columns(parquet, "ts", "state"), metadata)
            elif table == "gaps":
                ledger += _ledger_rows(_columns(parquet, "stream", "cause", "start", "end", "recovered"))
            elif table == "trades" and rows:
                _add_trades(day.clean, _columns(parquet, "ts"))
            elif table == "bars":
                day.clean.bars += rows
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise CorruptFileError(
            f"{storage.shown_path(path)}: not a readable Parquet file of clean/{table} ({reason}); "
            "delete it and rerun midas reconstruct"
        ) from None


def _columns(parquet: pq.ParquetFile, *names: str) -> pa.Table:
    """Columns of a file. Raises ArrowInvalid where one is missing: pyarrow passes over it."""
    missing = [name for name in names if name not in parquet.schema_arrow.names]
    if missing:
        raise pa.ArrowInvalid(f"no column {missing[0]}")
    return parquet.read(list(names))


def _add_book(day: DayStats, table: pa.Table, metadata: dict[bytes, bytes]) -> None:
    clean = day.clean
    frame = pl.DataFrame(pl.from_arrow(table)).select(pl.col("ts").to_physical(), pl.col("state").cast(pl.String))
    if clean is None or not len(frame):
        return
    step_us = int(metadata.get(b"snapshot_interval_ms", b"100")) * 1000
    live = frame.filter(pl.col("state") == "live")["ts"]
    first_us, last_us = int(frame["ts"][0]) - step_us, int(frame["ts"][-1])
    before = clean.rows_us or (first_us, last_us)
    clean.rows_us = min(first_us, before[0]), max(last_us, before[1])
    clean.live_us += len(live) * step_us
    clean.grid_us += len(frame) * step_us
    if len(live):
        begins_us = int(live[0]) - step_us
        clean.first_live_us = begins_us if clean.first_live_us is None else min(begins_us, clean.first_live_us)
    if _TRADE_STREAMS.isdisjoint(metadata.get(b"streams", b"").decode().split(",")):
        clean.unheard_us += len(frame) * step_us
    else:
        clean.listens = True


def _add_trades(clean: CleanDay, table: pa.Table) -> None:
    ts_us = table.column("ts").cast(pa.int64()).to_numpy()
    first_us, last_us = int(ts_us.min()), int(ts_us.max())
    before = clean.trades_us or (first_us, last_us)
    clean.trades_us = min(first_us, before[0]), max(last_us, before[1])
    clean.prints += len(ts_us)


def _ledger_rows(table: pa.Table) -> list[LedgerRow]:
    frame = pl.DataFrame(pl.from_arrow(table)).select(
        pl.col("stream", "cause").cast(pl.String), pl.col("start", "end").to_physical(), pl.col("recovered")
    )
    return [LedgerRow(*row) for row in frame.iter_rows()]


def _doubt(
    storage: Storage, venue: str, symbol: str, days: dict[Key, DayStats], raw: dict[int, dict[str, int]]
) -> None:
    """Note on each day which of its hours of raw are not, or no longer, what clean was made from."""
    noted: dict[int, dict[str, Any]] = {}
    for note in storage.read_many(storage.list_files(f"clean/manifest/venue={venue}/symbol={symbol}", ".json")):
        entry = json.loads(note)
        noted[entry["hour"]] = entry
    stale: dict[date, int] = {}
    doubts: dict[date, set[str]] = {}
    for hour, files in raw.items():
        day = datetime.fromtimestamp(hour * 3600, UTC).date()
        entry = noted.get(hour, {})
        stale[day] = stale.get(day, 0) + (not entry or entry.get("raw", files) != files)
        doubts.setdefault(day, set()).update(entry.get("cannot_verify", []))
    for day, found in doubts.items():
        figures = days.get((symbol, day))
        if figures is None:
            continue
        figures.completeness.doubts = sorted(found)
        hours = sum(datetime.fromtimestamp(hour * 3600, UTC).date() == day for hour in raw)
        if figures.clean is None or stale[day] == hours:
            figures.completeness.doubts.append(NOT_RECONSTRUCTED)
        elif stale[day]:
            growing = ", the last is still being written" if figures.growing_files else ""
            figures.completeness.doubts.append(f"{stale[day]} of {hours} hours {NOT_RECONSTRUCTED}{growing}")


def _judge(days: dict[Key, DayStats], symbol: str, ledger: list[LedgerRow]) -> None:
    """Completeness of every day of the symbol; days between on which there is nothing come to be."""
    clean: dict[date, CleanDay] = {}
    for (name, day), figures in days.items():
        if name == symbol and figures.clean is not None:
            figures.clean.doubts = figures.completeness.doubts
            clean[day] = figures.clean
            if figures.clean.grid_us and not any(NOT_RECONSTRUCTED in doubt for doubt in figures.clean.doubts):
                figures.collected_s = figures.clean.grid_us / 1e6  # better than the times of files
            spans = [span for span in (figures.clean.rows_us, figures.clean.trades_us) if span is not None]
            if spans:
                figures.span = _utc(spans[0][0]), _utc(spans[0][1])
    for day, completeness in measure(clean, sorted(set(ledger))).items():
        days.setdefault((symbol, day), DayStats()).completeness = completeness


def _utc(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)
