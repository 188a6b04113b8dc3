"""`midas audit`: one table of stages, and exit code 1 where another future changes the past."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.table import Table

from midas_ray.audit.features import ComputedFeatures
from midas_ray.audit.finding import Finding
from midas_ray.console import err, out
from midas_ray.dataset.panel import Panel, load_panel
from midas_ray.errors import DataError
from midas_ray.forecast.model_folder import in_use
from midas_ray.settings import Audit
from midas_ray.storage import Storage


def audit(values: Audit) -> int:
    """Audit the whole chain; gives the exit code. Raises DataError with one line where something looks ahead."""
    storage = Storage.of(values)
    panel = load_panel(storage, values.venue, values.symbols)
    findings = []
    for finding in stages(storage, panel, values):
        err.print(f"{finding.stage}: {finding.result}")
        findings.append(finding)
    if values.as_json:
        print(json.dumps([finding.to_dict() for finding in findings], indent=1))
    else:
        out.print(_table(findings))
    leaks = [finding for finding in findings if finding.difference is not None]
    if leaks:
        others = f" ({len(leaks)} stages leak)" if len(leaks) > 1 else ""
        raise DataError(f"leak in {leaks[0].stage}: {leaks[0].difference}{others}")
    return 0


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "result", "tested, first difference"):
        table.add_column(name, no_wrap=name != "tested, first difference", overflow="fold")
    for finding in findings:
        table.add_row(finding.stage, finding.result, finding.difference or finding.not_tested or finding.tested)
    return table


def stages(storage: Storage, panel: Panel, values: Audit) -> Iterator[Finding]:
    """Each stage of the chain, in order."""
    rng = np.random.default_rng(values.seed)
    yield features(storage, panel, values.cuts, rng)
    # These import torch, which takes seconds: a leak in the features is told before.
    from midas_ray.audit import fitted, forecasts
    from midas_ray.audit.subject import Subject
    from midas_ray.forecast.forecaster import Forecaster

    subject = Subject.of(panel, values)
    yield fitted.columns(subject)
    yield fitted.scalers(subject)
    yield fitted.volatility(subject)
    cuts = forecasts.cuts_of(subject, values.cuts, rng)
    yield forecasts.windows(subject, cuts)
    found, baselines = fitted.baselines(subject)
    yield found
    found, small = fitted.training(subject)
    yield found
    networks = {"a network of the audit": small}
    folder = in_use(Path(values.model_dir)) if values.model is None else Path(values.model).resolve()
    refused = None
    if folder is not None:
        model = Forecaster.load(folder)
        try:
            model.check_panel(subject.panel)
            networks[f"model {folder.name}"] = model
        except DataError as error:
            if values.model is not None:
                raise
            refused = Finding("predictions", "", not_tested=f"model {folder.name}: {error}")
    yield from forecasts.predictions(subject, cuts, baselines, networks)
    if refused is not None:
        yield refused
    yield forecasts.judged_fold(subject, rng)


def features(storage: Storage, panel: Panel, count: int, rng: np.random.Generator) -> Finding:
    """The features of the clean data there are, at random cuts."""
    computed = {symbol: ComputedFeatures(storage, panel.venue, symbol) for symbol in panel.symbols}
    with_clean = [panel.symbols.index(symbol) for symbol, each in computed.items() if each.has_clean]
    known = ~np.isnan(panel.price) & np.isin(panel.symbol_index, with_clean)
    followed = np.zeros(len(panel), dtype=np.bool_)
    followed[:-1] = known[1:] & (np.diff(panel.ts_us) == panel.bucket_us) & (np.diff(panel.symbol_index) == 0)
    rows = np.flatnonzero(known & followed)
    if not len(rows):
        return Finding("features", "", not_tested=f"no clean data of {', '.join(panel.symbols)} under {storage.shown}")
    cuts = np.sort(rng.choice(rows, min(count, len(rows)), replace=False))
    symbols = [panel.symbols[index] for index in np.unique(panel.symbol_index[cuts])]
    tested = f"72 features of {', '.join(symbols)} up to {len(cuts)} cuts, bit for bit, from clean data"
    for row in cuts:
        with tempfile.TemporaryDirectory(prefix="midas-audit-") as folder:
            symbol = panel.symbols[panel.symbol_index[row]]
            difference = computed[symbol].difference(int(panel.ts_us[row]), folder)
        if difference is not None:
            return Finding("features", tested, difference)
    return Finding("features", tested)
