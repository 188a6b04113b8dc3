"""What the workers of a training, and Ray's controller of them, tell the command, wherever they run."""

from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from midas_ray.errors import MidasError
from midas_ray.forecast.training_progress import TrainingProgress


@dataclass(frozen=True, slots=True)
class News:
    """What has come since the last time, and how it stands."""

    progress: list[TrainingProgress]
    notes: list[str]
    without_workers_s: float | None
    """Since when there have been none (time.monotonic of the command's machine); None while there are."""
    no_room: bool
    """Whether Ray has looked for room for them in vain."""
    first_steps: int
    """Groups of workers that have made a step: the first ones, and those that took the place of dead ones."""


class Board:
    """Carries progress, notes and a failure that a restart would meet again. An actor: `open_board`."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._progress: list[TrainingProgress] = []
        self._notes: list[str] = []
        self._said: set[str] = set()
        self._failure: MidasError | None = None
        self._begun = self._first_steps = 0
        self._without_workers_s: float | None = None
        self._no_room = False

    def __repr__(self) -> str:
        return f"Board({self._run_id})"

    def waits(self, since_s: float | None, no_room: bool) -> None:
        """There have been no workers since then; None: there are."""
        self._without_workers_s, self._no_room = since_s, no_room

    def begin(self, epochs: int, workers: int) -> None:
        """Workers begin after so many epochs: the first ones, or those that take the place of dead ones."""
        group = f"{workers} worker{'s' if workers > 1 else ''}"
        if self._begun:
            again = f"goes on after epoch {epochs}" if epochs else "begins again"
            self._notes.append(f"a worker has died: the training {again} with {group}")
        elif epochs:
            self._notes.append(f"the training goes on after epoch {epochs} with {group}")
        self._begun += 1

    def stepped(self) -> None:
        """Workers have made their first step."""
        self._first_steps += 1

    def note(self, line: str) -> None:
        """A line for the person, once however many workers say it."""
        if line not in self._said:
            self._said.add(line)
            self._notes.append(line)

    def add(self, progress: TrainingProgress) -> None:
        self._progress.append(progress)

    def fail(self, error: MidasError) -> None:
        self._failure = self._failure or error

    def failure(self) -> MidasError | None:
        return self._failure

    def take(self) -> News:
        """What has come since the last time."""
        taken = News(self._progress, self._notes, self._without_workers_s, self._no_room, self._first_steps)
        self._progress, self._notes = [], []
        return taken


def open_board(run_id: str) -> Any:
    """A board beside the command, where the death of another node does not reach it.

    It is asked twice a second, which is not to fill the list of tasks in Ray's dashboard.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here, enable_task_events=False)(Board).remote(run_id)
