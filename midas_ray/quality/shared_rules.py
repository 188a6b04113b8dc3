"""Rules that every table shares: rows in order, in the file of their hour and day, and no NaN in place of a null."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from midas_ray.quality.findings import FileFindings, Findings, utc_text
from midas_ray.quality.source import DataFile, Rows

IntArray = npt.NDArray[np.int64]


def times_of(rows: Rows) -> IntArray:
    """(n,) `ts` in microseconds since 1970."""
    ts_us: IntArray = rows.frame["ts"].to_physical().to_numpy()
    return ts_us


def check_span(at: FileFindings, file: DataFile, closed: Literal["left", "right"]) -> None:
    """Rows of intervals that end at ts (`right`) lie in (start, end] of the file, moments (`left`) in [start, end)."""
    start, end = file.span_us
    ts_us = at.ts_us
    inside = (ts_us > start) & (ts_us <= end) if closed == "right" else (ts_us >= start) & (ts_us < end)
    brackets = "(]" if closed == "right" else "[)"
    expected = f"ts in {brackets[0]}{utc_text(start)}, {utc_text(end)}{brackets[1]}"
    at.rows("ts_order", ~inside, lambda _row: "a row of another hour or day", expected)


def check_rising(at: FileFindings, last_us: int | None, strictly: bool) -> None:
    """ts rises from row to row, and from `last_us`, the last of the file before; without duplicates if `strictly`."""
    ts_us = at.ts_us
    before = np.concatenate([[ts_us[0] - 1 if last_us is None else last_us], ts_us[:-1]])
    at.look("ts_order", len(ts_us))
    at.rows(
        "ts_order",
        ts_us <= before if strictly else ts_us < before,
        lambda row: "the same ts twice" if ts_us[row] == before[row] else f"ts after {utc_text(before[row])}",
        "ts that rises" if strictly else "ts that never falls",
    )


def check_step(at: FileFindings, step_us: int) -> None:
    """ts is a multiple of the grid step or bucket."""
    at.rows("ts_order", at.ts_us % step_us != 0, lambda _row: "a ts off the grid", f"multiples of {step_us / 1e6:g} s")


def check_not_nan(rows: Rows, findings: Findings) -> None:
    """Absent numbers are null, never NaN."""
    floats = rows.frame.select(pl.col(pl.Float64))
    counts = floats.select(pl.all().is_nan().sum()).row(0) if floats.width else ()
    for name, count in zip(floats.columns, counts, strict=True):
        if count:
            first_us = int(times_of(rows)[floats[name].is_nan().arg_max() or 0])
            findings.add(
                "registry_bounds", rows.symbol, rows.path, f"NaN in {name} ({count} rows)", "a number or null", first_us
            )
