"""The table of `midas status`."""

import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from midas_ray import console
from midas_ray.capture.health import Health

PLAIN_WIDTH = 160
HOURS_A_DAY = 24

COLUMNS = (
    ("symbol", "left"),
    ("state", "left"),
    ("best bid", "right"),
    ("best ask", "right"),
    ("spread\nbps", "right"),
    ("age\ns", "right"),
    ("frames\nper s", "right"),
    ("gaps", "right"),
    ("on disk\nper hour", "right"),
    ("latency ms\np50 / p99", "right"),
)


def status_row(health: Health) -> list[str]:
    """Cells of a symbol, as COLUMNS names them; age is that of the last depth message."""
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
        "-" if health.bytes_per_hour is None else console.size_text(health.bytes_per_hour),
        "-" if latency_ms is None else f"{latency_ms[0]:.0f} / {latency_ms[1]:.0f}",
    ]


def disk_line(healths: list[Health], free_bytes: int) -> str:
    """Free space, and in how many days it is used up at the present rate."""
    per_day = sum(health.bytes_per_hour or 0.0 for health in healths) * HOURS_A_DAY
    line = f"disk: {console.size_text(free_bytes)} free"
    if per_day == 0:
        return line
    return f"{line}, full in {free_bytes / per_day:,.0f} days at {console.size_text(per_day)} a day"


def print_status(healths: list[Health], root: Path) -> None:
    """Print the table, the disk's state, and the errors there are."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title, side in COLUMNS:
        table.add_column(title, justify="right" if side == "right" else "left", no_wrap=True)
    for health in healths:
        table.add_row(*status_row(health))
    out = console.out if console.out.is_terminal else Console(width=PLAIN_WIDTH, highlight=False)
    out.print(table)
    console.out.print(disk_line(healths, shutil.disk_usage(root).free))
    for health in healths:
        if health.error is not None:
            console.out.print(f"{health.symbol}: {health.error}")
