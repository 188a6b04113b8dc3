"""`midas stats`: what DATA_DIR holds, per symbol and day, from file sizes and Parquet metadata."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from midas_ray import console
from midas_ray.capture.journal import OPEN_SUFFIX, SUFFIX
from midas_ray.errors import CorruptFileError, DataError
from midas_ray.settings import Stats
from midas_ray.storage import Storage

CLEAN_TABLES = ("book", "trades", "gaps", "mark", "liquidations", "bars")
PLAIN_WIDTH = 200
FEATURES_FILE = "/features.parquet"


@dataclass(slots=True)
class DayStats:
    """A symbol's day. span: first and last moment of clean rows (of raw files without them). live, book_rows: rows of
    clean/book that are live, and all of them. gaps: of the book and the trades; longest_gap_s among them."""

    raw_files: int = 0
    growing_files: int = 0
    raw_bytes: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    feature_rows: int = 0
    span: tuple[datetime, datetime] | None = None
    live: int = 0
    gaps: int = 0
    longest_gap_s: float = 0.0

    @property
    def completeness(self) -> float | None:
        """Live share of the book rows; None without any. Where no collector ran there are no rows."""
        rows = self.rows.get("book", 0)
        return self.live / rows if rows else None


def stats(settings: Stats) -> int:
    """Run `midas stats`; gives the exit code. Raises DataError where there is nothing, CorruptFileError."""
    storage = Storage(settings.data_dir)
    days = collect_stats(storage, settings.venue)
    chosen = {key: day for key, day in days.items() if not settings.symbols or key[0] in settings.symbols}
    if not chosen:
        wanted = ", ".join(settings.symbols) or "any symbol"
        raise DataError(
            f"{storage.root}: expected data of {wanted} of {settings.venue}, found none; "
            "collect (midas up, midas collect) or import some (midas import)"
        )
    out = console.out if console.out.is_terminal else Console(width=PLAIN_WIDTH, highlight=False)
    out.print(_table(chosen))
    total = sum(day.raw_bytes for day in chosen.values())
    console.out.print(f"{len(chosen)} symbol-days, {console.size_text(total)} raw, {storage.root}")
    return 0


def collect_stats(storage: Storage, venue: str) -> dict[tuple[str, date], DayStats]:
    """Figures of every (symbol, day) of a venue, in order."""
    days: dict[tuple[str, date], DayStats] = {}
    for partition, paths in storage.partitions("raw").items():
        files = [path for path in paths if path.endswith((SUFFIX, OPEN_SUFFIX))]
        if partition.venue == venue and files:
            day = days.setdefault((partition.symbol, partition.date), DayStats())
            day.raw_files = len(files)
            day.growing_files = sum(path.endswith(OPEN_SUFFIX) for path in files)
            day.raw_bytes = sum(storage.sizes(files))
            day.span = _raw_span(storage, files)
    for name in (*(f"clean/{table}" for table in CLEAN_TABLES), "features"):
        for partition, paths in storage.partitions(name).items():
            files = [path for path in paths if path.endswith(".parquet" if name != "features" else FEATURES_FILE)]
            if partition.venue == venue and files:
                day = days.setdefault((partition.symbol, partition.date), DayStats())
                _add_table(storage, day, name.removeprefix("clean/"), files)
    return dict(sorted(days.items()))


def _raw_span(storage: Storage, files: list[str]) -> tuple[datetime, datetime]:
    """From the first line of the first file, in its name, to the last change of the last."""
    stamps = [int(path.rsplit("/", 1)[1].partition("-")[0]) for path in files]
    first = datetime.fromtimestamp(min(stamps) / 1e9, UTC)
    changed = [info.mtime_ns for info in storage.fs.get_file_info([f"{storage.root}/{path}" for path in files])]
    return first, max(first, datetime.fromtimestamp(max(changed) / 1e9, UTC))


def _add_table(storage: Storage, day: DayStats, table: str, files: list[str]) -> None:
    spans = []
    for path in files:
        try:
            with storage.open_input(path) as stream:
                parquet = pq.ParquetFile(stream)
                rows = parquet.metadata.num_rows
                spans += _row_group_spans(parquet.metadata)
                if table == "book":
                    states = parquet.read(columns=["state"]).column("state").cast(pa.string())
                    day.live += pc.sum(pc.equal(states, "live")).as_py() or 0
                if table == "gaps":
                    _add_gaps(day, parquet.read(columns=["start", "end"]))
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            raise CorruptFileError(
                f"{storage.root}/{path}: not a readable Parquet file ({reason}); delete it and rerun its stage"
            ) from None
        if table == "features":
            day.feature_rows += rows
        else:
            day.rows[table] = day.rows.get(table, 0) + rows
    if table == "book" and spans:
        day.span = min(span[0] for span in spans), max(span[1] for span in spans)


def _row_group_spans(metadata: pq.FileMetaData) -> list[tuple[datetime, datetime]]:
    """(first, last) `ts` of each row group that has its statistics."""
    if "ts" not in metadata.schema.names:
        return []
    column = metadata.schema.names.index("ts")
    found = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column).statistics
        if statistics is not None and statistics.has_min_max:
            found.append((_utc(statistics.min), _utc(statistics.max)))
    return found


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _add_gaps(day: DayStats, table: pa.Table) -> None:
    day.gaps += table.num_rows
    for start, end in zip(table.column("start").to_pylist(), table.column("end").to_pylist(), strict=True):
        if start is not None and end is not None:
            day.longest_gap_s = max(day.longest_gap_s, (end - start).total_seconds())


def _table(days: dict[tuple[str, date], DayStats]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("symbol", "date"):
        table.add_column(title, no_wrap=True)
    shown = tuple(name for name in CLEAN_TABLES if name != "gaps")
    titles = ("raw files", "raw", *shown, "features", "complete", "gaps", "longest s")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("span (UTC)", no_wrap=True)
    for (symbol, day), figures in days.items():
        growing = f" ({figures.growing_files} open)" if figures.growing_files else ""
        complete = "-" if figures.completeness is None else f"{100 * figures.completeness:.2f} %"
        span = "-" if figures.span is None else " - ".join(f"{moment:%H:%M:%S}" for moment in figures.span)
        table.add_row(
            symbol,
            day.isoformat(),
            f"{figures.raw_files}{growing}",
            console.size_text(figures.raw_bytes),
            *(str(figures.rows.get(name, 0)) for name in shown),
            str(figures.feature_rows),
            complete,
            str(figures.gaps),
            f"{figures.longest_gap_s:.1f}",
            span,
        )
    return table
