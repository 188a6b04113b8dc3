"""The time in which a training has no workers: Ray's controller waits for room for them, not for ever."""

import os
import time
from typing import Any

import ray
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import ControllerCallback, WorkerGroupCallback
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    RestartingState,
    RunningState,
    SchedulingState,
)
from ray.util.placement_group import PlacementGroup, remove_placement_group

from midas_ray import console
from midas_ray.errors import WorkerError
from midas_ray.forecast.board import News
from midas_ray.forecast.device import problem, unusable
from midas_ray.forecast.nodes import Hindrance, Refusal, joined_text, none_came, waiting_text
from midas_ray.forecast.workers import Workers

ATTEMPT_S = 10
"""The controller asks for room so long at a time; between two attempts it can be ended."""
NO_ROOM_AFTER_S = 8
"""Room that is there is found sooner."""
MOST_FAILED_STARTS = 5
"""Groups of workers that may die in a row before they begin."""
_WITHOUT_WORKERS = (InitializingState, SchedulingState, ReschedulingState, RestartingState)


def set_environment() -> None:
    """Before Ray Train starts: it hands these on to its controller."""
    # It looks every 2 s by default: a small training would mostly wait for it.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(ATTEMPT_S))


class CheckDevices(WorkerGroupCallback):
    """Runs in Ray's controller: has workers look at their GPUs before they begin, and ends the training for a bad one.

    Sooner than a worker itself could say it: Ray first connects them by what only works between GPUs.
    """

    def before_init_train_context(self, workers: list[Any]) -> dict[str, list[Any]]:
        """Raises NodeError."""
        found = [each for each in ray.get([worker.execute_async(problem) for worker in workers]) if each is not None]
        if found:
            raise unusable(found[0])
        return {}


class WaitForRoom(ControllerCallback):
    """Runs in Ray's controller: tells the board when there are no workers, and gives up after `patience_s` without.

    asked: what keeps the autoscaler busy until the controller itself asks. patience_s: None = never. Ray itself would
    ask for room, and start workers that die at once, without an end.
    """

    def __init__(
        self, board: Any, workers: Workers, patience_s: float | None, asked: PlacementGroup | None = None
    ) -> None:
        self._board, self._workers, self._patience_s, self._asked = board, workers, patience_s, asked
        # Once there was a node, there is a type of it: the lost one may only not be given back yet.
        self._refusal = Refusal("--gpus", workers.most, workers.one_node) if workers.to_come else None
        self._since_s: float | None = None
        self._failed_starts = 0

    def on_controller_start_worker_group(self, *, scaling_config: Any, num_workers: int) -> None:  # noqa: ARG002
        """The controller asks from here on: both at once would have two nodes rented."""
        if self._asked is not None:
            remove_placement_group(self._asked)
            self._asked = None

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Raises NodeError, UsageError or WorkerError, with which the controller ends the training in good order."""
        if isinstance(current_state, RunningState):
            if not isinstance(previous_state, RunningState):
                self._board.waits.remote(None, False)
            self._since_s, self._failed_starts, self._refusal = None, 0, None
            return
        if not isinstance(current_state, _WITHOUT_WORKERS):
            return
        now_s = time.monotonic()
        if isinstance(current_state, ReschedulingState) and self._died(current_state.training_failed_error):
            self._since_s = None  # room was there
        self._since_s = now_s if self._since_s is None else self._since_s
        if not isinstance(current_state, SchedulingState):
            self._between_attempts(now_s - self._since_s)

    def _between_attempts(self, waited_s: float) -> None:
        self._board.waits.remote(self._since_s, waited_s > NO_ROOM_AFTER_S)
        if self._refusal is not None:
            self._refusal.look()
        if self._patience_s is not None and waited_s > self._patience_s:
            raise none_came(self._workers.least, self._patience_s)

    def _died(self, error: Any) -> bool:
        """Whether workers had room, and died before they began. Raises WorkerError where that goes on."""
        failure = getattr(error, "controller_failure", error)
        if isinstance(failure, WorkerGroupStartupTimeoutError):
            return False
        self._failed_starts += 1
        if self._failed_starts > MOST_FAILED_STARTS:
            reason = " ".join(str(failure.__cause__ or failure).split())
            raise WorkerError(
                f"training failed: expected workers that begin, found {self._failed_starts} times in a row that they "
                f"died before; the last said: {reason[:300]}"
            )
        return True


class NodeNews:
    """Says when a training waits for a node, when one has joined and when it makes its first step there."""

    def __init__(self, workers: Workers, patience_s: float) -> None:
        self._workers, self._patience_s = workers, patience_s
        self._asked_s: float | None = None
        self._has_joined = False
        self._before: set[str] = set()
        self._hindrance = Hindrance()
        self._first_steps = 0

    def asked(self, since_s: float, lost: bool = False) -> None:
        """A node is waited for since then (time.monotonic). lost: in the place of another."""
        self._asked_s, self._has_joined, self._before = since_s, False, self._gpu_nodes()
        self._hindrance = Hindrance()
        console.err.print(self._waiting(lost))

    def look(self, news: News) -> None:
        """Prints what is new on standard error."""
        if self._asked_s is None and news.without_workers_s is not None and self._lacks_room(news):
            self.asked(news.without_workers_s, lost=news.first_steps > 0)
        if self._asked_s is not None:
            self._look_further(news, time.monotonic() - self._asked_s)
        self._first_steps = news.first_steps

    def _lacks_room(self, news: News) -> bool:
        return news.no_room or (self._workers.gpu and not self._gpu_nodes())

    def _look_further(self, news: News, seconds: float) -> None:
        """Once it is told that a node is waited for."""
        stepped = news.first_steps > self._first_steps
        if not self._has_joined and self._workers.gpu and (line := self._hindrance.look()):
            console.err.print(line)
        if not self._has_joined and (stepped or self._gpu_nodes() - self._before):
            self._has_joined = True
            if self._workers.gpu:
                console.err.print(joined_text(seconds))
        if stepped:
            console.err.print(f"{time.strftime('%H:%M:%S')} first training step, {seconds:.0f} s after asking")
            self._asked_s = None

    def _waiting(self, lost: bool) -> str:
        because = "a worker has died; " if lost else ""
        if self._workers.gpu:
            return waiting_text(self._workers.least, self._patience_s, because)
        wanted = f"{self._workers.least} worker{'s' if self._workers.least > 1 else ''} of {self._workers.threads}"
        return f"{time.strftime('%H:%M:%S')} {because}waiting for free CPU cores: {wanted}"

    def _gpu_nodes(self) -> set[str]:
        """Ids of nodes that are alive and have enough GPUs."""
        least = self._workers.least if self._workers.one_node else 1
        return {node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU", 0) >= least}
