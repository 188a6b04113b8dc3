"""Spreading independent tasks over a Ray cluster: small ones share a Ray task, and the driver holds few at a time."""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from midas_ray.errors import MidasError, WorkerError
from midas_ray.progress import TaskProgress
from midas_ray.stage_metrics import StageMetrics

T = TypeVar("T")
Result = dict[str, Any]

MAX_RETRIES = 2
"""How often a task whose worker crashed is tried again."""

BATCH_BYTES = 64 * 2**20
"""Small tasks share a Ray task up to this weight, so that ten thousand of them cost the driver little."""

_BATCHES_PER_CPU = 8
"""At least so many Ray tasks for each CPU, as far as there are tasks: the last ones must not keep one CPU waiting."""

_AHEAD = 4
"""One Ray task for so many CPUs waits in Ray, so that none is idle until the driver has noticed that a task is done."""

_LOOK_S = 1.0
"""How often the driver looks whether the cluster has grown."""


def spread(
    label: str,
    work: Callable[[T], Result],
    tasks: Sequence[T],
    *,
    weight: Callable[[T], int] | None = None,
    size: Callable[[T], int] | None = None,
    note: Callable[[str], None] | None = None,
) -> list[Result]:
    """`work` of every task, in the order in which they end; call inside a Ray session.

    Tasks and results travel as JSON. A task that raises a MidasError gives {"error": its line}; the others go on.
    weight: how much work a task is, in bytes, for batches and the time left; without it each task is a Ray task and
    weighs the same. size: bytes that it reads, for the throughput. note: as of `TaskProgress`.
    Raises WorkerError where workers died at the same task again and again. Whatever is raised, no task goes on.
    """
    if not tasks:
        return []
    kind = type(tasks[0])

    def run(encoded: list[bytes]) -> list[bytes]:
        results = []
        for task in encoded:
            try:
                result = work(msgspec.json.decode(task, type=kind))
            except MidasError as error:
                result = {"error": str(error)}
            results.append(msgspec.json.encode(result))
        return results

    weights = [1] * len(tasks) if weight is None else [weight(task) for task in tasks]
    sizes = [0] * len(tasks) if size is None else [size(task) for task in tasks]
    batches = batched(weights, 1 if weight is None else _limit(weights))
    inputs = ([msgspec.json.encode(tasks[index]) for index in batch] for batch in batches)
    found: list[Result] = []
    metrics = StageMetrics(label, len(tasks), sum(weights))
    with TaskProgress(label, len(tasks), sum(weights), sum(sizes), note) as progress:
        for number, results in _finished(label, run, inputs):
            for index, result in zip(batches[number], results, strict=True):
                found.append(msgspec.json.decode(result))
                progress.advance(weights[index], sizes[index])
                metrics.took(found[-1], weights[index])
    return found


def _finished(
    label: str, run: Callable[[list[bytes]], list[bytes]], inputs: Iterator[list[bytes]]
) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the input, its result) in the order in which they end. Few are with Ray at a time, however many there
    are: what the driver holds does not grow with them. Raises as `spread`."""
    import ray

    name = label.replace(" ", "_")  # in the dashboard and in metrics
    remote = ray.remote(run).options(num_cpus=1, max_retries=MAX_RETRIES, name=name)
    running: dict[Any, int] = {}
    numbered = enumerate(inputs)
    most, looked_s = _most_running(), time.monotonic()
    try:
        while True:
            for number, data in itertools.islice(numbered, max(most - len(running), 0)):
                running[remote.remote(data)] = number
            if not running:
                return
            for reference in _ready(list(running)):
                yield running.pop(reference), _result_of(label, reference)
            if time.monotonic() - looked_s > _LOOK_S:
                most, looked_s = _most_running(), time.monotonic()
    finally:
        for reference in running:
            ray.cancel(reference)


def _ready(references: list[Any]) -> list[Any]:
    """All that have ended, once one has, or none after a while."""
    import ray

    if not ray.wait(references, num_returns=1, timeout=_LOOK_S, fetch_local=False)[0]:
        return []
    ready: list[Any] = ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False)[0]
    return ready


def _result_of(label: str, reference: Any) -> list[bytes]:
    import ray

    try:
        results: list[bytes] = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise  # a fault of ours, with its traceback
    except ray.exceptions.RayError as error:
        reason = str(error).splitlines()[0]
        raise WorkerError(
            f"{label}: expected a task to end, found its worker lost {MAX_RETRIES + 1} times ({reason}); it may need "
            "more memory: lower --num-cpus, then run again: what is done is kept"
        ) from None
    return results


def _most_running() -> int:
    cpus = cluster_cpus()
    return cpus + cpus // _AHEAD + 1


def cluster_cpus() -> int:
    """CPUs of the cluster; call inside a Ray session."""
    import ray

    return int(ray.cluster_resources().get("CPU", os.cpu_count() or 1))


def _limit(weights: Sequence[int]) -> int:
    return min(BATCH_BYTES, sum(weights) // (_BATCHES_PER_CPU * cluster_cpus()))


def batched(weights: Sequence[int], limit: int) -> list[list[int]]:
    """Indices of neighbouring tasks together, each batch up to `limit` but for a single task that is larger."""
    batches: list[list[int]] = []
    filled = 0
    for index, weight in enumerate(weights):
        if not batches or filled + weight > limit:
            batches.append([])
            filled = 0
        batches[-1].append(index)
        filled += weight
    return batches


def errors_of(results: Sequence[Result]) -> list[str]:
    """The lines of the tasks that failed, each once."""
    return list(dict.fromkeys(result["error"] for result in results if "error" in result))
