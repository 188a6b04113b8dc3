"""`midas validate`: reads what is under DATA_DIR, prints the checks, writes the report as JSON and as one HTML page."""

import json
from datetime import UTC, datetime

from rich.table import Table

from midas_ray.console import out
from midas_ray.progress import TaskProgress
from midas_ray.quality.document import Context, document
from midas_ray.quality.findings import CHECKS, Findings
from midas_ray.quality.report import render, verdict_of
from midas_ray.quality.scan import SymbolQuality, scan_symbol
from midas_ray.quality.soft import check_soft
from midas_ray.quality.source import Source
from midas_ray.settings import Validate
from midas_ray.storage import Storage

_STYLES = {"PASS": "green", "FAIL": "bold red", "WARN": "yellow", "SKIP": "dim"}


def validate(settings: Validate) -> int:
    """Check and report; 0 only where no hard check (with `strict`: no check) fails.

    Raises DataError without clean data, CorruptFileError and SchemaError for a file that cannot be read, StorageError
    where the reports cannot be written: one line each, and no report.
    """
    storage = Storage.of(settings)
    source = Source(storage, settings.venue, settings.symbols)
    reports, folder = (storage, "reports/") if settings.report_dir is None else (Storage(settings.report_dir), "")
    reports.check_writable()
    qualities = scan(source)
    total = Findings()
    for quality in qualities:
        total.absorb(quality.findings)
    context = Context(settings.venue, storage.shown, settings.strict, datetime.now(UTC))
    text = json.dumps(document(qualities, total, context), allow_nan=False)
    page = render(qualities, total, context)
    reports.write_bytes(f"{folder}data_quality.json", text.encode())
    reports.write_bytes(f"{folder}data_quality.html", page.encode())
    out.print(summary(total, settings.strict))
    _print_findings(total, settings.strict)
    if not any(quality.features.rows for quality in qualities):
        out.print("no features yet: only the clean tables were checked (run midas features, then validate again)")
    out.print(verdict_of(total, settings.strict), markup=False)
    for name in ("data_quality.html", "data_quality.json"):
        out.print(f"report: {reports.shown_path(folder + name)}", markup=False)
    return 1 if total.failed(settings.strict) else 0


def scan(source: Source) -> list[SymbolQuality]:
    """Every symbol, one file at a time, with progress."""
    files = sum(len(each) for symbol in source.symbols for each in source.files[symbol].values())
    qualities = []
    with TaskProgress("validate", files, files, 0) as progress:
        for symbol in source.symbols:
            quality = scan_symbol(source, symbol, lambda: progress.advance(1, 0))
            check_soft(quality)
            qualities.append(quality)
    return qualities


def summary(total: Findings, strict: bool) -> Table:
    """The checks with their status and figures, for the terminal."""
    table = Table(title="data quality", title_justify="left", box=None, pad_edge=False)
    for name, justify in (("status", "left"), ("check", "left"), ("findings", "right"), ("looked at", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for check in CHECKS:
        status = total.status(check.name, strict)
        table.add_row(
            f"[{_STYLES[status]}]{status}[/]",
            check.name,
            f"{total.counts[check.name]:,}",
            f"{total.looked_at[check.name]:,} {check.unit}",
        )
    return table


def _print_findings(total: Findings, strict: bool) -> None:
    for check in CHECKS:
        status = total.status(check.name, strict)
        if status not in ("FAIL", "WARN"):
            continue
        shown = total.examples[check.name][:3]
        for finding in shown:
            out.print(f"{status} {check.name}: {finding}", markup=False)
        if total.counts[check.name] > len(shown):
            out.print(f"{status} {check.name}: and {total.counts[check.name] - len(shown):,} more")
