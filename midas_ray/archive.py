"""The data folder for notebooks: `midas_ray.open("data").book("btcusdt", "2026-11-22")` gives a `pl.LazyFrame`."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from midas_ray import tables
from midas_ray.errors import DataError, UsageError
from midas_ray.object_store import polars_options
from midas_ray.storage import Partition, Storage

Moment = str | date | datetime | None

_FAR_PAST, _FAR_FUTURE = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
_LIVE = "live_features"
_INTERVAL_TABLES = ("clean/book", "clean/bars", "features")
"""Tables whose ts is the end of an interval: a row belongs to (start, end], since it is known at its ts."""
_SCHEMAS = {
    "clean/trades": tables.TRADES,
    "clean/gaps": tables.GAPS,
    "clean/mark": tables.MARK,
    "clean/liquidations": tables.LIQUIDATIONS,
}
"""Tables that may rightly have no file: nothing of the kind happened."""


def to_utc(moment: Moment, default: datetime) -> datetime:
    """A time in UTC; without a zone it is taken as UTC, a date as its 00:00. Raises UsageError."""
    if moment is None:
        return default
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise UsageError(f"{moment!r}: expected a time such as 2026-11-22 or 2026-11-22T10:30") from None
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _span(start: Moment, end: Moment) -> tuple[datetime, datetime]:
    begin, stop = to_utc(start, _FAR_PAST), to_utc(end, _FAR_FUTURE)
    if begin > stop:
        raise UsageError(f"start {begin:%Y-%m-%d %H:%M} is after end {stop:%Y-%m-%d %H:%M}: expected start <= end")
    return begin, stop


@dataclass(frozen=True, slots=True)
class Archive:
    """Everything under one DATA_DIR, read lazily. Times are UTC; `start` and `end` may be str, date, datetime or None.

    A table whose ts is the end of an interval (book, bars, features) gives the rows with start < ts <= end, one of
    events (trades, mark, liquidations) those with start <= ts < end, gaps those that overlap [start, end). Files of
    other days are not opened.

    Example:
        day = midas_ray.open("data").features("btcusdt", "2026-11-22", "2026-11-23").collect()
    """

    storage: Storage

    def book(self, symbol: str, start: Moment = None, end: Moment = None, *, venue: str | None = None) -> pl.LazyFrame:
        """Grid rows of the reconstructed book: see `tables.book_schema`. Raises DataError, UsageError."""
        return self._scan("clean/book", symbol, start, end, venue)

    def trades(
        self, symbol: str, start: Moment = None, end: Moment = None, *, venue: str | None = None
    ) -> pl.LazyFrame:
        """Prints: see `tables.TRADES`. Raises DataError, UsageError."""
        return self._scan("clean/trades", symbol, start, end, venue)

    def gaps(self, symbol: str, start: Moment = None, end: Moment = None, *, venue: str | None = None) -> pl.LazyFrame:
        """The gap ledger: see `tables.GAPS`. Raises DataError, UsageError."""
        return self._scan("clean/gaps", symbol, start, end, venue)

    def mark(self, symbol: str, start: Moment = None, end: Moment = None, *, venue: str | None = None) -> pl.LazyFrame:
        """Mark and index price, funding rate: see `tables.MARK`. Raises DataError, UsageError."""
        return self._scan("clean/mark", symbol, start, end, venue)

    def liquidations(
        self, symbol: str, start: Moment = None, end: Moment = None, *, venue: str | None = None
    ) -> pl.LazyFrame:
        """Forced orders: see `tables.LIQUIDATIONS`. Raises DataError, UsageError."""
        return self._scan("clean/liquidations", symbol, start, end, venue)

    def bars(self, symbol: str, start: Moment = None, end: Moment = None, *, venue: str | None = None) -> pl.LazyFrame:
        """The exchange's own 1-minute bars: see `tables.BARS`. Raises DataError, UsageError."""
        return self._scan("clean/bars", symbol, start, end, venue)

    def features(
        self, symbol: str, start: Moment = None, end: Moment = None, *, venue: str | None = None
    ) -> pl.LazyFrame:
        """72 features per bucket: see `features.registry`. Raises DataError, UsageError."""
        return self._scan("features", symbol, start, end, venue)

    def live_features(
        self,
        symbol: str,
        start: Moment = None,
        end: Moment = None,
        *,
        venue: str | None = None,
        time_bucket_ms: int | None = None,
    ) -> pl.LazyFrame:
        """What midas features --live has published, the last revision of each bucket, in the columns of `features`.

        time_bucket_ms: which of several lengths of bucket. Raises DataError, UsageError.
        """
        from midas_ray.live.frame import live_frame  # loads compiled code, which no other table needs

        begin, stop = _span(start, end)
        days = self._days(_LIVE, symbol.lower(), venue)
        paths = [path for day, each in days.items() if begin.date() <= day <= stop.date() for path in each]
        frame = live_frame(self.storage, paths, symbol, time_bucket_ms)
        return frame.lazy().filter((pl.col("ts") > begin) & (pl.col("ts") <= stop))

    def _scan(self, table: str, symbol: str, start: Moment, end: Moment, venue: str | None) -> pl.LazyFrame:
        begin, stop = _span(start, end)
        days = self._days(table, symbol.lower(), venue)
        if not days:
            return pl.LazyFrame(schema=_SCHEMAS[table])
        # A gap lies in the file of the hour it ended in, however long it was.
        last = date.max if table == "clean/gaps" else (stop - timedelta(microseconds=1)).date()
        inside = [path for day, paths in days.items() if begin.date() <= day <= last for path in paths]
        chosen = inside or next(iter(days.values()))[:1]
        if table == "clean/gaps":
            # One by one: ledgers of before and after the column `fault` may lie side by side.
            frame = pl.concat([tables.with_fault(self._lazy([path])) for path in chosen])
            return frame.filter((pl.col("end") >= begin) & (pl.col("start") < stop))
        frame = self._lazy(chosen)
        if table in _INTERVAL_TABLES:
            return frame.filter((pl.col("ts") > begin) & (pl.col("ts") <= stop))
        return frame.filter((pl.col("ts") >= begin) & (pl.col("ts") < stop))

    def _lazy(self, paths: list[str]) -> pl.LazyFrame:
        s3 = self.storage.s3
        # Without hive_partitioning: venue, symbol and date of the folders are no columns of the tables.
        return pl.scan_parquet(
            [self.storage.shown_path(path) for path in paths],
            hive_partitioning=False,
            storage_options=None if s3 is None else polars_options(s3),
            credential_provider=None,  # the storage's own credentials, not those that polars would look for
        )

    def _days(self, table: str, symbol: str, venue: str | None) -> dict[date, list[str]]:
        """Files of the symbol by day. Raises DataError where there are none, UsageError where two venues have some."""
        partitions = self._partitions(table)
        venues = sorted({each.venue for each in partitions if each.symbol == symbol and venue in {None, each.venue}})
        if not venues and table in _SCHEMAS and self._has_clean(symbol, venue):
            return {}
        if not venues:
            found = sorted({each.symbol for each in partitions if venue in {None, each.venue}})
            listed = ", ".join(found) or "no symbol at all"
            place = f"{self.storage.shown}/{table}" + (f" of {venue}" if venue else "")
            raise DataError(f"{place}: expected data of {symbol}, found {listed}")
        if len(venues) > 1:
            raise UsageError(f"{symbol} is there from {' and '.join(venues)}: say which with venue=...")
        return {
            each.date: paths for each, paths in partitions.items() if (each.venue, each.symbol) == (venues[0], symbol)
        }

    def _has_clean(self, symbol: str, venue: str | None) -> bool:
        """The symbol has a book or trades: a table of its events without files then has no rows."""
        return any(
            each.symbol == symbol and venue in {None, each.venue}
            for table in ("clean/book", "clean/trades")
            for each in self._partitions(table)
        )

    def _partitions(self, table: str) -> dict[Partition, list[str]]:
        """The files that MIDAS wrote: whatever else lies beside them is none of the table's."""
        found = self.storage.partitions(table)
        parquet = {each: [path for path in paths if _is_own(table, path)] for each, paths in found.items()}
        return {each: paths for each, paths in parquet.items() if paths}


def _is_own(table: str, path: str) -> bool:
    return path.endswith(".jsonl") if table == _LIVE else tables.is_own(table, path)


def open_archive(data_dir: str) -> Archive:
    """The data folder or URI `data_dir`. Raises StorageError where it cannot be opened, DataError where it is not."""
    storage = Storage(data_dir)
    if not storage.exists(""):
        raise DataError(f"{storage.shown}: expected a data folder, found none; collect or import first")
    return Archive(storage)
