"""`midas models list`, `promote RUN`, `compare RUN RUN`."""

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from midas_ray.code_version import code_version
from midas_ray.console import out
from midas_ray.dataset.final_period import final_period
from midas_ray.dataset.panel import load_panel
from midas_ray.errors import UsageError
from midas_ray.evaluate.final_period import record_opening
from midas_ray.evaluate.provenance import CODE
from midas_ray.forecast.model_folder import PROMOTED, check_folder, point
from midas_ray.registry.entries import Entry, read_entry, runs
from midas_ray.settings import Models
from midas_ray.storage import Storage

HISTORY = "promotions.jsonl"
LIST_WIDTH = 150
"""Columns that `midas models list` takes where the terminal is narrower: it is cut by no pipe."""


def models(values: Models) -> int:
    """Run the action; gives the exit code. Raises MidasError with one line."""
    wanted = {"list": 0, "promote": 1, "compare": 2}[values.action]
    if len(values.runs) != wanted:
        raise UsageError(
            f"midas models {values.action}: expected {wanted} run{'' if wanted == 1 else 's'}, found "
            f"{len(values.runs)}; midas models list shows them"
        )
    model_dir = Path(values.model_dir).resolve()
    if values.action == "list":
        return _list(values, model_dir)
    if values.action == "promote":
        return _promote(values, model_dir)
    return _compare(values, model_dir)


def _percent(share: float | None, sign: str = "+") -> str:
    return "-" if share is None else f"{100 * share:{sign}.1f} %"


def _list(values: Models, model_dir: Path) -> int:
    entries = [read_entry(model_dir, run) for run in runs(model_dir)]
    if values.as_json:
        print(json.dumps([entry.to_dict() for entry in entries], indent=1))
        return 0
    if not entries:
        out.print(f"no models under {model_dir}; run midas train")
        return 0
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for column in ("symbols", "bucket", "fitted until", "test loss", "skill", "P10-P90", "code", "data"):
        table.add_column(column, no_wrap=True)
    for entry in entries:
        symbols = ", ".join(entry.symbols[:3]) + (f" +{len(entry.symbols) - 3}" if len(entry.symbols) > 3 else "")
        table.add_row(
            f"{entry.run}{''.join(f' *{mark}' for mark in entry.marks)}",
            symbols,
            f"{entry.bucket_ms / 1000:g} s",
            entry.fit_end[:16].replace("T", " "),
            "-" if entry.test_loss_bps is None else f"{entry.test_loss_bps:.3f} bps",
            _percent(entry.test_skill),
            _percent(entry.test_coverage, ""),
            entry.code_version or "-",
            (entry.data_digest or "-")[:8],
        )
    Console(file=out.file, width=max(out.width, LIST_WIDTH), highlight=False).print(table)
    out.print("losses and skill (over trailing quantiles) are those of each model's own test part: compare on the same")
    out.print("rows by midas models compare RUN RUN")
    return 0


def _promote(values: Models, model_dir: Path) -> int:
    from midas_ray.forecast.forecaster import Forecaster

    entry = read_entry(model_dir, values.runs[0])
    Forecaster.load(model_dir / entry.run)
    check_folder("--model-dir", model_dir)
    before = (model_dir / PROMOTED).resolve().name if (model_dir / PROMOTED).exists() else None
    point(model_dir, PROMOTED, entry.run)
    line = {
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "run": entry.run, "before": before, "by": getpass.getuser(),
    }  # fmt: skip
    with (model_dir / HISTORY).open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    if values.as_json:
        print(json.dumps(line))
    else:
        out.print(f"promoted {entry.run}{f' in the place of {before}' if before else ''}: midas forecast takes it up")
    return 0


def _compare(values: Models, model_dir: Path) -> int:
    from midas_ray.forecast.forecaster import Forecaster
    from midas_ray.registry.compare import compare

    entries: list[Entry] = [read_entry(model_dir, run) for run in values.runs]
    if entries[0].run == entries[1].run:
        raise UsageError(f"midas models compare: expected two runs, found {entries[0].run} twice")
    loaded = {entry.run: Forecaster.load(model_dir / entry.run) for entry in entries}
    shared = tuple(symbol for symbol in entries[0].symbols if symbol in entries[1].symbols)
    chosen = tuple(symbol for symbol in shared if not values.symbols or symbol in values.symbols)
    if not chosen:
        raise UsageError(f"midas models compare: expected a symbol of both models, found {', '.join(shared) or 'none'}")
    storage = Storage.of(values)
    panel = load_panel(storage, entries[0].venue, chosen)
    final = final_period(panel, values.final_share, values.final_from)
    found = compare(panel, loaded, final)
    first, second = found.names
    pooled = found.scores.skill[second].pooled
    if final is None:
        record_opening(storage, panel, None, found.last_us, code_version(*CODE), {second: float(pooled.value)})
    report: dict[str, Any] = {
        "symbols": list(chosen),
        "windows": found.scores.n_origins,
        "from": str(np.datetime64(found.first_us, "us")),
        "to": str(np.datetime64(found.last_us, "us")),
        "loss_bps": {name: float(found.scores.delivered(name).mean_pinball.value) for name in found.names},
        "coverage": {name: float(found.scores.delivered(name).calibration.coverage.value) for name in found.names},
        "skill_of_first": [float(pooled.value), float(pooled.lower), float(pooled.upper)],
        "diebold_mariano_p": found.scores.diebold_mariano[second].p_value,
    }
    if values.as_json:
        print(json.dumps(report, indent=1))
        return 0
    better = "better" if pooled.excludes_zero_above() else "worse" if pooled.excludes_zero_below() else "not told apart"
    for name in found.names:
        out.print(f"{name}: loss {report['loss_bps'][name]:.4f} bps, P10-P90 {100 * report['coverage'][name]:.1f} %")
    value, lower, upper = (100 * number for number in report["skill_of_first"])
    out.print(
        f"{first} over {second}: skill {value:+.2f} % (95 % interval {lower:+.2f} to {upper:+.2f} %), {better}, on "
        f"{found.scores.n_origins:,} windows after both training ends"
    )
    return 0
