"""What `midas status` prints: a table, or JSON for other programs."""

import json
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from midas_ray import console
from midas_ray.capture.groups import Plan, actor_name
from midas_ray.capture.health import Health
from midas_ray.capture.limits import LimitsState
from midas_ray.capture.upload import Waiting

DONE = ("live", "delisted")
"""States with which nothing is the matter."""
PLAIN_WIDTH = 160
LEAST_WIDTH = 100
HOURS_A_DAY = 24
MB = 1e6

COLUMNS = (
    ("symbol", "left"),
    ("state", "left"),
    ("best bid", "right"),
    ("best ask", "right"),
    ("spread\nbps", "right"),
    ("age\ns", "right"),
    ("frames\nper s", "right"),
    ("gaps", "right"),
    ("silent\nstreams", "right"),
    ("conns\nup", "right"),
    ("won %\nA/B", "right"),
    ("latency ms\np50/p99", "right"),
)
HELD = ("held\nMB", "right")
"""Shown where a disk takes nothing."""


def healths_of(root: Path, plan: Plan, answers: dict[str, list[Health] | None]) -> list[Health]:
    """Health of every symbol of the plan, and of what other data folders collect, by symbol.

    answers: what each collector said, by the name of its actor; None where it does not answer. State `down` where there
    is none.
    """
    left, healths = dict(answers), []
    for group, members in plan.groups.items():
        name = actor_name(root, group)
        state, error = "down", "no collector runs; run midas up"
        if name in left:
            state, error = "silent", f"{name} does not answer"
        said = {health.symbol: health for health in left.pop(name, None) or []}
        healths += [
            said.get(symbol) or Health(symbol=symbol, state=state, pid=0, collector=group, error=error)
            for symbol in members.symbols
        ]
    for name, others in left.items():
        silent = [Health(symbol=name, state="silent", pid=0, error="does not answer")]
        healths += silent if others is None else others
    return sorted(healths, key=lambda health: health.symbol)


def status_row(health: Health) -> list[str]:
    """Cells of a symbol, as COLUMNS names them; age and latency are those of depth messages."""
    age_s, latency_ms = health.age_s.get("depth"), health.latency_ms.get("depth")
    return [
        health.symbol,
        health.state,
        "-" if health.best_bid is None else health.best_bid[0],
        "-" if health.best_ask is None else health.best_ask[0],
        "-" if health.spread_bps is None else f"{health.spread_bps:.2f}",
        "-" if age_s is None else f"{age_s:.1f}",
        f"{health.frames_per_s:.1f}",
        str(health.gaps),
        str(health.silences),
        str(health.connected),
        _won(health.wins),
        "-" if latency_ms is None else f"{latency_ms[0]:.0f}/{latency_ms[1]:.0f}",
    ]


def _won(wins: dict[str, int]) -> str:
    """Share of the messages that each connection brought first, in the order of their letters."""
    total = sum(wins.values())
    return "/".join(f"{100 * wins[name] / total:.0f}" for name in sorted(wins)) if total else "-"


def days_left(healths: list[Health], free_bytes: int) -> float | None:
    """In how many days the disk is full at the present rate; None where nothing is written yet."""
    per_day = bytes_per_day(healths)
    return free_bytes / per_day if per_day else None


def bytes_per_day(healths: list[Health]) -> float:
    """Growth on disk of all symbols together."""
    return sum(health.bytes_per_hour or 0.0 for health in healths) * HOURS_A_DAY


def disk_line(healths: list[Health], free_bytes: int) -> str:
    """Free space, and in how many days it is used up at the present rate."""
    days, line = days_left(healths, free_bytes), f"disk: {console.size_text(free_bytes)} free"
    if days is None:
        return line
    return f"{line}, full in {days:,.0f} days at {console.size_text(bytes_per_day(healths))} a day"


def limits_line(exchange: str, limits: LimitsState) -> str:
    """What is used of what an exchange allows an address, and whether it refuses."""
    line = (
        f"{exchange}: request weight {limits.used_weight} of {limits.weight_limit} a minute, "
        f"{limits.connections} of {limits.connection_limit} connections in 5 minutes"
    )
    return line if limits.reason is None else f"{line}; refused: {limits.reason}"


def error_lines(healths: list[Health]) -> list[str]:
    """Each error once, with the symbols that it befell."""
    befell: dict[str, list[str]] = {}
    for health in healths:
        if health.error is not None:
            befell.setdefault(health.error, []).append(health.symbol)
    return [
        error if error.startswith(f"{symbols[0]}:") else f"{', '.join(symbols)}: {error}"
        for error, symbols in befell.items()
    ]


def count_line(healths: list[Health]) -> str:
    """How many symbols are in which state."""
    states = Counter(health.state for health in healths)
    return f"{len(healths)} symbols: {', '.join(f'{count} {state}' for state, count in states.most_common())}"


def as_document(
    healths: list[Health], limits: dict[str, LimitsState], free_bytes: int, root: Path, left: Waiting | None = None
) -> dict[str, Any]:
    """What `midas status --json` prints: the fields of `Health` per symbol, and what they come to. left: of a spool,
    what it holds that is not uploaded yet; None where there is no object store."""
    spool = {} if left is None else {"not_uploaded": asdict(left)}
    return spool | {
        "data_dir": str(root),
        "disk": {
            "free_bytes": free_bytes,
            "bytes_per_day": bytes_per_day(healths),
            "days_left": days_left(healths, free_bytes),
        },
        "limits": {exchange: asdict(state) for exchange, state in limits.items()},
        "symbols": [asdict(health) | {"spread_bps": health.spread_bps} for health in healths],
    }


def health_line(health: Health) -> str:
    """One line: state, best bid and ask, frames a second, bytes."""
    bid, ask = health.best_bid, health.best_ask
    best = f"{bid[1]} @ {bid[0]} | {ask[0]} @ {ask[1]}" if bid is not None and ask is not None else "no book"
    line = (
        f"{health.symbol} {health.state} {best}  {health.frames_per_s:.1f} frames/s  {health.frames} frames  "
        f"{console.size_text(health.bytes)} received  {console.size_text(health.bytes_on_disk)} on disk"
    )
    if health.gaps or health.reconnects:
        line += f"  gaps {health.gaps}  reconnects {health.reconnects}"
    return line if health.error is None else f"{line}  ({health.error})"


def print_status(
    healths: list[Health],
    limits: dict[str, LimitsState],
    root: Path,
    left: Waiting | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Print the table, the disk's state, what is used of the exchange's limits, and the errors there are.

    left: as of `as_document`."""
    free_bytes = shutil.disk_usage(root).free
    if as_json:
        console.out.print(json.dumps(as_document(healths, limits, free_bytes, root, left), indent=2), markup=False)
        return
    holds = any(health.held_bytes for health in healths)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title, side in (*COLUMNS, HELD) if holds else COLUMNS:
        table.add_column(title, justify="right" if side == "right" else "left", no_wrap=True)
    for health in healths:
        table.add_row(*status_row(health), *([f"{health.held_bytes / MB:.1f}"] if holds else []))
    width = max(console.out.width, LEAST_WIDTH) if console.out.is_terminal else PLAIN_WIDTH
    Console(width=width, highlight=False).print(table)
    lines = [
        disk_line(healths, free_bytes),
        *([f"spool: {left}"] if left else []),
        *(limits_line(*item) for item in limits.items()),
        *error_lines(healths),
    ]
    for line in [count_line(healths), *lines] if len(healths) > 1 else lines:
        console.out.print(line, markup=False)
