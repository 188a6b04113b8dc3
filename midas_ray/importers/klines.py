"""Klines into clean/bars: `ts` is the end of the bar, one file per UTC hour that the bars open in."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from rich.progress import Progress

from midas_ray import console, tables
from midas_ray.errors import DataError, UsageError
from midas_ray.importers.klines_read import BAR_MS, NEEDED, VALUES, KlineTable, read_klines
from midas_ray.importers.staged import StagedHours
from midas_ray.importers.units import utc_text
from midas_ray.settings import Import
from midas_ray.storage import Storage

HOUR_MS = 3_600_000


def import_klines(settings: Import, storage: Storage, paths: list[Path]) -> int:
    """Import 1-minute bars; gives 0. Bars that are there already for the same minutes are replaced, others kept.

    Raises UsageError for symbols the files do not hold, DataError, CorruptFileError, StorageError: nothing is written.
    """
    with console.progress_bar() as progress, StagedHours(storage) as staged:
        lines = stage_klines(settings, storage, paths, progress, staged)
        staged.publish()
    for line in lines:
        console.out.print(line)
    return 0


def stage_klines(
    settings: Import, storage: Storage, paths: list[Path], progress: Progress, staged: StagedHours
) -> list[str]:
    """Stage the hours of all bars that are not there yet; gives a line to say of each symbol. Raises as above."""
    lines: list[str] = []
    reading = progress.add_task("reading klines", total=len(paths))
    found: list[KlineTable] = []
    for path in paths:
        found += read_klines(path)
        progress.advance(reading)
    by_symbol = _by_symbol(found, settings)
    storage.check_writable()
    writing = progress.add_task("writing hours", total=sum(_hours(bars) for _, bars in by_symbol.values()))
    for symbol, (sources, bars) in by_symbol.items():
        hours, unchanged = 0, 0
        for hour, part in bars.group_by(pl.col("open_ms") // HOUR_MS, maintain_order=True):
            final, written = _stage_hour(storage, settings.venue, symbol, int(hour[0]), part)
            if written is not None:
                staged.add(final, written)
            hours, unchanged = hours + 1, unchanged + (written is None)
            progress.advance(writing)
        lines.append(_summary(symbol, sources, bars, hours, unchanged))
    return lines


def _by_symbol(found: list[KlineTable], settings: Import) -> dict[str, tuple[list[KlineTable], pl.DataFrame]]:
    """(sources, bars in order of time) of each wanted symbol."""
    groups: dict[str, list[KlineTable]] = {}
    for table in found:
        symbol = table.symbol
        if symbol is None:
            if len(settings.symbols) != 1:
                raise UsageError(
                    f"{table.name}: expected a name that tells the symbol, such as BTCUSDT-1m-2025-05-04.csv or "
                    "BTC_USDT_USDT-1m-futures.feather, found none; say it with --symbol btcusdt"
                )
            symbol = settings.symbols[0]
        if table.venue not in (None, settings.venue) and (not settings.symbols or symbol in settings.symbols):
            raise UsageError(
                f"{table.name}: expected bars of {settings.venue}, found {table.venue} by the file's name; "
                f"import with --venue {table.venue}"
            )
        groups.setdefault(symbol, []).append(table)
    unknown = [symbol for symbol in settings.symbols if symbol not in groups]
    if unknown:
        raise UsageError(
            f"--symbols {','.join(unknown)}: expected symbols in the files, found {', '.join(sorted(groups))}"
        )
    return {
        symbol: (tables_, _joined(symbol, tables_))
        for symbol, tables_ in sorted(groups.items())
        if not settings.symbols or symbol in settings.symbols
    }


def _joined(symbol: str, found: list[KlineTable]) -> pl.DataFrame:
    """The bars of all files, each minute once. Raises DataError where two files contradict each other."""
    # The fullest row of a minute first: files without quote_volume add nothing to those with it.
    bars = pl.concat([table.bars for table in found])
    fullness = pl.sum_horizontal(pl.col(column).is_not_null().cast(pl.Int32) for column in VALUES)
    bars = bars.with_columns(fullness=fullness).sort(
        "open_ms", "fullness", descending=[False, True], maintain_order=True
    )
    counts = bars.group_by("open_ms", maintain_order=True).agg(pl.col(column).n_unique() for column in NEEDED)
    contradicted = counts.filter(pl.any_horizontal(pl.col(column) > 1 for column in NEEDED))
    if len(contradicted):
        raise DataError(
            f"{symbol}: expected one bar a minute, found different ones that open at "
            f"{utc_text(contradicted['open_ms'][0] * 10**6)} UTC; import the files that belong together"
        )
    return bars.unique("open_ms", keep="first", maintain_order=True).drop("fullness")


def _hours(bars: pl.DataFrame) -> int:
    return int((bars["open_ms"] // HOUR_MS).n_unique())


def _stage_hour(storage: Storage, venue: str, symbol: str, hour: int, part: pl.DataFrame) -> tuple[str, str | None]:
    """(final path, temporary path of the hour's file); None where the file there holds the same already."""
    start = datetime.fromtimestamp(hour * 3600, UTC)
    path = f"clean/bars/venue={venue}/symbol={symbol}/date={start.date().isoformat()}/{start.hour:02d}.parquet"
    frame = part.select(
        pl.from_epoch(pl.col("open_ms") + BAR_MS, "ms").cast(tables.TIMESTAMP).alias("ts"),
        pl.lit(symbol).alias("symbol"),
        *VALUES,
    ).cast(tables.BARS)
    if storage.exists(path):
        before = pl.DataFrame(pl.from_arrow(storage.read_parquet(path))).cast(tables.BARS)
        frame = _merged(before, frame)
        if frame.equals(before):
            return path, None
    metadata = {"schema_version": str(tables.SCHEMA_VERSION), "venue": venue}
    return path, storage.stage_parquet(path, frame.to_arrow(), metadata)


def _merged(before: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """New bars over old ones; where they agree, values that only the old bar has are kept."""
    agrees = pl.all_horizontal(pl.col(column) == pl.col(f"{column}_old") for column in NEEDED)
    extra = [column for column in VALUES if column not in NEEDED]
    kept = new.join(before.drop("symbol"), on="ts", how="left", suffix="_old").with_columns(
        pl.when(agrees).then(pl.coalesce(column, f"{column}_old")).otherwise(column).alias(column) for column in extra
    )
    return pl.concat([kept.select(list(tables.BARS)), before.join(new, on="ts", how="anti")]).sort("ts")


def _summary(symbol: str, sources: list[KlineTable], bars: pl.DataFrame, hours: int, unchanged: int) -> str:
    first_ms, last_ms = int(bars["open_ms"][0]), int(bars["open_ms"][-1])
    missing = (last_ms - first_ms) // BAR_MS + 1 - len(bars)
    units = "/".join(dict.fromkeys(table.unit for table in sources))
    return (
        f"{symbol}: {len(bars):,} bars; {utc_text(first_ms * 10**6)} to {utc_text((last_ms + BAR_MS) * 10**6)} UTC; "
        f"timestamps in {units}; {missing:,} minutes missing; source files {len(sources)}, "
        f"hours {hours}" + (f", {unchanged} of them unchanged" if unchanged else "")
    )
