"""A short soak in the suite; `make soak` runs the long one."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak import soak
from benchmarks.soak_run import Plan

PLANS = {
    "one-up": Plan(folder=Path(), seed=11, seconds=60.0, faults=30, kills=1, mode="one-up"),
    "any": Plan(folder=Path(), seed=12, seconds=40.0, faults=16, kills=1, mode="any"),
}


@pytest.mark.parametrize("mode", PLANS)
def test_short(mode: str, tmp_path: Path) -> None:
    """Rows and prints are right or in gaps; with one connection always up no gap but where the process was down."""
    report = soak(replace(PLANS[mode], folder=tmp_path))
    assert report.right, "\n".join(report.lines)
    causes = {key for verdict in report.verdicts for key in verdict.gaps}
    assert {"depth/down", "trade/down"} <= causes
    assert (causes == {"depth/down", "trade/down"}) == (mode == "one-up")
    assert all(verdict.rows_equal > 200 and verdict.prints_found > 20 for verdict in report.verdicts)
