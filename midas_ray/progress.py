"""How far long work is: a bar on a terminal, else a line now and then in the stage's log and in a job's output."""

import os
import sys
import time
from collections.abc import Callable

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from midas_ray.console import err, size_text

LINE_EVERY_S = 10.0
_JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets it in the driver of a submitted job, whose output is followed from a laptop."""


def in_job() -> bool:
    """Whether this process is the driver of a submitted job."""
    return _JOB_VARIABLE in os.environ


class LinesNowAndThen:
    """Lines on standard error for who follows a submitted job, at most one each `LINE_EVERY_S`; none elsewhere."""

    def __init__(self) -> None:
        self._told_s = time.monotonic()

    def say(self, line: Callable[[], str]) -> None:
        """Print `line()`, if it is time."""
        now_s = time.monotonic()
        if in_job() and now_s - self._told_s >= LINE_EVERY_S:
            self._told_s = now_s
            sys.stderr.write(line() + "\n")
            sys.stderr.flush()


class _Throughput(ProgressColumn):
    """Bytes a second since the beginning."""

    def render(self, task: Task) -> Text:
        rate = rate_of(float(task.fields["done_bytes"]), task.elapsed or 0.0)
        return Text(f"{size_text(rate)}/s" if rate else "")


def rate_of(done: float, elapsed_s: float) -> float:
    """What was done a second; 0 before anything was."""
    return done / elapsed_s if elapsed_s > 0 else 0.0


def duration_text(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class TaskProgress:
    """Progress of `total` tasks that weigh `total_weight` together and read `total_bytes`; use it in a `with` block.

    note takes a line each `LINE_EVERY_S` where standard error is no terminal; in a submitted job it is printed too.
    """

    def __init__(
        self, label: str, total: int, total_weight: int, total_bytes: int, note: Callable[[str], None] | None = None
    ) -> None:
        self._label, self._total, self._total_weight, self._total_bytes = label, total, total_weight, total_bytes
        self._note = note
        self._done = self._done_weight = self._done_bytes = 0
        self._started_s = self._told_s = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[done]:,}/{task.fields[of]:,}"),
            _Throughput(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(label, total=total_weight, done=0, of=total, done_bytes=0)

    def __enter__(self) -> "TaskProgress":
        self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._bar.stop()

    def advance(self, weight: int, read_bytes: int) -> None:
        """One more task is done, of this weight; it has read so many bytes."""
        self._done += 1
        self._done_weight += weight
        self._done_bytes += read_bytes
        self._bar.update(self._task, advance=weight, done=self._done, done_bytes=self._done_bytes)
        now_s = time.monotonic()
        if not err.is_terminal and now_s - self._told_s >= LINE_EVERY_S:
            self._told_s = now_s
            self._tell(self.line(now_s - self._started_s))

    def line(self, elapsed_s: float) -> str:
        """Done, throughput and time left, as text."""
        parts = [f"{self._label}: {self._done:,} of {self._total:,} tasks"]
        share = self._done_weight / self._total_weight
        if self._total_bytes:
            parts.append(f"{size_text(self._done_bytes)} of {size_text(self._total_bytes)}")
            parts.append(f"{size_text(rate_of(self._done_bytes, elapsed_s))}/s")
        if share > 0:
            parts.append(f"{duration_text(elapsed_s * (1 - share) / share)} left")
        return ", ".join(parts)

    def _tell(self, line: str) -> None:
        if self._note is not None:
            self._note(line)
        if in_job():
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
