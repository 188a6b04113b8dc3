"""`python -m tests.cluster.outer MODULE:FUNCTION [JSON...]`: a scenario in namespaces of its own.

A scenario is a function whose arguments and result JSON can say. It runs in the outer namespace (home, /tmp, network
and processes of its own), is killed with everything it started when its time is over, and its result is printed as JSON
on stdout; what it and its programs print goes to stderr.
"""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from midas_ray.cloud.fake import outer

ROOT = Path(__file__).parents[2]
INSIDE = "--inside"
TAIL = 16000
"""Characters of stderr that a failure shows."""


class ScenarioError(AssertionError):
    """A scenario failed or took too long; says what it printed."""


def inside(scenario: Callable[..., Any] | str, *arguments: Any, timeout_s: float) -> Any:
    """Run a scenario in the outer namespace; gives its result. Raises ScenarioError."""
    name = scenario if isinstance(scenario, str) else f"{scenario.__module__}:{scenario.__qualname__}"
    command = [sys.executable, "-m", "tests.cluster.outer", INSIDE, name, *map(json.dumps, arguments)]
    with outer.started(command, env=_environment(), cwd=ROOT, pipes=True) as process:
        try:
            result, said = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
            raise ScenarioError(
                f"{name}: expected an end within {timeout_s:g} s; it printed:\n{said[-TAIL:]}"
            ) from None
    if process.returncode:
        raise ScenarioError(f"{name}: exit code {process.returncode}; it printed:\n{said[-TAIL:]}")
    sys.stderr.write(said)
    return json.loads(result)


def _environment() -> dict[str, str]:
    """Nothing of the developer's own settings reaches a scenario."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def _run_inside(name: str, arguments: list[str]) -> None:
    result_to = os.dup(1)
    os.dup2(2, 1)
    module, function = name.split(":")
    result = getattr(importlib.import_module(module), function)(*map(json.loads, arguments))
    os.write(result_to, (json.dumps(result) + "\n").encode())


if __name__ == "__main__":
    if sys.argv[1:2] == [INSIDE]:
        _run_inside(sys.argv[2], sys.argv[3:])
    else:
        print(json.dumps(inside(sys.argv[1], *map(json.loads, sys.argv[2:]), timeout_s=3600.0)))
