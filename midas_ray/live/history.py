"""What a symbol's live features start from: the hours that batch runs have left up to date, as statistics in memory.

All later hours are replayed from the journals, so that a missing batch run costs time, never a result.
"""

from dataclasses import dataclass

import pyarrow as pa

from midas_ray.features.clean_hour import HourInput, read_grid_rows, read_hour, read_marks, read_prints, read_top_row
from midas_ray.features.cost import CostStatistics, cost_of_hour
from midas_ray.features.coverage import NOTHING
from midas_ray.features.daily import DAY_US
from midas_ray.features.hour import hour_statistics
from midas_ray.features.hour_rows import HOUR_US, Hour, Prints, TopRow
from midas_ray.features.plan import SymbolFiles, hour_inputs, symbol_files
from midas_ray.features.statistics import Statistics
from midas_ray.features.store import cost_path, read_cost, read_statistics, statistics_path
from midas_ray.live.days import Gap
from midas_ray.reconstruct.plan import RawFile, hour_keys, raw_files, read_manifest
from midas_ray.reconstruct.task import first_file
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage


@dataclass(frozen=True, slots=True)
class History:
    """The hours before `first_hour` (since the epoch), from which on the journals are replayed.

    first_name: the raw file to begin with; None where there is none. first_data_us: start of the symbol's first hour
    with data, where that is known already. prints: of the days whose volume clock is needed. before, marks: the last
    row and the mark prices of the hour before `first_hour`.
    """

    first_hour: int
    first_name: str | None
    first_data_us: int | None
    statistics: dict[int, Statistics]
    prints: dict[int, Prints]
    gaps: list[Gap]
    before: TopRow | None
    marks: pa.Table | None
    _storage: Storage
    _inputs: dict[int, HourInput]

    def cost(self, hour_us: int, quote: float) -> CostStatistics | None:
        """What taking `quote` cost in an hour; None where the history has no book of it."""
        inputs = self._inputs.get(hour_us)
        if inputs is None or inputs.book is None:
            return None
        if self._storage.exists(cost_path(inputs, quote)):
            return read_cost(self._storage, inputs, quote)
        book = read_grid_rows(self._storage, inputs.book, hour_us, inputs.bucket_us, flow=False)
        return cost_of_hour(Hour(hour_us, inputs.bucket_us, book, None, None, None, None, NOTHING), quote)


def load_history(
    storage: Storage,
    venue: str,
    symbol: str,
    book: BookSettings,
    bucket_us: int,
    *,
    first_day_us: int,
    prints_from_us: int,
) -> History:
    """Hours from `first_day_us` on that clean/ holds up to date; prints of those from `prints_from_us` on.

    Raises DataError, SchemaError, CorruptFileError.
    """
    raw = raw_files(storage, venue, symbol)
    every = symbol_files(storage, venue, symbol)
    first_hour = _first_to_replay(storage, venue, symbol, raw, book, first_day_us // HOUR_US)
    # What later hours say of gaps may be out of date.
    files = symbol_files(storage, venue, symbol, until_us=first_hour * HOUR_US)
    inputs, _ = hour_inputs(files, bucket_us)
    chosen = {hour: each for hour, each in inputs.items() if hour >= first_day_us}
    last = chosen.get((first_hour - 1) * HOUR_US)
    begin = first_file(storage, raw, first_hour) if raw else None
    return History(
        first_hour=first_hour,
        first_name=None if begin is None else raw[begin].path.rpartition("/")[2],
        first_data_us=_first_data_us(every, raw, first_day_us, first_hour * HOUR_US),
        statistics={hour: _statistics(storage, each) for hour, each in chosen.items()},
        prints={
            hour: read_prints(storage, each.trades, hour)
            for hour, each in chosen.items()
            if each.trades and hour >= prints_from_us
        },
        gaps=files.trade_gaps,
        before=read_top_row(storage, last.book, first_hour * HOUR_US) if last and last.book else None,
        marks=read_marks(storage, last.mark) if last and last.mark else None,
        _storage=storage,
        _inputs=chosen,
    )


def _first_to_replay(
    storage: Storage, venue: str, symbol: str, raw: list[RawFile], book: BookSettings, first_hour: int
) -> int:
    """The first hour that clean/ does not hold up to date; at the latest the one before the newest raw file's."""
    if not raw:
        return first_hour
    done = read_manifest(storage, venue, symbol)
    newest = max(raw[-1].hour - 1, first_hour)
    stale = [
        hour
        for hour, key in hour_keys(raw, book).items()
        if hour >= first_hour and (hour not in done or done[hour]["key"] != key)
    ]
    return min([newest, *stale])


def _first_data_us(files: SymbolFiles, raw: list[RawFile], first_day_us: int, replay_us: int) -> int | None:
    known = [hour for hour in files.hours if hour < replay_us]
    if raw and raw[0].hour * HOUR_US < first_day_us:
        known.append(raw[0].hour * HOUR_US)
    return min(known, default=None)


def _statistics(storage: Storage, hour: HourInput) -> Statistics:
    if storage.exists(statistics_path(hour)):
        return read_statistics(storage, hour)
    return hour_statistics(read_hour(storage, hour))


def day_of(ts_us: int) -> int:
    """00:00 of the day that a bucket which ends at `ts_us` belongs to."""
    return (ts_us - 1) // DAY_US * DAY_US
