"""What a benchmark found: rows of figures, measured in alternating rounds, shown as a table, kept as JSON.

Machines differ and are busy, so that every comparison is a ratio of two things done one after the other in the same
round; the median of the rounds counts, the smallest stands beside it, and processor time beside the clock's.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

PLAIN_WIDTH = 190
"""Columns of the table where it is not for a terminal."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the figure should reach: the ratio where there is one, else the value."""

    bound: float
    kind: Literal["at least", "at most"]

    def met(self, value: float) -> bool:
        return value >= self.bound if self.kind == "at least" else value <= self.bound

    def __str__(self) -> str:
        return f"{self.kind} {self.bound:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure. value: the median of the rounds in `unit`; least: the smallest; processor_s: median processor time.

    ratio: median over the rounds of the quotient with `against`; processor_ratio: the same of processor times.
    """

    benchmark: str
    what: str
    value: float
    unit: str = "s"
    least: float | None = None
    processor_s: float | None = None
    against: str | None = None
    ratio: float | None = None
    processor_ratio: float | None = None
    target: Target | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """None where there is no target."""
        return None if self.target is None else self.target.met(self.value if self.ratio is None else self.ratio)

    def to_json(self) -> dict[str, Any]:
        kept = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return kept if self.met is None else kept | {"met": self.met}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Row":
        fields = {name: value for name, value in kept.items() if name not in ("met", "target")}
        return cls(**fields, target=Target(**kept["target"]) if "target" in kept else None)


@dataclass(frozen=True, slots=True)
class Timing:
    """What one piece of work took in each round, seconds."""

    wall_s: list[float]
    processor_s: list[float]

    @property
    def median_s(self) -> float:
        return statistics.median(self.wall_s)

    def then(self, other: "Timing") -> "Timing":
        """Both, one after the other, in each round."""
        return Timing(
            [a + b for a, b in zip(self.wall_s, other.wall_s, strict=True)],
            [a + b for a, b in zip(self.processor_s, other.processor_s, strict=True)],
        )

    def row(self, benchmark: str, what: str, **others: Any) -> Row:
        """A row of this work's seconds."""
        return Row(
            benchmark=benchmark,
            what=what,
            value=self.median_s,
            least=min(self.wall_s),
            processor_s=statistics.median(self.processor_s),
            **others,
        )

    def over(self, other: "Timing") -> dict[str, float]:
        """Medians of the rounds' ratios of this to the other, as a row's fields."""
        wall = statistics.median(a / b for a, b in zip(self.wall_s, other.wall_s, strict=True))
        processor = statistics.median(a / b for a, b in zip(self.processor_s, other.processor_s, strict=True))
        return {"ratio": wall, "processor_ratio": processor}


def in_turn(works: dict[str, Callable[[], object]], rounds: int, warm_up: int = 1) -> dict[str, Timing]:
    """Every work once a round, in turn; the first `warm_up` rounds (compiling, filling caches) do not count."""
    timings = {name: Timing([], []) for name in works}
    for number in range(warm_up + rounds):
        for name, work in works.items():
            processor_s, wall_s = time.process_time(), time.perf_counter()
            work()
            wall_s, processor_s = time.perf_counter() - wall_s, time.process_time() - processor_s
            if number >= warm_up:
                timings[name].wall_s.append(wall_s)
                timings[name].processor_s.append(processor_s)
    return timings


def _figure(value: float | None, unit: str = "") -> str:
    if value is None:
        return ""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
    return f"{text} {unit}".rstrip()


def show(rows: list[Row], console: Console | None = None) -> None:
    """Print the rows as one table."""
    table = Table(show_lines=False)
    for name in ("benchmark", "what", "median", "least", "processor", "ratio", "of processor", "target", ""):
        table.add_column(name, justify="left" if name in ("benchmark", "what", "target", "") else "right")
    before = None
    for row in rows:
        if before not in (None, row.benchmark):
            table.add_section()
        ratio = f"{_figure(row.ratio)} x {row.against}" if row.ratio is not None else ""
        verdict = {None: "", True: "met", False: "missed"}[row.met]
        what = f"{row.what} ({row.note})" if row.note else row.what
        table.add_row(
            *(row.benchmark if row.benchmark != before else "", what, _figure(row.value, row.unit)),
            *(_figure(row.least, row.unit), _figure(row.processor_s, "s"), ratio, _figure(row.processor_ratio)),
            *(str(row.target or ""), verdict),
        )
        before = row.benchmark
    console = console or Console()
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console.width = PLAIN_WIDTH
    console.print(table)


def parser_of(doc: str | None) -> argparse.ArgumentParser:
    """A benchmark's command line: `--json` says where its rows go, beside the table."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the rows to this file instead of printing a table")
    return parser


def finish(rows: list[Row], path: Path | None) -> None:
    """Print the table, or write the rows where `--json` says."""
    if path is None:
        show(rows)
    else:
        path.write_text(json.dumps([row.to_json() for row in rows]))
