"""`midas pipeline`, `jobs/pipeline.py`: from raw journals to a backtest, each stage only where its inputs changed.

Reconstruct and features find out by themselves what is not up to date; validate, train and backtest run where the
tables they read, their settings or their code are not those of their last run that ended well. A pipeline that was cut
off begins where it was, a training at its last epoch.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from rich.table import Table

from midas_ray import settings
from midas_ray.code_version import code_version
from midas_ray.console import err, out
from midas_ray.errors import MidasError
from midas_ray.pipeline_record import Record, StageRecord, fingerprint, key_of
from midas_ray.progress import duration_text
from midas_ray.setting_values import PIPELINE_STAGES
from midas_ray.storage import Storage

S = TypeVar("S", bound=settings.MidasSettings)
UP_TO_DATE, DONE, FAILED, STOPPED, NOT_RUN = "up to date", "done", "failed", "stopped", "not run"


@dataclass(slots=True)
class _Outcome:
    """What became of a stage."""

    stage: str
    state: str = NOT_RUN
    note: str = ""
    seconds: float = 0.0
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class _Pipeline:
    values: settings.Pipeline
    storage: Storage
    record: Record
    outcomes: list[_Outcome] = field(default_factory=list)

    def of(self, kind: type[S]) -> S:
        """The settings of a stage."""
        given = {name: getattr(self.values, name) for name in kind.model_fields if hasattr(self.values, name)}
        return cast(S, kind.model_construct(**given))

    def inputs(self, *tables: str) -> str:
        return fingerprint(self.storage, tables, self.values.venue, self.values.symbols)


def pipeline(values: settings.Pipeline) -> int:
    """Run the stages that are asked for; gives the exit code of the first that fails, and runs none after it unless
    told to go on. Raises DataError where the record of the last run is damaged."""
    storage = Storage.of(values)
    first = PIPELINE_STAGES.index(values.from_stage)
    stages = [stage for stage in PIPELINE_STAGES[first:] if stage in values.stages]
    work = _Pipeline(values, storage, Record(storage, values))
    work.outcomes.extend(_Outcome(stage) for stage in stages)
    try:
        for outcome in work.outcomes:
            err.print(f"== {outcome.stage}")
            with _told(outcome):
                _RUN[outcome.stage](work, outcome)
            if outcome.exit_code and not values.keep_going:
                break
    finally:
        out.print(_table(work.outcomes))
    return next((outcome.exit_code for outcome in work.outcomes if outcome.exit_code), 0)


@contextlib.contextmanager
def _told(outcome: _Outcome) -> Iterator[None]:
    """Note what becomes of the stage in the block; an expected failure is one line, as of the stage's own command."""
    began_s = time.monotonic()
    try:
        yield
        if outcome.exit_code:
            outcome.state = FAILED
        elif outcome.state == NOT_RUN:
            outcome.state = DONE
    except MidasError as error:
        sys.stderr.write(f"{error}\n")
        outcome.state, outcome.note, outcome.exit_code = FAILED, str(error), error.exit_code
    except BaseException:
        outcome.state = STOPPED
        raise
    finally:
        outcome.seconds = time.monotonic() - began_s


def _table(outcomes: list[_Outcome]) -> Table:
    table = Table(title="pipeline", title_justify="left", box=None, pad_edge=False)
    for name in ("stage", "state", "time", ""):
        table.add_column(name, no_wrap=bool(name), justify="right" if name == "time" else "left")
    for each in outcomes:
        table.add_row(each.stage, each.state, duration_text(each.seconds) if each.seconds else "", each.note)
    return table


def _reconstruct(work: _Pipeline, outcome: _Outcome) -> None:
    from midas_ray.reconstruct.run import reconstruct

    values = work.of(settings.Reconstruct)
    present = work.storage.symbols("raw", values.venue)
    with_raw = tuple(symbol for symbol in values.symbols if symbol in present)
    if work.storage.symbols("clean", values.venue) and not (with_raw if values.symbols else present):
        outcome.state, outcome.note = UP_TO_DATE, "no raw journals: clean tables were imported"
        return
    _incremental(
        work, outcome, "clean", lambda: reconstruct(values.model_copy(update={"symbols": with_raw or values.symbols}))
    )


def _features(work: _Pipeline, outcome: _Outcome) -> None:
    from midas_ray.features.run import features

    _incremental(work, outcome, "features", lambda: features(work.of(settings.Features)))


def _incremental(work: _Pipeline, outcome: _Outcome, table: str, run: Callable[[], int]) -> None:
    before = work.inputs(table)
    outcome.exit_code = run()
    if work.inputs(table) == before:
        outcome.state = UP_TO_DATE


def _validate(work: _Pipeline, outcome: _Outcome) -> None:
    values = work.of(settings.Validate)
    reports = Storage(values.report_dir) if values.report_dir else work.storage
    page = "data_quality.html" if values.report_dir else "reports/data_quality.html"

    def run() -> int:
        from midas_ray.quality.run import validate

        return validate(values)

    key = key_of(work.inputs("clean", "features"), code_version("quality"), values.model_dump(mode="json"))
    _where_changed(work, outcome, key, there=lambda: reports.exists(page), run=run)


def _backtest(work: _Pipeline, outcome: _Outcome) -> None:
    from midas_ray.evaluate.outputs import destination
    from midas_ray.evaluate.provenance import CODE

    values = work.of(settings.Backtest)
    place = destination(values.data_dir, values.output)

    def run() -> int:
        from midas_ray.evaluate.run import backtest

        return backtest(values)

    key = key_of(work.inputs("features"), code_version(*CODE), values.model_dump(mode="json"))
    _where_changed(work, outcome, key, there=lambda: place.storage.exists(place.html), run=run)


def _where_changed(
    work: _Pipeline, outcome: _Outcome, key: str, there: Callable[[], bool], run: Callable[[], int]
) -> None:
    before = work.record.of(outcome.stage)
    if not work.values.again and before is not None and before.done and before.key == key and there():
        outcome.state = UP_TO_DATE
        return
    outcome.exit_code = run()
    if outcome.exit_code == 0:
        work.record.note(outcome.stage, StageRecord(key=key, done=True))


def _train(work: _Pipeline, outcome: _Outcome) -> None:
    from midas_ray.forecast.checkpoints import Checkpoints
    from midas_ray.forecast.model_folder import new_run_id
    from midas_ray.forecast.run import train

    values, before = work.of(settings.Train), work.record.of(outcome.stage)
    key = key_of(work.inputs("features"), code_version("dataset", "forecast"), values.model_dump(mode="json"))
    same = before is not None and before.key == key and not work.values.again
    if same and before is not None and before.run is not None:
        if (Path(values.model_dir) / before.run / "best_model.pt").is_file():
            outcome.state, outcome.note = UP_TO_DATE, before.run
            return
        if Checkpoints(work.storage, before.run).exist():
            err.print(f"going on with {before.run}, which was cut off")
            values = values.model_copy(update={"resume": before.run})
    outcome.note = values.resume or new_run_id()
    work.record.note(outcome.stage, StageRecord(key=key, run=outcome.note))
    outcome.exit_code = train(values, outcome.note)
    work.record.note(outcome.stage, StageRecord(key=key, run=outcome.note, done=True))


_RUN: dict[str, Callable[[_Pipeline, _Outcome], None]] = {
    "reconstruct": _reconstruct,
    "features": _features,
    "validate": _validate,
    "train": _train,
    "backtest": _backtest,
}
