"""What one stage of the audit found, and where two answers that must be equal differ first."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One stage. It is sound where there is neither a difference nor a reason why it was not tested."""

    stage: str
    tested: str
    """In words: what was compared, how often."""
    difference: str | None = None
    """The first thing before the cut that another future changes."""
    not_tested: str | None = None

    @property
    def result(self) -> str:
        """`ok`, `LEAK` or `not tested`."""
        if self.difference is not None:
            return "LEAK"
        return "ok" if self.not_tested is None else "not tested"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "result": self.result}


def moment(us: int) -> str:
    """Such as `2026-11-22 14:05:10`, UTC."""
    return str(np.datetime64(int(us), "us").astype("datetime64[s]")).replace("T", " ")


def first_difference(expected: Values, found: Values, tolerance: float = 0.0) -> tuple[int, ...] | None:
    """Index of the first value that differs by more than `tolerance` or is NaN on one side alone; None where all agree.

    Another shape differs at ().
    """
    if expected.shape != found.shape:
        return ()
    both_null = np.isnan(expected) & np.isnan(found) if expected.dtype.kind == "f" else np.zeros(expected.shape, bool)
    same = both_null | (expected == found)
    if tolerance:
        same |= np.abs(expected - found) <= tolerance
    if same.all():
        return None
    return tuple(int(axis) for axis in np.argwhere(~same)[0])
