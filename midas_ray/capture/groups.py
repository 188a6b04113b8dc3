"""Which symbols share a collector process: the desired state of everything that is to collect into a data folder.

Pure: every function gives a new plan. A symbol stays in its group for as long as it is collected, so that adding or
removing another never moves it. The plan outlives the head node and every process, see `desired`.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
from pydantic import ValidationError

from midas_ray.errors import DataError, UsageError
from midas_ray.settings import Collect

NAME_PREFIX = "collector:"
NOT_SHARED = {"symbols", "data_dir", "spool_dir", "duration", "dashboard_port", "autoscaling_config"}
"""Settings that are not a group's own."""


class SymbolGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The symbols of one collector process, and the settings they are collected with (fields of `Collect`)."""

    settings: dict[str, Any]
    symbols: tuple[str, ...] = ()

    @property
    def venue(self) -> str:
        return str(self.settings["venue"])

    @property
    def room(self) -> int:
        """How many symbols it takes yet."""
        return max(int(self.settings["symbols_per_collector"]) - len(self.symbols), 0)

    def collect(self, data_dir: str) -> Collect:
        """Its settings as `Collect`. Raises DataError where they are not (any more) what `Collect` allows."""
        try:
            return Collect(**self.settings, symbols=self.symbols, data_dir=data_dir, duration=None)
        except ValidationError as error:
            wrong = error.errors()[0]
            name = ".".join(str(part) for part in wrong["loc"])
            raise DataError(
                f"kept settings of {', '.join(self.symbols)}: {name}: {wrong['msg']}, found {wrong['input']!r}; "
                "take the symbols off with midas down --symbols, then add them again"
            ) from None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Groups by name. pinned: what a choice such as `top:50` came to when it was first asked for, per venue."""

    groups: dict[str, SymbolGroup] = {}
    pinned: dict[str, tuple[str, ...]] = {}

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol, group by group."""
        return tuple(symbol for group in self.groups.values() for symbol in group.symbols)

    def group_of(self, symbol: str) -> str | None:
        """Name of the group that has the symbol; None where none has."""
        return next((name for name, group in self.groups.items() if symbol in group.symbols), None)


def actor_name(root: Path, group: str) -> str:
    """Name, in the namespace `midas`, of a group's collector; of another data folder's it is another."""
    return f"{NAME_PREFIX}{group}{name_tag(root)}"


def name_tag(root: Path) -> str:
    """What names of a data folder's collectors end in: others may collect on the same cluster."""
    return "." + hashlib.sha256(str(root).encode()).hexdigest()[:6]


def shared_settings(settings: Collect) -> dict[str, Any]:
    """The settings that all symbols of a group have in common."""
    return {name: value for name, value in settings.model_dump().items() if name not in NOT_SHARED}


def add_symbols(plan: Plan, symbols: Iterable[str], settings: dict[str, Any]) -> Plan:
    """The plan with these symbols; those it has stay where and as they are.

    New ones fill groups of the same settings that have room, in order, before another group is opened.
    """
    groups = dict(plan.groups)
    for symbol in dict.fromkeys(symbols):
        if any(symbol in group.symbols for group in groups.values()):
            continue
        name = next((name for name, group in groups.items() if group.settings == settings and group.room), None)
        if name is None:
            name = _free_name(groups, str(settings["venue"]))
            groups[name] = SymbolGroup(settings=settings)
        group = groups[name]
        groups[name] = msgspec.structs.replace(group, symbols=(*group.symbols, symbol))
    return msgspec.structs.replace(plan, groups=groups)


def plan_up(
    plan: Plan, asked: tuple[str, ...] | None, settings: dict[str, Any], given: set[str], running: set[str]
) -> Plan:
    """The plan once `midas up` has been told to collect `asked`; None = no symbols were named.

    given: names of the settings that this call says itself. running: names of groups whose process runs: they keep
    theirs. A symbol of another group takes `settings` where it is asked for; where none is, it keeps what it had, but
    for what is given. Raises UsageError where a symbol of the plan is of another venue.
    """
    for group in plan.groups.values():
        clash = [symbol for symbol in group.symbols if symbol in asked] if asked is not None else list(group.symbols)
        if clash and group.venue != settings["venue"] and (asked is not None or "venue" in given):
            raise UsageError(
                f"--venue {settings['venue']}: {clash[0]} of {group.venue} is collected into this data folder already; "
                f"take it off (midas down --symbols {clash[0]}) or choose another --data-dir"
            )
    if asked is None:
        changed = {name: settings[name] for name in given}
        groups = {
            name: group if name in running else msgspec.structs.replace(group, settings=group.settings | changed)
            for name, group in plan.groups.items()
        }
        return msgspec.structs.replace(plan, groups=groups)
    resting = [
        symbol
        for name, group in plan.groups.items()
        if name not in running and group.settings != settings
        for symbol in group.symbols
        if symbol in asked
    ]
    return add_symbols(without_symbols(plan, resting), asked, settings)


def without_symbols(plan: Plan, symbols: Iterable[str]) -> Plan:
    """The plan without these symbols, and without the groups that this empties."""
    gone = set(symbols)
    groups = {
        name: msgspec.structs.replace(group, symbols=tuple(left for left in group.symbols if left not in gone))
        for name, group in plan.groups.items()
    }
    groups = {name: group for name, group in groups.items() if group.symbols}
    return msgspec.structs.replace(plan, groups=groups)


def remove_symbols(plan: Plan, symbols: Iterable[str]) -> Plan:
    """The plan without these symbols and what this empties: groups, and choices of which none is left."""
    left = without_symbols(plan, symbols)
    kept = set(left.symbols)
    pinned = {choice: found for choice, found in plan.pinned.items() if kept.intersection(found)}
    return msgspec.structs.replace(left, pinned=pinned)


def pin(plan: Plan, venue: str, choice: str, symbols: tuple[str, ...]) -> Plan:
    """The plan that remembers what a choice such as `top:50` came to."""
    return msgspec.structs.replace(plan, pinned=plan.pinned | {f"{venue}/{choice}": symbols})


def pinned(plan: Plan, venue: str, choice: str) -> tuple[str, ...] | None:
    """What the choice came to when it was first asked for; None where it has not been."""
    return plan.pinned.get(f"{venue}/{choice}")


def _free_name(groups: dict[str, SymbolGroup], venue: str) -> str:
    number = 1
    while f"{venue}-{number}" in groups:
        number += 1
    return f"{venue}-{number}"
