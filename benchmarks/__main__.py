"""All benchmarks: one table, and the same as JSON with what it was measured on.

    python -m benchmarks [--only peer,reconstruct] [--full] [--json PATH]

Each benchmark runs in a process of its own, one after the other, so that memory and caches of one do not count for
another. Without --json the figures go to benchmarks/results/<UTC time>.json.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, show
from midas_ray.code_version import code_version

BENCHMARKS = (
    *("simulate", "market", "reconstruct", "peer", "scale", "features", "live", "paper", "training", "capture"),
    *("submit", "cluster", "renting", "footprint"),
)
TAKE_FULL = ("scale",)
PACKAGES = (
    "hftbacktest",
    "numba",
    "numpy",
    "polars",
    "pyarrow",
    "pytorch-forecasting",
    "ray",
    "statsmodels",
    "torch",
    "zstandard",
)
RESULTS = Path(__file__).parent / "results"


def _processor() -> str:
    """The processor's name, as Linux tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "code": code_version("venues", "book", "reconstruct", "features", "dataset", "forecast"),
    }


def run_one(name: str, full: bool, path: Path) -> list[Row]:
    """Rows of a benchmark, run in a process of its own. Raises CalledProcessError."""
    options = ["--full"] if full and name in TAKE_FULL else []
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--json", str(path), *options], check=True)
    return [Row.from_json(kept) for kept in json.loads(path.read_text())]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(BENCHMARKS), help=f"some of {','.join(BENCHMARKS)}")
    parser.add_argument("--full", action="store_true", help="a day of ten symbols too: five minutes more")
    parser.add_argument("--json", type=Path, help="where the figures go")
    arguments = parser.parse_args()
    names = [name.strip() for name in arguments.only.split(",")]
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"--only: no benchmark {', '.join(unknown)}; expected some of {', '.join(BENCHMARKS)}")
    measured_on, now = machine(), datetime.now(UTC)
    path = arguments.json or RESULTS / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            print(f"benchmark {name} ...", file=sys.stderr, flush=True)
            try:
                rows += run_one(name, arguments.full, Path(folder) / f"{name}.json")
            except subprocess.CalledProcessError as error:
                failed.append(f"{name} (exit code {error.returncode})")
    show(rows)
    kept = {"utc": now.isoformat(timespec="seconds"), "machine": measured_on, "rows": [row.to_json() for row in rows]}
    path.write_text(json.dumps(kept | {"failed": failed}, indent=1) + "\n")
    print(f"figures: {path}")
    for line in failed:
        print(f"benchmark failed: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
