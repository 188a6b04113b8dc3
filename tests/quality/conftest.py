"""Validating a made-up data set."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from midas_ray.quality.findings import Findings
from midas_ray.quality.run import scan, validate
from midas_ray.quality.source import Source
from midas_ray.settings import Validate
from midas_ray.storage import Storage
from tests.quality.made_up import VENUE, MadeUp


@dataclass(frozen=True)
class Outcome:
    """What `midas validate` gave."""

    code: int
    report: dict[str, Any]
    html: str

    def check(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(check for check in self.report["checks"] if check["name"] == name)
        return found

    def named(self, status: str) -> set[str]:
        """Names of the checks of a status."""
        return {check["name"] for check in self.report["checks"] if check["status"] == status}


Validated = Callable[..., Outcome]
Found = Callable[[MadeUp], Findings]


@pytest.fixture
def validated(tmp_path: Path) -> Validated:
    """Writes a data set, if given, and runs the whole command on it."""

    def run(data: MadeUp | None = None, **settings: Any) -> Outcome:
        data_dir = tmp_path / "data"
        if data is not None:
            data.write(data_dir)
        code = validate(Validate(data_dir=str(data_dir), **settings))
        report = json.loads((data_dir / "reports" / "data_quality.json").read_text())
        return Outcome(code, report, (data_dir / "reports" / "data_quality.html").read_text())

    return run


@pytest.fixture
def found(tmp_path: Path) -> Found:
    """Writes a data set and gives the findings of its symbol, without reports."""

    def run(data: MadeUp) -> Findings:
        data.write(tmp_path / "data")
        return scan(Source(Storage(str(tmp_path / "data")), VENUE, ()))[0].findings

    return run
