"""The gap ledger of one symbol."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas_ray.quality.findings import FileFindings, Findings
from midas_ray.quality.intervals import Intervals
from midas_ray.quality.source import Rows
from midas_ray.tables import FAULT_OF

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class LedgerGap:
    """One loss: (start_us, end_us] of exchange time; ids [expected_id, found_id) of a trade gap are missing."""

    start_us: int
    end_us: int
    stream: str
    cause: str
    fault: str
    expected_id: int | None
    found_id: int | None
    recovered: bool

    @property
    def length_s(self) -> float:
        return (self.end_us - self.start_us) / 1e6


@dataclass(frozen=True, slots=True)
class Ledger:
    """All gaps of a symbol, in order of time, each once."""

    gaps: tuple[LedgerGap, ...]

    @classmethod
    def of(cls, gaps: Iterable[LedgerGap]) -> "Ledger":
        return cls(tuple(sorted(gaps, key=lambda gap: (gap.start_us, gap.end_us, gap.stream))))

    def lost(self, stream: str) -> Intervals:
        """Times at which `depth` or `trade` was lost."""
        chosen = [gap for gap in self.gaps if gap.stream == stream]
        return Intervals.union(
            np.array([gap.start_us for gap in chosen], dtype=np.int64),
            np.array([gap.end_us for gap in chosen], dtype=np.int64),
        )

    def ends(self, stream: str) -> IntArray:
        """Ends of the recovered gaps of a stream, rising."""
        return np.array(sorted(gap.end_us for gap in self.gaps if gap.stream == stream and gap.recovered), np.int64)

    def by(self, key: str) -> dict[str, int]:
        """Number of gaps by `stream`, `cause` or `fault`."""
        names = [getattr(gap, key) for gap in self.gaps]
        return {name: names.count(name) for name in sorted(set(names))}


def read_gaps(rows: Rows, findings: Findings) -> list[LedgerGap]:
    """The gaps in a file of clean/gaps. Notes those that end before they start."""
    frame = rows.frame
    columns = [frame["start"].to_physical(), frame["end"].to_physical()]
    columns += [frame[name] for name in ("stream", "cause", "fault", "expected_id", "found_id", "recovered")]
    gaps = [LedgerGap(*values) for values in zip(*(column.to_list() for column in columns), strict=True)]
    at = FileFindings(findings, rows.symbol, rows.path, np.array([gap.start_us for gap in gaps], dtype=np.int64))
    at.look("ledger_ids", len(gaps))
    at.rows(
        "ledger_ids",
        np.array([gap.end_us < gap.start_us for gap in gaps], dtype=np.bool_),
        lambda row: f"a {gaps[row].stream} gap that ends {-gaps[row].length_s:g} s before it starts",
        "start <= end",
    )
    at.rows(
        "ledger_ids",
        np.array([gap.fault != FAULT_OF.get(gap.cause) for gap in gaps], dtype=np.bool_),
        lambda row: f"a gap of cause {gaps[row].cause} blamed on the {gaps[row].fault}",
        "the fault that goes with the cause",
    )
    return gaps
