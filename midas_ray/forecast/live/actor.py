"""The live forecaster as a Ray actor on the head that `midas up` started: it lives on when the command has ended."""

import contextlib
import os
import threading
import traceback
from pathlib import Path
from typing import Any

from midas_ray.capture import head as head_node
from midas_ray.errors import MidasError, UsageError
from midas_ray.settings import Forecast

NAMESPACE = "midas"
NAME = "forecaster"
START_S = 120.0
STOP_S = 30.0


class ForecasterActor:
    """Runs the forecaster in a thread of its own. What it says is in the actor's log: `ray logs`, or the dashboard.

    It is restarted where its process dies; the record goes on where it was.
    """

    def __init__(self, values: dict[str, Any]) -> None:
        from midas_ray.forecast.live.run import Forecasting

        self._stopping = threading.Event()
        self._failure: str | None = None
        self._work: Forecasting | None = None
        self._thread = threading.Thread(target=self._run, name="forecasts", daemon=True)
        try:
            self._work = Forecasting(Forecast.model_construct(**values), print)
            self._work.serve_metrics()
        except MidasError as error:  # an actor that fails to begin would be begun again for ever
            self._failure = str(error)
            return
        self._thread.start()

    def __repr__(self) -> str:
        return f"ForecasterActor({'' if self._work is None else ', '.join(self._work.session.symbols)})"

    def _run(self) -> None:
        assert self._work is not None
        try:
            self._work.follow(self._stopping, None)
        except MidasError as error:
            self._failure = str(error)
            print(error)
        except BaseException:  # noqa: BLE001 (whatever it is: Ray starts the actor anew)
            traceback.print_exc()
            os._exit(1)

    def failure(self) -> str | None:
        """Why it does not forecast; None where it does."""
        return self._failure

    def state(self) -> str:
        """One sentence: what it is doing, and how well."""
        if self._failure is not None or self._work is None:
            return f"failed: {self._failure}"
        return f"{self._work.model.run}: {self._work.tally.summary()}"

    def stop(self) -> str:
        """End the work; gives the last state."""
        self._stopping.set()
        if self._work is not None:
            self._thread.join(STOP_S)
            self._work.close()
        return self.state()


def _connected(values: Forecast) -> None:
    """Join the head of this data folder. Raises UsageError where none runs."""
    head_node.ray_environment()  # before Ray is imported
    root = Path(values.data_dir).resolve()
    head = head_node.read_head(root)
    if head is None or not head_node.is_running(head):
        raise UsageError(
            f"--detach: expected the head node of --data-dir {root}, found none running; start it with midas up, or "
            "leave --detach out"
        )
    head_node.connect(head)


def start(values: Forecast) -> str:
    """Start the actor on the head of this data folder; gives its state.

    Raises UsageError where one runs already or no head does, and what the forecaster itself refuses.
    """
    _connected(values)
    import ray

    if _running() is not None:
        raise UsageError("--detach: a forecaster runs already; midas forecast --stop ends it")
    # What was not set stays unset: the bucket's length, for one, is then the model's.
    absolute = values.model_dump(exclude_unset=True) | {
        "data_dir": str(Path(values.data_dir).resolve()),
        "model_dir": str(Path(values.model_dir).resolve()),
        "model": str(Path(values.model).resolve()) if values.model else None,
    }
    actor = (
        ray.remote(ForecasterActor)
        .options(
            name=NAME, namespace=NAMESPACE, lifetime="detached", num_cpus=0.1, max_restarts=-1, max_task_retries=-1
        )
        .remote(absolute)
    )
    failure: str | None = ray.get(actor.failure.remote(), timeout=START_S)
    if failure is not None:
        ray.kill(actor)
        raise UsageError(f"the forecaster does not start: {failure}")
    state: str = ray.get(actor.state.remote(), timeout=START_S)
    return state


def stop(values: Forecast) -> str:
    """Stop the actor; gives its last state. Raises UsageError where none runs."""
    _connected(values)
    import ray

    actor = _running()
    if actor is None:
        raise UsageError("--stop: expected a running forecaster, found none; midas forecast --detach starts one")
    state: str = ray.get(actor.stop.remote(), timeout=2 * STOP_S)
    ray.kill(actor)
    return state


def _running() -> Any | None:
    import ray

    with contextlib.suppress(ValueError):
        return ray.get_actor(NAME, namespace=NAMESPACE)
    return None
