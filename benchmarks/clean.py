"""From a real capture or a folder of raw journals to its clean tables, in this process."""

import contextlib
import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from midas_ray.importers.run import import_archives
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.setting_values import VenueName
from midas_ray.settings import BookSettings, Import
from midas_ray.storage import Storage


@dataclass(frozen=True, slots=True)
class Capture:
    """A real capture under shared/data and its tick, in quote units."""

    venue: VenueName
    symbol: str
    pattern: str
    tick: float


CAPTURES = (
    Capture("binance-futures", "btcusdt", "binance-futures-raw/btcusdt_*.gz", 0.1),
    Capture("binance-futures", "ethusdt", "binance-futures-raw/ethusdt_*.gz", 0.01),
    Capture("binance-spot", "ethusdt", "binance-spot-raw/ethusdt_*.gz", 0.01),
    Capture("binance-spot", "nexousdt", "binance-spot-raw/nexousdt_*.gz", 0.001),
)


def captures_root() -> Path:
    """Where the real captures lie: MIDAS_TEST_DATA, or shared/data beside the project."""
    return Path(os.environ.get("MIDAS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def capture_paths(capture: Capture) -> list[str]:
    """The capture's files in order; empty where it is not there."""
    return [str(path) for path in sorted(captures_root().glob(capture.pattern))]


def absent(capture: Capture) -> str:
    """What to say where a capture is not there."""
    return f"left out: expected {capture.pattern} under {captures_root()}, found none (set MIDAS_TEST_DATA)"


def import_lines(data_dir: str, venue: VenueName, symbol: str, paths: list[str]) -> None:
    """`midas import lines` without what it prints."""
    settings = Import(format="lines", paths=paths, venue=venue, symbols=(symbol,), data_dir=data_dir)
    with contextlib.redirect_stdout(io.StringIO()):
        import_archives(settings)


def import_capture(folder: Path, capture: Capture) -> bool:
    """Import the capture as raw journals under `folder`; False where it is not there."""
    paths = capture_paths(capture)
    if paths:
        import_lines(str(folder), capture.venue, capture.symbol, paths)
    return bool(paths)


def forget_clean(data_dir: str) -> None:
    """Delete what was made before: what stays the same would not be written again."""
    shutil.rmtree(Path(data_dir, "clean"), ignore_errors=True)


def reconstruct_all(data_dir: str, venue: str, symbol: str) -> list[dict[str, Any]]:
    """Plan and reconstruct everything raw of a symbol from nothing, without Ray. Gives each task's result."""
    forget_clean(data_dir)
    storage, settings = Storage(data_dir), BookSettings(data_dir=data_dir)
    files = raw_files(storage, venue, symbol)
    tasks = plan_tasks(venue, symbol, files, hour_keys(files, settings), {})
    return [reconstruct_hours(data_dir, task, settings) for task in tasks]


def read_clean(data_dir: str, table: str, venue: str, symbol: str) -> pl.DataFrame:
    """All rows of a clean table of a symbol, in order."""
    storage = Storage(data_dir)
    paths = sorted(storage.list_files(f"clean/{table}/venue={venue}/symbol={symbol}", ".parquet"))
    return pl.concat(pl.read_parquet(storage.local_path(path)) for path in paths).sort("ts", maintain_order=True)


def clean_tables(data_dir: str, venue: str, symbol: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(clean/book, clean/trades) of everything raw in the folder, reconstructed here.

    Of the book the rows in which it is live and both best prices are known: a capture's one snapshot may not reach.
    """
    reconstruct_all(data_dir, venue, symbol)
    book, trades = (read_clean(data_dir, table, venue, symbol) for table in ("book", "trades"))
    known = (pl.col("state") == "live") & pl.col("bid_px_01").is_not_null() & pl.col("ask_px_01").is_not_null()
    return book.filter(known), trades
