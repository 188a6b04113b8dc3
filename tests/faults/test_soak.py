"""A short soak in the suite; `make soak` runs the long one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak import Report, soak
from benchmarks.soak_run import Plan

PLANS = {
    "one-up": Plan(folder=Path(), seed=11, seconds=60.0, faults=30, kills=1, mode="one-up"),
    "any": Plan(folder=Path(), seed=12, seconds=50.0, faults=20, kills=1, mode="any"),
}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Report]]:
    """Both at the same time: they wait more than they work."""
    plans = [replace(plan, folder=tmp_path_factory.mktemp(mode)) for mode, plan in PLANS.items()]
    with ThreadPoolExecutor(len(plans)) as pool:
        yield dict(zip(PLANS, pool.map(soak, plans), strict=True))


@pytest.mark.long
@pytest.mark.parametrize("mode", PLANS)
def test_short(mode: str, reports: dict[str, Report]) -> None:
    """Rows and prints are right or in gaps; with one connection always up no gap but where the process was down."""
    report = reports[mode]
    assert report.right, "\n".join(report.lines)
    causes = {key for verdict in report.verdicts for key in verdict.gaps}
    assert "depth/down" in causes
    assert (causes <= {"depth/down", "trade/down"}) == (mode == "one-up"), causes
    # Whether anything is traded in the seconds without a process is the market's: where it was, the ledger has it.
    lost_prints = any(verdict.prints_in_gaps for verdict in report.verdicts)
    assert mode == "any" or not lost_prints or "trade/down" in causes
    assert all(verdict.rows_equal > 200 and verdict.prints_found > 20 for verdict in report.verdicts)
