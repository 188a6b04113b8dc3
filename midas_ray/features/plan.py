"""Which days of a symbol are to be computed, and what each hour and day depends on. Reads listings and metadata only.

A day is up to date while its settings are the same and no hour it was made from is new or changed. Hours of the history
that have gone since (old clean data deleted) change nothing: what was known then is still right.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from midas_ray.code_version import code_version
from midas_ray.features.buckets import PriceSource
from midas_ray.features.clean_hour import HourInput, read_clean
from midas_ray.features.daily import DAY_US
from midas_ray.features.day import history_days
from midas_ray.features.hour_rows import HOUR_US
from midas_ray.features.registry import FEATURE_SCHEMA_VERSION
from midas_ray.importers.vision.notes import FOLDER as NOTES_FOLDER
from midas_ray.settings import FeatureSettings
from midas_ray.storage import Partition, Storage

SECOND_MS = 1000
_NO_END = 2**62
_TABLES = ("book", "trades", "mark", "liquidations", "bars")


@dataclass(frozen=True, slots=True)
class SymbolFiles:
    """The clean files of one symbol: per table, start of the hour (microseconds) -> path; the stamp of each path."""

    venue: str
    symbol: str
    tables: dict[str, dict[int, str]]
    stamps: dict[str, str]
    trade_gaps: list[tuple[int, int]]
    """(start, end] of the ledger's stream `trade`, microseconds."""
    archived_days: set[int] = field(default_factory=set)
    """Days (their 00:00) whose trades come from an archive: when they were collected, they tell themselves."""

    @property
    def has_book(self) -> bool:
        return bool(self.tables["book"])

    @property
    def bar_days(self) -> set[int]:
        """Days (their 00:00) whose rows come from the exchange's bars: those with bars but no trades.

        None where the symbol has a book: P is the midprice then, which bars do not have.
        """
        return set() if self.has_book else _days(self.tables["bars"]) - _days(self.tables["trades"])

    @property
    def unused_bar_days(self) -> set[int]:
        """Days of which there are bars alone, but no rows."""
        return _days(self.tables["bars"]) - _days(self.hours)

    @property
    def hours(self) -> list[int]:
        """Hours that rows come from, rising."""
        bar_days = self.bar_days
        bars = {hour for hour in self.tables["bars"] if hour - hour % DAY_US in bar_days}
        return sorted(bars | self.tables["book"].keys() | self.tables["trades"].keys())


def _days(hours: Iterable[int]) -> set[int]:
    return {hour - hour % DAY_US for hour in hours}


@dataclass(frozen=True, slots=True)
class DayPlan:
    """One day to compute."""

    day_us: int
    own: dict[int, str]
    """Hours of the day and the history before it -> hash of what is in them."""
    has_start: bool
    """The first hour of all the symbol's data is among them."""
    from_bars: bool
    """Its rows come from the exchange's bars: it has neither trades nor book."""
    before_deletion: dict[int, str] = field(default_factory=dict)
    """The hash that an hour of `own` had while the hour before it, of which nothing is left, was still there."""


@dataclass(frozen=True, slots=True)
class SymbolPlan:
    """What is to be done for one symbol."""

    files: SymbolFiles
    settings: dict[str, Any]
    """Settings that the features depend on, as kept in the Parquet metadata."""
    hours: dict[int, HourInput] = field(default_factory=dict)
    days: list[DayPlan] = field(default_factory=list)
    """Days that are not up to date, in order."""
    fresh: int = 0
    """Days that are."""


def hour_of(path: str) -> int | None:
    """Start of the hour in microseconds of .../date=D/HH.parquet; None for other files."""
    folder, _, name = path.rpartition("/")
    hour = name.removesuffix(".parquet")
    day = folder.rpartition("date=")[2]
    if not (hour.isdecimal() and len(hour) == 2):
        return None
    return int(datetime.fromisoformat(f"{day}T{hour}:00:00+00:00").timestamp()) * 10**6


def _trade_gaps(storage: Storage, prefix: str, end_us: int) -> list[tuple[int, int]]:
    """Raises SchemaError, CorruptFileError."""
    gaps: list[tuple[int, int]] = []
    for path in storage.list_files(prefix, ".parquet"):
        hour = hour_of(path)
        if hour is None or hour >= end_us:
            continue
        table = read_clean(storage, path, ["stream", "start", "end"])
        starts, ends = (table.column(name).cast(pa.int64()).to_pylist() for name in ("start", "end"))
        streams = table.column("stream").to_pylist()
        gaps += [gap for stream, *gap in zip(streams, starts, ends, strict=True) if stream == "trade"]  # type: ignore[misc]
    return sorted((start, end) for start, end in gaps)


def symbol_files(storage: Storage, venue: str, symbol: str, until_us: int | None = None) -> SymbolFiles:
    """What lies in clean/ for a symbol; until_us: of the hours before that alone."""
    tables: dict[str, dict[int, str]] = {}
    end_us = _NO_END if until_us is None else until_us
    for table in _TABLES:
        paths = storage.list_files(f"clean/{table}/venue={venue}/symbol={symbol}", ".parquet")
        tables[table] = {hour: path for path in paths if (hour := hour_of(path)) is not None and hour < end_us}
    every = [path for table in tables.values() for path in table.values()]
    stamps = dict(zip(every, storage.stamps(every), strict=True))
    gaps = _trade_gaps(storage, f"clean/gaps/venue={venue}/symbol={symbol}", end_us)
    notes = storage.list_files(f"{NOTES_FOLDER}/venue={venue}/symbol={symbol}", "/trades.json")
    return SymbolFiles(venue, symbol, tables, stamps, gaps, {_day_us(path) for path in notes})


def _day_us(path: str) -> int:
    """00:00 of .../date=D/NAME in microseconds."""
    day = path.rpartition("date=")[2].partition("/")[0]
    return int(datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp()) * 10**6


def digest(*parts: Any) -> str:
    """A short hash of JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _own_key(files: SymbolFiles, hour: int, gaps: list[tuple[int, int]], *, had_before: bool = False) -> str:
    """Hash of what is in one hour, without its neighbours; had_before: as if the hour before it were there."""
    paths = [files.tables[table].get(hour) for table in _TABLES]
    trades = files.tables["trades"]
    by_themselves = not files.has_book or hour - hour % DAY_US in files.archived_days
    run = [had_before or hour - HOUR_US in trades, hour + HOUR_US in trades] if by_themselves else []
    return digest([(path, files.stamps[path]) for path in paths if path], gaps, files.has_book, run)


def _gaps_of(files: SymbolFiles, hour: int) -> list[tuple[int, int]]:
    return [gap for gap in files.trade_gaps if gap[0] < hour + HOUR_US and gap[1] >= hour]


def hour_inputs(files: SymbolFiles, bucket_us: int) -> tuple[dict[int, HourInput], dict[int, str]]:
    """(input of the heavy pass, hash of the hour's own content) of every hour."""
    inputs: dict[int, HourInput] = {}
    own: dict[int, str] = {}
    for hour in files.hours:
        gaps = _gaps_of(files, hour)
        own[hour] = _own_key(files, hour, gaps)
        if hour not in files.tables["book"] and hour not in files.tables["trades"]:
            continue
        path = {table: files.tables[table].get(hour) for table in _TABLES}
        before = {table: files.tables[table].get(hour - HOUR_US) for table in ("book", "mark")}
        stamps = [(each, files.stamps[each]) for each in before.values() if each]
        inputs[hour] = HourInput(
            venue=files.venue,
            symbol=files.symbol,
            start_us=hour,
            bucket_us=bucket_us,
            key=digest(code_version("features"), bucket_us, own[hour], stamps),
            book=path["book"],
            book_before=before["book"],
            trades=path["trades"],
            mark=path["mark"],
            mark_before=before["mark"],
            liquidations=path["liquidations"],
            trade_gaps=gaps,
            has_book=files.has_book,
            opens=hour - HOUR_US not in files.tables["trades"],
            closes=hour + HOUR_US not in files.tables["trades"],
        )
    return inputs, own


def features_path(files: SymbolFiles, day_us: int) -> str:
    """Where the features of a day lie."""
    return f"{Partition('features', files.venue, files.symbol, day_date(day_us)).path}/features.parquet"


def day_date(day_us: int) -> date:
    return datetime.fromtimestamp(day_us // 10**6, UTC).date()


def settings_of(settings: FeatureSettings, price_source: PriceSource) -> dict[str, Any]:
    """What the features depend on beside the data."""
    return {
        "schema_version": str(FEATURE_SCHEMA_VERSION),
        "code_version": code_version("features"),
        "time_bucket_ms": str(settings.time_bucket_ms),
        "price_source": price_source,
        "cost_notional_setting": "" if settings.cost_notional is None else repr(settings.cost_notional),
        "vpin_bucket_share": repr(settings.vpin_bucket_share),
    }


def _up_to_date(storage: Storage, path: str, day: DayPlan, settings: dict[str, Any]) -> bool:
    if not storage.exists(path):
        return False
    found = storage.read_parquet_metadata(path)
    if "inputs" not in found or any(found.get(name) != value for name, value in settings.items()):
        return False
    recorded: dict[str, str] = json.loads(found["inputs"])
    current = {str(hour): key for hour, key in day.own.items()}
    earlier = {str(hour): key for hour, key in day.before_deletion.items()}
    if any(recorded.get(hour) not in {key, earlier.get(hour, key)} for hour, key in current.items()):
        return False
    gone = [int(hour) for hour in recorded if hour not in current]
    if any(hour >= day.day_us for hour in gone):
        return False
    # The start of all data moves on when old days are deleted; it moves back only where older data came to be.
    return bool(gone) or day.has_start or found["has_start"] == "False"


def plan_symbol(storage: Storage, files: SymbolFiles, settings: dict[str, Any]) -> SymbolPlan:
    """The days that are not up to date."""
    bucket_us = int(settings["time_bucket_ms"]) * 1000
    inputs, own = hour_inputs(files, bucket_us)
    hours, bar_days = files.hours, files.bar_days
    plan = SymbolPlan(files, settings, inputs)
    fresh = 0
    before_deletion = {hour: _own_key(files, hour, _gaps_of(files, hour), had_before=True) for hour in hours[:1]}
    for day_us in sorted({hour - hour % DAY_US for hour in hours}):
        first = day_us - history_days(bucket_us) * DAY_US
        inside = {hour: own[hour] for hour in hours if first <= hour < day_us + DAY_US}
        has_start = hours[0] in inside
        day = DayPlan(day_us, inside, has_start, day_us in bar_days, before_deletion if has_start else {})
        if _up_to_date(storage, features_path(files, day_us), day, settings):
            fresh += 1
        else:
            plan.days.append(day)
    return SymbolPlan(files, settings, inputs, plan.days, fresh)
