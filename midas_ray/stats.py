"""`midas stats`: what DATA_DIR holds per symbol and day, and how complete it is."""

import json
import sys
from collections.abc import Sequence
from datetime import date
from typing import Any

from rich.console import Console
from rich.table import Table

from midas_ray import console
from midas_ray.capture.upload import waiting
from midas_ray.completeness import Completeness
from midas_ray.errors import DataError
from midas_ray.settings import Stats
from midas_ray.stats_read import CLEAN_TABLES, NOT_RECONSTRUCTED, DayStats, Key, collect_stats
from midas_ray.storage import Storage

PLAIN_WIDTH = 120
_SHOWN_TABLES = {name: name for name in CLEAN_TABLES if name != "gaps"} | {"liquidations": "forced"}
_STYLES = {"complete": "green", "gaps": "yellow", "cannot be verified": "bold"}


def stats(settings: Stats) -> int:
    """Run `midas stats`; gives the exit code. Raises DataError where there is nothing, CorruptFileError."""
    storage = Storage.of(settings)
    days = collect_stats(storage, settings.venue)
    chosen = {key: day for key, day in days.items() if not settings.symbols or key[0] in settings.symbols}
    left = None if storage.is_local else waiting(storage.work_folder)
    spooled = f"{left}, in {storage.work_folder}" if left is not None and left.files + left.growing else ""
    if not chosen:
        spooled = spooled and f" ({spooled})"
        wanted = ", ".join(settings.symbols) or "any symbol"
        raise DataError(
            f"{storage.shown_path()}: expected data of {wanted} of {settings.venue}, found none{spooled}; "
            "collect (midas up, midas collect) or import some (midas import)"
        )
    if settings.as_json:
        sys.stdout.write(json.dumps([_as_json(key, day) for key, day in chosen.items()], indent=1) + "\n")
        return 0
    out = console.out if console.out.is_terminal else Console(width=PLAIN_WIDTH, highlight=False)
    out.print(_sizes(chosen))
    out.print()
    out.print(_completeness(chosen))
    for line in _notes(chosen):
        console.out.print(line, markup=False)
    total = sum(day.raw_bytes for day in chosen.values())
    console.out.print(f"{len(chosen)} symbol-days, {console.size_text(total)} raw, {storage.shown_path()}")
    if spooled:
        console.out.print(f"not counted: {spooled}", markup=False)
    return 0


def _columns(names: Sequence[str], left: Sequence[str] = ()) -> Table:
    """A table without lines; columns are right-aligned but for symbol, date and those of `left`."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        is_left = name in ("symbol", "date", *left)
        table.add_column(name, justify="left" if is_left else "right", no_wrap=name not in left)
    return table


def _sizes(days: dict[Key, DayStats]) -> Table:
    """Files, bytes, rows. `a day`: raw bytes of a whole day, with ~ where only a part of it was collected."""
    table = _columns(["symbol", "date", "raw files", "raw", "a day", *_SHOWN_TABLES.values(), "features", "span (UTC)"])
    for (symbol, day), figures in days.items():
        growing = f" ({figures.growing_files} open)" if figures.growing_files else ""
        per_day = figures.bytes_per_day
        table.add_row(
            symbol,
            day.isoformat(),
            f"{figures.raw_files}{growing}",
            console.size_text(figures.raw_bytes),
            "-" if per_day is None else ("~" if figures.is_extrapolated else "") + console.size_text(per_day),
            *(str(figures.rows.get(name, 0)) for name in _SHOWN_TABLES),
            str(figures.feature_rows),
            "-" if figures.span is None else " - ".join(f"{moment:%H:%M:%S}" for moment in figures.span),
        )
    return table


def _completeness(days: dict[Key, DayStats]) -> Table:
    """Shares of calendar time, gaps and the verdict."""
    left = ("by cause", "by fault", "verdict")
    table = _columns(["symbol", "date", "depth", "trades", "gaps", "longest", *left], left)
    for (symbol, day), figures in days.items():
        found = figures.completeness
        table.add_row(
            symbol,
            day.isoformat(),
            _share(found.depth),
            _share(found.trades),
            str(found.gaps),
            f"{found.longest_gap_s:.1f} s" if found.gaps else "-",
            _counts(found.by_cause),
            _counts(found.by_fault),
            f"[{_STYLES[found.verdict]}]{found.verdict}[/]",
        )
    return table


def _notes(days: dict[Key, DayStats]) -> list[str]:
    """Why what cannot be verified cannot, and what the figures are of."""
    notes = []
    for (symbol, day), figures in days.items():
        for doubt in figures.completeness.doubts:
            remedy = "; run midas reconstruct" if NOT_RECONSTRUCTED in doubt else ""
            notes.append(f"{symbol} {day} cannot be verified: {doubt}{remedy}")
    notes.append(
        "depth, trades: share of the calendar time between a symbol's first and last data with a live book, and with "
        "every print"
    )
    if any(day.bytes_per_day is not None and day.is_extrapolated for day in days.values()):
        notes.append("a day: raw bytes per symbol-day; ~ is extrapolated from the part of the day that was collected")
    return notes


def _share(share: float | None) -> str:
    return "-" if share is None else console.share_text(share)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "-"


def _as_json(key: tuple[str, date], day: DayStats) -> dict[str, Any]:
    found: Completeness = day.completeness
    return {
        "symbol": key[0],
        "date": key[1].isoformat(),
        "raw_files": day.raw_files,
        "growing_files": day.growing_files,
        "raw_bytes": day.raw_bytes,
        "raw_bytes_per_day": day.bytes_per_day,
        "raw_bytes_per_day_is_extrapolated": day.is_extrapolated,
        "rows": day.rows,
        "feature_rows": day.feature_rows,
        "span": None if day.span is None else [moment.isoformat() for moment in day.span],
        "window_s": found.window_us / 1e6,
        "depth_share": found.depth,
        "trades_share": found.trades,
        "gaps": found.gaps,
        "gaps_by_cause": found.by_cause,
        "gaps_by_fault": found.by_fault,
        "longest_gap_s": found.longest_gap_s,
        "verdict": found.verdict,
        "cannot_be_verified_because": found.doubts,
    }
