"""`midas tune`."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from midas_ray import console, settings
from midas_ray.dataset.panel import IntArray, load_panel
from midas_ray.errors import StorageError, UsageError
from midas_ray.features.registry import FEATURES
from midas_ray.forecast.checkpoints import TrainingRecord, read_record
from midas_ray.forecast.model_folder import check_folder
from midas_ray.forecast.parts import Parts, split_panel
from midas_ray.ray_session import ray_session
from midas_ray.storage import Storage

if TYPE_CHECKING:  # it imports torch
    from midas_ray.forecast.tuning.trial import TrialData

ROOT = "tuning"
RECORD = "study.json"
BEST = "best.yaml"
WHERE_IT_RUNS = (
    "data_dir", "spool_dir", "ray_address", "num_cpus", "cpus_per_trial", "gpus_per_trial", "resume", "output",
    "log_dir", "wait_for_gpus", "fake_gpus",
)  # fmt: skip
"""Settings that a resumed study takes from its command; all others are its own."""


def tune(values: settings.Tune) -> int:
    """Search on the feature table; writes DATA_DIR/tuning/<study>/ and the best configuration. Gives the exit code.

    The test part and the final period are not read. Raises MidasError with one line; no configuration is written then.
    """
    storage = Storage.of(values)
    study, record = _study(storage, values)
    if record is not None:
        here = {name: getattr(values, name) for name in WHERE_IT_RUNS}
        values = settings.Tune.model_validate({**record.settings, **here})
    panel = load_panel(storage, values.venue, values.symbols)
    if record is not None:
        panel = panel.until(record.last_ts_us)
    parts = split_panel(panel, _longest(values))
    folder, log_dir = f"{ROOT}/{study}", Path(values.log_dir).resolve()
    if values.output is not None:
        check_folder("--output", Path(values.output).resolve().parent)
    check_folder("--log-dir", log_dir)
    for line in parts.sentences():
        console.err.print(line)
    with ray_session(values):
        _search(storage, folder, values, parts, int(panel.ts_us.max()), record, log_dir / study)
    return 0


def _study(storage: Storage, values: settings.Tune) -> tuple[str, TrainingRecord | None]:
    """Name of the study, and what it began with where it is gone on with. Raises UsageError."""
    if values.resume is not None:
        path = f"{ROOT}/{values.resume}/{RECORD}"
        if not storage.exists(path):
            known = ", ".join(path.split("/")[1] for path in storage.list_files(ROOT, f"/{RECORD}")) or "none"
            raise UsageError(f"--resume {values.resume}: expected a study, found {known}")
        return values.resume, read_record(storage, path, f"--resume {values.resume}")
    study = values.name or f"study-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}", study):
        raise UsageError(f"--name {study}: expected letters, digits, dots and dashes")
    if storage.exists(f"{ROOT}/{study}/{RECORD}"):
        raise UsageError(f"--name {study}: expected a new name, found a study of it; --resume {study} goes on with it")
    return study, None


def _longest(values: settings.Tune) -> settings.Train:
    """The settings of the split: the windows that the longest encoder allows serve all trials."""
    given = {name: getattr(values, name) for name in settings.Tune.model_fields if name in settings.Train.model_fields}
    return settings.Train.model_construct(**{**given, "input_length": max(values.input_lengths)})


def _search(
    storage: Storage,
    folder: str,
    values: settings.Tune,
    parts: Parts,
    last_ts_us: int,
    record: TrainingRecord | None,
    log_dir: Path,
) -> None:
    # These import torch and Ray Tune, which take seconds: bad input is refused before.
    from midas_ray.forecast.tuning.outcome import StudyOutcome
    from midas_ray.forecast.tuning.space import search_space
    from midas_ray.forecast.tuning.study import run_study, share_of_trial
    from midas_ray.forecast.tuning.watch import finished_trials

    family_of = {feature.name: feature.family for feature in FEATURES}
    present = {family_of[name] for name in parts.choice.columns}
    families = tuple(family for family in values.optional_families if family in present)
    search_space(values, families)
    share = share_of_trial(values)
    study = Path(folder).name
    data = _trial_data(values, parts, study, finished_trials(storage, folder), share.gpus > 0)
    if record is None:
        stored = values.model_dump(mode="json", exclude={*WHERE_IT_RUNS, "name"})
        content = TrainingRecord(settings=stored, last_ts_us=last_ts_us, digest="")
        storage.write_bytes(f"{folder}/{RECORD}", content.to_json())
    console.err.print(
        f"study {study}: {values.trials} trials of at most {values.epochs} epochs, {len(data.train)} training windows "
        f"(--stride {values.stride} thins them), {len(data.validation)} to judge by; {share.sentence()}; "
        f"if it is cut off, midas tune --resume {study} goes on with it"
    )
    found = run_study(storage, folder, values, data, share, families, log_dir, resume=record is not None)
    outcome = StudyOutcome.of(study, found)
    _write(storage, folder, values, outcome)


def _trial_data(
    values: settings.Tune, parts: Parts, study: str, finished: dict[str, dict[str, Any]], gpu: bool
) -> "TrialData":
    """The windows of all trials, on a panel that ends where the last validation label does."""
    from midas_ray.forecast.board import open_board
    from midas_ray.forecast.tuning.trial import TrialData

    panel, split = parts.panel, parts.split
    end_us = int(panel.ts_us[split.validation].max()) + values.output_length * panel.bucket_us
    place = np.cumsum(panel.ts_us <= end_us) - 1

    def placed(origins: IntArray) -> IntArray:
        return place[origins]

    fixed = settings.OptimisationSettings.model_construct(
        **{name: getattr(values, name) for name in settings.OptimisationSettings.model_fields}
    )
    return TrialData(
        panel=panel.until(end_us),
        train=placed(split.train),
        validation=placed(split.validation),
        columns=parts.choice.columns,
        fixed=fixed,
        threads=values.cpus_per_trial,
        gpu=gpu,
        fake_gpus=values.fake_gpus,
        board=open_board(study),
        finished=finished,
    )


def _write(storage: Storage, folder: str, values: settings.Tune, outcome: Any) -> None:
    documents = {
        "trials.csv": outcome.table(),
        "tuning.json": outcome.document(values),
        BEST: outcome.configuration(values),
    }
    for name, text in documents.items():
        storage.write_bytes(f"{folder}/{name}", text.encode())
    best = storage.shown_path(f"{folder}/{BEST}")
    if values.output is not None:
        output = Path(values.output).resolve()
        try:
            for path, name in ((output, BEST), (output.with_name("tuning.json"), "tuning.json")):
                path.write_text(documents[name])
        except OSError as error:
            raise StorageError(f"--output {output}: expected a writable file, found: {error.strerror}") from None
        best = str(output)
    console.out.print(
        f"best of {len(outcome.trials)} trials: {outcome.best['validation_bps']:.4f} bps on the validation part"
    )
    console.out.print(f"trials: {storage.shown_path(f'{folder}/trials.csv')}")
    console.out.print(f"best configuration: {best} (midas train --config {best})")
