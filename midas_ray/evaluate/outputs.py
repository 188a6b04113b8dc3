"""The three files of a backtest: fills (CSV), metrics (JSON), report (HTML). All are made before any is written."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from midas_ray.errors import StorageError, UsageError
from midas_ray.evaluate.fills import fills_csv
from midas_ray.evaluate.metrics import metrics
from midas_ray.evaluate.outcome import Outcome
from midas_ray.evaluate.report.page import render
from midas_ray.storage import Storage

DEFAULT_OUTPUT = "reports/backtest_results.html"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the files go: a storage and the HTML page's path in it; `.json` and `.csv` lie beside the page."""

    storage: Storage
    html: str

    @property
    def stem(self) -> str:
        return self.html.removesuffix(".html")

    def shown(self, suffix: str) -> str:
        """The path of a file, for people."""
        return self.storage.shown_path(f"{self.stem}{suffix}")


def destination(data_dir: str, output: str | None) -> Destination:
    """Where `--output` points, or DATA_DIR/reports. Raises UsageError and StorageError before any work is done."""
    if output is None:
        place = Destination(Storage(data_dir), DEFAULT_OUTPUT)
    else:
        folder, _, name = output.rpartition("/")
        if not name.endswith(".html") or name == ".html":
            raise UsageError(
                f"--output {output}: expected the path of a page that ends in .html; .json and .csv go beside it"
            )
        place = Destination(Storage(folder or ("/" if output.startswith("/") else ".")), name)
    _check_writable(place)
    return place


def _check_writable(place: Destination) -> None:
    """Before hours of work. A local folder is looked at only, so that a failing backtest leaves none behind."""
    if not place.storage.is_local:
        place.storage.check_writable()
        return
    page = Path(place.shown(".html"))
    if page.is_dir():
        raise UsageError(f"--output {page}: expected a file, found a folder")
    nearest = next(folder for folder in page.parents if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        found = "one without write permission" if nearest.is_dir() else "a file"
        raise StorageError(
            f"{nearest}: expected a writable folder for the report, found {found}; choose another --output"
        )


def write(outcome: Outcome, place: Destination) -> None:
    """Write fills, metrics and page, each atomically. Raises StorageError."""
    files = {
        ".csv": fills_csv(outcome),
        ".json": json.dumps(metrics(outcome), indent=1, allow_nan=False).encode(),
        ".html": render(outcome).encode(),
    }
    for suffix, data in files.items():
        place.storage.write_bytes(place.stem + suffix, data)
