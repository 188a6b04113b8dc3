"""Which units go and which stay, and why: pure."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from midas_ray.retention.units import Key, Need, Unit

_RANK = {"raw": 0, "clean": 1, "feature_stats": 2, "features": 3, "live_features": 4}

MadeFrom = Callable[[dict[Key, Unit], Key], str | None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may stay. With neither, nothing may."""

    older_than_s: float | None
    max_size: float | None


@dataclass(slots=True)
class Choice:
    """go: in the order in which it is deleted. kept: every other unit of the chosen tables and why; held_back: those of
    them that a limit asks for, but that are needed."""

    go: list[Unit] = field(default_factory=list)
    kept: list[tuple[Unit, str]] = field(default_factory=list)
    held_back: int = 0
    size_left: int = 0


def choose(
    units: dict[Key, Unit],
    tables: tuple[str, ...],
    needs: dict[Key, Need],
    made_from: MadeFrom,
    limits: Limits,
    now: datetime,
    *,
    delete_unfinished: bool = False,
) -> Choice:
    """Oldest first; what was made from a day of raw has its turn with the next day, as raw reaches across midnight.

    units: everything there is, of all tables. needs: what must stay, without what a flag has released. made_from: see
    `needs.made_from`; it is not asked where `delete_unfinished`.
    """
    left = dict(units)
    chosen = sorted((unit for key, unit in units.items() if key.table in tables), key=_turn)
    choice = Choice(size_left=sum(unit.size for unit in chosen))
    for unit in chosen:
        spared = _spared(unit, limits, choice.size_left, now)
        need = None if spared else needs.get(unit.key)
        source = None if spared or delete_unfinished else made_from(left, unit.key)
        reason = spared or (need and need.reason) or source
        if reason:
            choice.kept.append((unit, reason))
            choice.held_back += not spared
            continue
        choice.go.append(unit)
        choice.size_left -= unit.size
        del left[unit.key]
    return choice


def _turn(unit: Unit) -> tuple[object, int, Key]:
    rank = _RANK[unit.key.table]
    return unit.key.day + timedelta(days=min(rank, 1)), rank, unit.key


def _spared(unit: Unit, limits: Limits, size: int, now: datetime) -> str | None:
    """Why the limits do not ask for a unit; None where they do."""
    if limits.older_than_s is None and limits.max_size is None:
        return None
    if limits.older_than_s is not None and unit.end + timedelta(seconds=limits.older_than_s) <= now:
        return None
    if limits.max_size is not None and size > limits.max_size:
        return None
    reasons = ["younger than --older-than"] * (limits.older_than_s is not None)
    return " and ".join(reasons + ["within --max-size"] * (limits.max_size is not None))
