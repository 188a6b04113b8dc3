"""Raw history of simulated markets, as a live collector would have written it, far faster than real time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from midas_ray.build_folder import build_folder
from midas_ray.errors import UsageError
from midas_ray.simulate.symbol_history import SymbolHistory
from midas_ray.storage import Storage
from midas_ray.venues import get_venue


@dataclass(frozen=True, slots=True)
class HistorySummary:
    """What was written. json_bytes before, file_bytes after compression."""

    symbols: int
    seconds: float
    messages: int
    level_changes: int
    json_bytes: int
    file_bytes: int
    elapsed_s: float

    @property
    def times_real_time(self) -> float:
        """Symbol-seconds of history per second of work."""
        return self.symbols * self.seconds / self.elapsed_s

    def __str__(self) -> str:
        return (
            f"{self.messages:,} messages, {self.level_changes:,} level changes, {self.json_bytes / 1e6:,.0f} MB of "
            f"JSON in {self.file_bytes / 1e6:,.0f} MB, {self.elapsed_s:.1f} s: "
            f"{self.times_real_time:,.0f} x real time"
        )


def check_free(storage: Storage, venue: str, symbols: tuple[str, ...], start_ns: int, end_ns: int) -> None:
    """Raises UsageError where the data folder already holds raw files of these symbols in this span."""
    first = datetime.fromtimestamp(start_ns / 1e9, UTC).date()
    last = (datetime.fromtimestamp(end_ns / 1e9, UTC) - timedelta(microseconds=1)).date()
    for partition in storage.partitions("raw"):
        if partition.venue == venue and partition.symbol in symbols and first <= partition.date <= last:
            raise UsageError(
                f"DATA_DIR {storage.shown}: expected no raw files of {partition.symbol} from {first} to {last}, "
                f"found some of {partition.date}; choose another --data-dir or --start"
            )


def write_history(
    data_dir: str, venue: str, symbols: tuple[str, ...], seed: int, start_ns: int, duration_s: float,
    *, level_changes: float = 20.0, compression_level: int = 3, max_bytes: int = 512 * 2**20,
    on_hour: Callable[[str], None] = lambda _symbol: None, spool_dir: str | None = None,
) -> HistorySummary:  # fmt: skip
    """Raw journals of `symbols` from `start_ns` (UTC ns) for `duration_s`, the truth beside them in `truth/`.

    level_changes: mean distinct level changes in 100 ms: 20 a thin market, 105 like BTC. on_hour: called with the
    symbol after each hour. The same arguments give the same bytes for a symbol, whatever symbols stand around it.
    spool_dir: as in `Storage`; journals grow there and are uploaded one by one. Raises UsageError, StorageError.
    """
    storage = Storage(data_dir, spool_dir)
    storage.check_writable()
    end_ns = start_ns + int(duration_s * 1e9)
    check_free(storage, venue, symbols, start_ns, end_ns)
    began = time.perf_counter()
    messages = level_count = json_bytes = file_bytes = 0
    with build_folder(storage, "history") as folder:
        for symbol in symbols:
            history = SymbolHistory(
                storage, folder, get_venue(venue), symbol, seed, start_ns, end_ns,
                level_changes=level_changes, compression_level=compression_level, max_bytes=max_bytes,
            )  # fmt: skip
            history.write(lambda symbol=symbol: on_hour(symbol))  # type: ignore[misc]
            messages += history.messages
            level_count += history.level_changes
            json_bytes += history.sink.json_bytes
            file_bytes += history.sink.file_bytes
    elapsed_s = time.perf_counter() - began
    return HistorySummary(len(symbols), duration_s, messages, level_count, json_bytes, file_bytes, elapsed_s)
