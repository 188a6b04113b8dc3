"""Spreading independent tasks over a Ray cluster by Ray Data: one task, one block."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from midas_ray.console import progress_bar
from midas_ray.errors import MidasError

T = TypeVar("T")
Result = dict[str, Any]

MAX_RETRIES = 2
"""How often a task whose worker crashed is tried again."""


def spread(label: str, work: Callable[[T], Result], tasks: Sequence[T]) -> list[Result]:
    """`work` of every task, in the order in which they end; call inside a Ray session.

    Tasks and results travel as JSON. A task that raises a MidasError gives {"error": its line}; the others go on.
    """
    if not tasks:
        return []
    import ray

    kind = type(tasks[0])

    def run(row: dict[str, Any]) -> dict[str, Any]:
        try:
            result = work(msgspec.json.decode(row["task"], type=kind))
        except MidasError as error:
            result = {"error": str(error)}
        return {"result": msgspec.json.encode(result)}

    items = [{"task": msgspec.json.encode(task)} for task in tasks]
    dataset = ray.data.from_items(items, override_num_blocks=len(items))
    with warnings.catch_warnings():
        # Ray 2.60 deprecates this way to say max_retries, and has no other; without it a crash is retried for ever.
        warnings.simplefilter("ignore", DeprecationWarning)
        mapped = dataset.map(run, num_cpus=1, max_retries=MAX_RETRIES)
    results: list[Result] = []
    with progress_bar() as progress:
        bar = progress.add_task(label, total=len(items))
        for row in mapped.iter_rows():
            results.append(msgspec.json.decode(row["result"]))
            progress.advance(bar)
    return results


def errors_of(results: Sequence[Result]) -> list[str]:
    """The lines of the tasks that failed, each once."""
    return list(dict.fromkeys(result["error"] for result in results if "error" in result))
