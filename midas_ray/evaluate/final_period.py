"""Opening the final period (`dataset.final_period`), once.

It is opened by an explicit flag, judged by a model trained on everything before it, and the opening is recorded in the
data store. Whoever opens a stretch that was opened before is told by what and when.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from midas_ray.dataset.final_period import FinalPeriod
from midas_ray.dataset.panel import Panel
from midas_ray.errors import CorruptFileError, UsageError
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


def record_opening(storage: Storage, opening: Opening) -> None:
    """Append to the record, atomically."""
    entries = [asdict(entry) for entry in [*openings(storage), opening]]
    storage.write_bytes(RECORD, json.dumps(entries, indent=1).encode())


def now_text() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
