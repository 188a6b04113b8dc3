"""What the workers of a training tell the command, wherever they run."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from midas_ray.errors import MidasError
from midas_ray.forecast.progress import TrainingProgress


class Board:
    """Carries progress, notes and a failure that a restart would meet again. An actor: `open_board`."""

    def __init__(self) -> None:
        self._progress: list[TrainingProgress] = []
        self._notes: list[str] = []
        self._failure: MidasError | None = None
        self._begun = 0

    def begin(self, epochs: int, workers: int) -> None:
        """Workers begin after so many epochs: the first ones, or those that take the place of dead ones."""
        group = f"{workers} worker{'s' if workers > 1 else ''}"
        if self._begun:
            again = f"goes on after epoch {epochs}" if epochs else "begins again"
            self._notes.append(f"a worker has died: the training {again} with {group}")
        elif epochs:
            self._notes.append(f"the training goes on after epoch {epochs} with {group}")
        self._begun += 1

    def add(self, progress: TrainingProgress) -> None:
        self._progress.append(progress)

    def fail(self, error: MidasError) -> None:
        self._failure = self._failure or error

    def failure(self) -> MidasError | None:
        return self._failure

    def take(self) -> tuple[list[TrainingProgress], list[str]]:
        """What has come since the last time."""
        taken = self._progress, self._notes
        self._progress, self._notes = [], []
        return taken


def open_board() -> Any:
    """A board beside the command, where the death of another node does not reach it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Board).remote()
