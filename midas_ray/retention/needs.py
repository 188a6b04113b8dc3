"""What unfinished stages and collectors still need of a symbol's days: asked of the stages' own plans."""

from datetime import UTC, date, datetime, timedelta

from midas_ray.capture.journal import OPEN_SUFFIX
from midas_ray.capture.journal_tail import TAIL_SUFFIX
from midas_ray.features.day import history_days
from midas_ray.features.plan import day_date, plan_symbol, settings_of, symbol_files
from midas_ray.reconstruct.plan import (
    RawFile,
    file_before,
    hour_keys,
    near_files,
    raw_files,
    read_manifest,
    up_to_date,
)
from midas_ray.reconstruct.task import first_file
from midas_ray.retention.units import Key, Need, Unit
from midas_ray.settings import BookSettings, FeatureSettings
from midas_ray.storage import Storage

DAY = timedelta(days=1)
CARRIED_DAYS = 1
"""Days before the history of a day whose last hour its first hour reads."""
_COLLECTOR = Need("collector", "a collector writes to it")


def day_of(hour: int) -> date:
    """UTC day of an hour since the epoch."""
    return datetime.fromtimestamp(hour * 3600, UTC).date()


def growing_needs(units: dict[Key, Unit]) -> dict[Key, Need]:
    """Days of raw with a file that a collector has open, or left so and will seal."""
    ends = (OPEN_SUFFIX, OPEN_SUFFIX + TAIL_SUFFIX)
    return {key: _COLLECTOR for key, unit in units.items() if any(path.endswith(ends) for path in unit.paths)}


def live_needs(units: dict[Key, Unit]) -> dict[Key, Need]:
    """The newest day of what `midas features --live` has published of each symbol."""
    newest: dict[str, Key] = {}
    for key in sorted(key for key in units if key.table == "live_features"):
        newest[key.symbol] = key
    return {key: Need("unfinished", "midas features --live goes on from there") for key in newest.values()}


def raw_needs(storage: Storage, venue: str, symbol: str, settings: BookSettings) -> dict[Key, Need]:
    """Days of raw that `midas reconstruct` reads: for hours that are not up to date, and for the next hour to come."""
    files = raw_files(storage, venue, symbol)
    if not files:
        return {}
    keys = hour_keys(files, settings)
    done = up_to_date(files, keys, read_manifest(storage, venue, symbol))
    found: dict[Key, Need] = {}
    for first, last in _runs(sorted(set(keys) - set(done))):
        need = Need("unfinished", f"not reconstructed yet: {_span_text(first, last)}")
        for file in _read_by(storage, files, first, last):
            found.setdefault(Key("raw", symbol, day_of(file.hour)), need)
    newest = files[-1].hour
    for file in _read_by(storage, files, newest - 1, newest + 1):
        need = Need("unfinished", "the reconstruction of the next hour starts there")
        found.setdefault(Key("raw", symbol, day_of(file.hour)), need)
    return found


def _read_by(storage: Storage, files: list[RawFile], first_hour: int, last_hour: int) -> list[RawFile]:
    """The files that a task of these hours reads."""
    near = [*near_files(files, first_hour), *near_files(files, last_hour), *file_before(files, first_hour)]
    begin = files[first_file(storage, files, first_hour)].first_recv_ns
    first_ns = min([begin, *(file.first_recv_ns for file in near)])
    last_ns = max([begin, *(file.first_recv_ns for file in near)])
    return [file for file in files if first_ns <= file.first_recv_ns <= last_ns]


def _runs(hours: list[int]) -> list[tuple[int, int]]:
    """(first, last) of each run of hours that follow one another."""
    runs: list[tuple[int, int]] = []
    for hour in hours:
        if runs and runs[-1][1] == hour - 1:
            runs[-1] = runs[-1][0], hour
        else:
            runs.append((hour, hour))
    return runs


def _span_text(first_hour: int, last_hour: int) -> str:
    first, last = (datetime.fromtimestamp(hour * 3600, UTC) for hour in (first_hour, last_hour))
    if first == last:
        return f"the hour {first:%Y-%m-%d %H}:00"
    return f"the hours {first:%Y-%m-%d %H}:00 to {last:%Y-%m-%d %H}:00"


def clean_needs(storage: Storage, venue: str, symbol: str, settings: FeatureSettings) -> dict[Key, Need]:
    """Days of clean (and of its statistics) that `midas features` reads: for days that are not up to date, and as the
    history of the days to come."""
    files = symbol_files(storage, venue, symbol)
    if not files.hours:
        return {}
    plan = plan_symbol(storage, files, settings_of(settings, "midprice" if files.has_book else "close"))
    history = (history_days(settings.time_bucket_ms * 1000) + CARRIED_DAYS) * DAY
    found: dict[Key, Need] = {}
    for planned in plan.days:
        day = day_date(planned.day_us)
        need = Need("unfinished", f"the features of {day} are not up to date and need it")
        _need_days(found, symbol, day - history, day, need)
    newest = day_date(files.hours[-1])
    need = Need("unfinished", "history of the features of days to come")
    _need_days(found, symbol, newest - history, newest, need)
    return found


def _need_days(found: dict[Key, Need], symbol: str, first: date, last: date, need: Need) -> None:
    for number in range((last - first).days + 1):
        for table in ("clean", "feature_stats"):
            found.setdefault(Key(table, symbol, first + number * DAY), need)


def made_from(units: dict[Key, Unit], key: Key) -> str | None:
    """What to say where a stage would make the unit, or parts of it, again from what is there; None where none would.

    Raw of the first hour of the next day, and of the last of the day before, belongs to hours of this day too.
    """
    table, symbol, day = key
    if table == "clean":
        for neighbour in (day, day - DAY, day + DAY):
            raw = Key("raw", symbol, neighbour)
            if raw in units and (neighbour == day or _reaches(units[raw], day)):
                return "midas reconstruct would make it again from the raw that is there"
    if table == "features" and Key("clean", symbol, day) in units:
        return "midas features would make it again from the clean that is there"
    return None


def _reaches(raw: Unit, day: date) -> bool:
    """Whether a file of another day of raw lies within an hour of `day`."""
    stamps = [path.rpartition("/")[2].partition("-")[0] for path in raw.paths]
    hours = [int(stamp) // (3600 * 10**9) for stamp in stamps if stamp.isdecimal()]
    return any(day_of(near) == day for hour in hours for near in (hour - 1, hour + 1))
