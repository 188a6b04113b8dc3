"""The checks of `midas validate`, and what they found: pure bookkeeping.

A hard check that fails says that a contract of the data is broken; the command then fails. A soft check says how good
the data are.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
import numpy.typing as npt

Severity = Literal["hard", "soft"]
Status = Literal["PASS", "FAIL", "WARN", "SKIP"]
IntArray = npt.NDArray[np.int64]

MAX_EXAMPLES = 20
"""Findings of a symbol kept word for word for each check; all are counted."""

MAX_EXAMPLES_OF_ALL = 100
"""The same for all symbols together."""

MAX_EXAMPLES_OF_A_RULE = 5
"""Of those, how many one rule may give for one file, so that a second defect is seen beside a frequent first one."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `asserts`: what holds where it passes; `unit`: what is looked at."""

    name: str
    severity: Severity
    asserts: str
    unit: str


CHECKS: tuple[Check, ...] = (
    Check("schema", "hard", "columns, types and metadata are those of the table's version", "files"),
    Check("ts_order", "hard", "ts rises without duplicates, on the grid, in the file of its hour and day", "rows"),
    Check("crossed_book", "hard", "in live rows best bid < best ask; bids fall, asks rise, no hole", "live rows"),
    Check("ohlc_order", "hard", "low <= open, close <= high", "bars"),
    Check("registry_bounds", "hard", "numbers are finite; features lie within the registry's bounds", "values"),
    Check("number_in_gap", "hard", "no number where the input was lost: gaps stay null", "rows"),
    Check("null_kinds", "hard", "a feature is null exactly where its null kind says why", "values"),
    Check("price_tick", "hard", "prices and sizes are on their decimal grid, prices on the tick", "prices"),
    Check("ledger_ids", "hard", "every jump of ids, every hole in the grid and every gap row is in the ledger", "rows"),
    Check(
        "foreign_files", "soft", "among a table's files lie none that MIDAS did not write: they are left out", "files"
    ),
    Check("coverage", "soft", "at least 99 % of the grid rows are live", "symbols"),
    Check(
        "null_shares", "soft", "from 100 rows on, no collected feature is over 1 % gap or half undefined", "features"
    ),
    Check("latency", "soft", "p99 of trade latency under 1 s, measured by a clock that is not behind", "symbols"),
    Check("kline_differences", "soft", "OHLCV from trades and features equals the exchange's klines", "bars compared"),
)

CHECK: dict[str, Check] = {check.name: check for check in CHECKS}


def utc_text(us: int) -> str:
    """`2026-01-05 00:00:00.100` of microseconds since 1970, without a needless fraction."""
    moment = EPOCH + timedelta(microseconds=int(us))
    if moment.microsecond == 0:
        return f"{moment:%Y-%m-%d %H:%M:%S}"
    digits = f"{moment:%Y-%m-%d %H:%M:%S.%f}"
    return digits[:-3] if moment.microsecond % 1000 == 0 else digits


@dataclass(frozen=True, slots=True)
class Finding:
    """One offending place. `path` is relative to DATA_DIR; ts_us is None where it is not about a row."""

    symbol: str
    path: str
    ts_us: int | None
    found: str
    expected: str

    def __str__(self) -> str:
        where = self.path if self.ts_us is None else f"{self.path} at {utc_text(self.ts_us)}"
        return f"{where}: {self.found}; expected {self.expected}"


@dataclass(slots=True)
class Findings:
    """Counts and examples per check. `looked_at` counts what was checked: a check that saw nothing did not pass."""

    looked_at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECK, 0))
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECK, 0))
    examples: dict[str, list[Finding]] = field(default_factory=lambda: {name: [] for name in CHECK})

    def look(self, check: str, number: int) -> None:
        """So many more things were checked."""
        self.looked_at[check] += int(number)

    def add(self, check: str, symbol: str, path: str, found: str, expected: str, ts_us: int | None = None) -> None:
        """One finding."""
        self.counts[check] += 1
        if len(self.examples[check]) < MAX_EXAMPLES:
            self.examples[check].append(Finding(symbol, path, ts_us, found, expected))

    def absorb(self, other: "Findings") -> None:
        """Add what another scan found."""
        for name in CHECK:
            self.looked_at[name] += other.looked_at[name]
            self.counts[name] += other.counts[name]
            room = MAX_EXAMPLES_OF_ALL - len(self.examples[name])
            self.examples[name] += other.examples[name][: max(0, room)]

    def status(self, check: str, strict: bool) -> Status:
        """FAIL (hard, or soft with `strict`), WARN (soft), SKIP where there was nothing to look at."""
        if self.counts[check]:
            return "FAIL" if strict or CHECK[check].severity == "hard" else "WARN"
        return "PASS" if self.looked_at[check] else "SKIP"

    def failed(self, strict: bool) -> list[str]:
        """Names of the checks that make the command fail."""
        return [name for name in CHECK if self.status(name, strict) == "FAIL"]


@dataclass(frozen=True, slots=True)
class FileFindings:
    """Findings in the rows of one file. ts_us: (n,) times of its rows."""

    findings: Findings
    symbol: str
    path: str
    ts_us: IntArray

    def look(self, check: str, number: int | np.int64) -> None:
        """So many more things were checked."""
        self.findings.looked_at[check] += int(number)

    def rows(
        self, check: str, bad: npt.NDArray[np.bool_] | np.bool_, found: Callable[[int], str], expected: str
    ) -> None:
        """A finding for each row where `bad` is true; `found` words the row's offending values."""
        at = np.flatnonzero(bad)
        room = max(0, min(MAX_EXAMPLES - len(self.findings.examples[check]), MAX_EXAMPLES_OF_A_RULE))
        self.findings.counts[check] += len(at)
        for row in at[:room].tolist():
            finding = Finding(self.symbol, self.path, int(self.ts_us[row]), found(row), expected)
            self.findings.examples[check].append(finding)
