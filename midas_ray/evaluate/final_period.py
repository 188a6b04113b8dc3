"""Opening the final period (`dataset.final_period`), once.

It is opened by an explicit flag, judged by a model trained on everything before it, and the opening is recorded in the
data store. Whoever opens a stretch that was opened before is told by what and when.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from midas_ray.dataset.final_period import FinalPeriod, final_period
from midas_ray.dataset.panel import Panel
from midas_ray.errors import CorruptFileError, UsageError
from midas_ray.evaluate.provenance import command_line
from midas_ray.settings import DEFAULT_FINAL_SHARE
from midas_ray.storage import Storage

RECORD = ".midas/final_period.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """That a final period was opened: by what, when, and what it showed."""

    venue: str
    symbols: tuple[str, ...]
    first_us: int
    last_us: int
    opened_at: str
    command: str
    data_digest: str
    code_version: str
    pooled_skill: dict[str, float]
    """By baseline."""
    again: bool
    """The stretch, or part of it, had been opened before."""


def openings(storage: Storage) -> list[Opening]:
    """All recorded openings, in order. Raises CorruptFileError."""
    if not storage.exists(RECORD):
        return []
    try:
        stored: list[dict[str, Any]] = json.loads(storage.read_bytes(RECORD))
        return [Opening(**{**entry, "symbols": tuple(entry["symbols"])}) for entry in stored]
    except (ValueError, TypeError, KeyError):
        raise CorruptFileError(
            f"{storage.shown_path(RECORD)}: expected the record of opened final periods, found something else; "
            "restore it from a backup: without it nobody knows what was opened"
        ) from None


def earlier_opening(storage: Storage, panel: Panel, first_us: int) -> Opening | None:
    """The last opening that has seen some of what lies from `first_us` on, for one of the panel's symbols."""
    seen = [
        opening
        for opening in openings(storage)
        if opening.venue == panel.venue and set(opening.symbols) & set(panel.symbols) and opening.last_us >= first_us
    ]
    return seen[-1] if seen else None


def check_unopened(storage: Storage, panel: Panel, period: FinalPeriod, again: bool) -> Opening | None:
    """The earlier opening, if any. Raises UsageError where there is one and `again` is not set."""
    earlier = earlier_opening(storage, panel, period.first_us)
    if earlier is not None and not again:
        until = np.datetime64(earlier.last_us, "us").astype("datetime64[s]")
        raise UsageError(
            f"--open-final: the data up to {until} UTC were opened on {earlier.opened_at} by `{earlier.command}`; a "
            "final period is judged once: collect newer data, or --open-final-again, and the report will say so"
        )
    return earlier


def record_opening(
    storage: Storage, panel: Panel, period: FinalPeriod | None, last_us: int, code: str, pooled_skill: dict[str, float]
) -> None:
    """Append to the record, atomically, that outcomes up to `last_us` have been looked at.

    `period`: None where none was kept back: then what would have been it by default counts as opened.
    """
    seen = period or final_period(panel, DEFAULT_FINAL_SHARE, None)
    first_us = last_us if seen is None else seen.first_us
    opening = Opening(
        venue=panel.venue,
        symbols=panel.symbols,
        first_us=first_us,
        last_us=last_us,
        opened_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        command=command_line(),
        data_digest=panel.digest(),
        code_version=code,
        pooled_skill=pooled_skill,
        again=earlier_opening(storage, panel, first_us) is not None,
    )
    entries = [asdict(entry) for entry in [*openings(storage), opening]]
    storage.write_bytes(RECORD, json.dumps(entries, indent=1).encode())
