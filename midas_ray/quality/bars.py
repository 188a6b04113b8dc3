"""clean/bars, clean/mark and clean/liquidations of one symbol, file by file."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from midas_ray.quality.findings import FileFindings, Findings
from midas_ray.quality.klines import COLUMNS, MINUTE_US, MinuteBars
from midas_ray.quality.shared_rules import check_not_nan, check_rising, check_span, check_step, times_of
from midas_ray.quality.source import Rows

FloatArray = npt.NDArray[np.float64]


def check_ohlc(at: FileFindings, ohlc: FloatArray) -> None:
    """low <= open, close <= high and all four known or none. ohlc: (n, 4), NaN where null."""
    open_, high, low, close = ohlc.T
    known = ~np.isnan(ohlc)
    at.look("ohlc_order", int(known.any(axis=1).sum()))
    at.rows(
        "ohlc_order",
        (low > open_) | (low > close) | (open_ > high) | (close > high) | (low > high),
        lambda row: f"open {open_[row]:g}, high {high[row]:g}, low {low[row]:g}, close {close[row]:g}",
        "low <= open, close <= high",
    )
    at.rows(
        "ohlc_order",
        known.any(axis=1) & ~known.all(axis=1),
        lambda row: f"{int(known[row].sum())} of open, high, low, close known",
        "all or none",
    )


@dataclass
class BarScan:
    """What was seen of a symbol's bars so far."""

    symbol: str
    findings: Findings
    minutes: list[MinuteBars] = field(default_factory=list)
    _last_us: int | None = None

    def feed(self, rows: Rows) -> None:
        """Check a file and keep its bars."""
        frame = rows.frame
        if not len(frame):
            return
        at = FileFindings(self.findings, self.symbol, rows.path, times_of(rows))
        check_rising(at, self._last_us, strictly=True)
        check_step(at, MINUTE_US)
        check_span(at, rows.file, closed="right")
        check_not_nan(rows, self.findings)
        values = np.column_stack([frame[name].cast(pl.Float64).to_numpy() for name in COLUMNS])
        check_ohlc(at, values[:, :4])
        for name in frame.columns[2:]:
            _check_not_negative(at, rows, name)
        self.minutes.append(MinuteBars(at.ts_us, values))
        self._last_us = int(at.ts_us[-1])


@dataclass
class MomentScan:
    """A table of moments, clean/mark or clean/liquidations: what was seen of it so far."""

    symbol: str
    findings: Findings
    _last_us: int | None = None

    def feed(self, rows: Rows) -> None:
        """Check a file."""
        if not len(rows.frame):
            return
        at = FileFindings(self.findings, self.symbol, rows.path, times_of(rows))
        check_rising(at, self._last_us, strictly=rows.file.table == "mark")
        check_span(at, rows.file, closed="left")
        check_not_nan(rows, self.findings)
        for name in ("mark_px", "index_px") if rows.file.table == "mark" else ("px", "qty"):
            _check_not_negative(at, rows, name)
        self._last_us = int(at.ts_us[-1])


def _check_not_negative(at: FileFindings, rows: Rows, name: str) -> None:
    values = rows.frame[name].cast(pl.Float64).to_numpy()
    at.look("registry_bounds", int((~np.isnan(values)).sum()))
    at.rows(
        "registry_bounds",
        (values < 0) | np.isinf(values),
        lambda row: f"{name} {values[row]:g}",
        "a finite number, 0 or more",
    )
