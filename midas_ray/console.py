"""What a person sees while a command works: progress on a terminal, plain lines elsewhere."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

out = Console(highlight=False, soft_wrap=True)
"""Standard output: results."""

err = Console(stderr=True, highlight=False, soft_wrap=True)
"""Standard error: progress and warnings."""


def progress_bar() -> Progress:
    """A progress bar with count, elapsed and remaining time on standard error; silent where that is not a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
        transient=True,
    )


def size_text(n_bytes: float) -> str:
    """Bytes as `12.3 MB`, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"


def share_text(share: float) -> str:
    """Percent, never rounded up to 100 or down to 0."""
    percent = 100 * share
    if 99.995 <= percent < 100:
        return "99.99 %"
    return "0.01 %" if 0 < percent < 0.005 else f"{percent:.2f} %"
