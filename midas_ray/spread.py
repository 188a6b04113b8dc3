"""Spreading independent tasks over a Ray cluster by Ray Data: small ones share a Ray task."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from midas_ray.errors import MidasError
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
    """
    if not tasks:
        return []
    import ray

    kind = type(tasks[0])

    def run(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for index, encoded in zip(row["indices"], row["tasks"], strict=True):
            try:
                result = work(msgspec.json.decode(encoded, type=kind))
            except MidasError as error:
                result = {"error": str(error)}
            yield {"index": index, "result": msgspec.json.encode(result)}

    run.__name__ = label.replace(" ", "_")  # how the dashboard calls the tasks
    weights = [1] * len(tasks) if weight is None else [weight(task) for task in tasks]
    batches = batched(weights, 1 if weight is None else _limit(weights))
    items = [{"indices": batch, "tasks": [msgspec.json.encode(tasks[index]) for index in batch]} for batch in batches]
    # There is one operator alone: what Ray holds back for others kept the second CPU idle for a second.
    ray.data.DataContext.get_current().op_resource_reservation_enabled = False
    dataset = ray.data.from_items(items, override_num_blocks=len(items))
    dataset.set_name(label)
    with warnings.catch_warnings():
        # Ray 2.60 deprecates this way to say max_retries, and has no other; without it a crash is retried for ever.
        warnings.simplefilter("ignore", DeprecationWarning)
        mapped = dataset.flat_map(run, num_cpus=1, max_retries=MAX_RETRIES)
    results: list[Result] = []
    sizes = [0] * len(tasks) if size is None else [size(task) for task in tasks]
    metrics = StageMetrics(label, len(tasks), sum(weights))
    with TaskProgress(label, len(tasks), sum(weights), sum(sizes), note) as progress:
        for row in mapped.iter_rows():
            results.append(msgspec.json.decode(row["result"]))
            progress.advance(weights[row["index"]], sizes[row["index"]])
            metrics.took(results[-1], weights[row["index"]])
    return results


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
