"""How many tasks of a second a driver keeps going: makespan against the floor, driver time and memory, beside Ray Data.

The tasks sleep, so that two cores hold as many of them as there is memory for workers (some 60 MB each). What the
driver could keep going beyond that is told by tasks that do nothing.
"""

import os
import random
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapreplace
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.cluster_nodes import nodes
from benchmarks.rows import Row, Target, Timing
from midas_ray.spread import MAX_RETRIES, Result, spread

NAME = "cluster: tasks"
SAMPLE_S = 0.5
AIM_SLOTS = 500
"""Tasks of a second that should go on at the same time: so many have to be handed out and taken back a second."""
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True, slots=True)
class Nap:
    """A task that sleeps."""

    seconds: float


def nap(task: Nap) -> Result:
    """Work of a `Nap`; gives how long it really took."""
    before_s = time.perf_counter()
    time.sleep(task.seconds)
    return {"took_s": time.perf_counter() - before_s, "asked_s": task.seconds}


def naps(count: int, seed: int) -> list[Nap]:
    """0.5 to 1.5 s, as they come."""
    rng = random.Random(seed)
    return [Nap(rng.uniform(0.5, 1.5)) for _ in range(count)]


def list_scheduled_s(lengths_s: Sequence[float], slots: int) -> float:
    """When the last of these ends where each, in this order, begins as soon as any of `slots` is free."""
    free_s = [0.0] * slots
    for length_s in lengths_s:
        heapreplace(free_s, free_s[0] + length_s)
    return max(free_s)


class DriverMemory:
    """Resident MB of this process, sampled twice a second inside the block."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "DriverMemory":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_S):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.samples.append((time.monotonic(), pages * PAGE_MB))

    @property
    def growth_mb(self) -> float:
        """Of the second half, by the slope of a straight line through its samples."""
        times, sizes = zip(*self.samples[len(self.samples) // 2 :], strict=True)
        return statistics.linear_regression(times, sizes).slope * (times[-1] - times[0])


def by_ray_data(work: Callable[[Nap], Result], tasks: Sequence[Nap]) -> list[Result]:
    """The same by a Ray Data dataset of a block a task, as `spread` was before."""
    import ray

    def run(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"result": msgspec.json.encode(work(msgspec.json.decode(row["task"], type=Nap)))}

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars, context.op_resource_reservation_enabled = False, False
    items = [{"task": msgspec.json.encode(task)} for task in tasks]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        mapped = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(
            run, num_cpus=1, max_retries=MAX_RETRIES
        )
    return [msgspec.json.decode(row["result"]) for row in mapped.iter_rows()]


def measure(count: int, slots: int, n_nodes: int, rounds: int) -> list[Row]:
    """Rows of `count` naps on `slots` of `n_nodes`."""
    with nodes(n_nodes, slots):
        return [*_naps(count, slots, n_nodes), *_empty(slots, rounds)]


def _naps(count: int, slots: int, n_nodes: int) -> list[Row]:
    tasks = naps(count, seed=7)
    before_s, processor_s = time.perf_counter(), time.process_time()
    with DriverMemory() as memory:
        results = spread("naps", nap, tasks)
    elapsed_s, processor_s = time.perf_counter() - before_s, time.process_time() - processor_s
    if len(results) != count:
        raise RuntimeError(f"expected {count} results, found {len(results)}")
    floor_s = list_scheduled_s([result["took_s"] for result in results], slots)
    asked_s = list_scheduled_s([task.seconds for task in tasks], slots)
    where = f"{slots} slots of {n_nodes} nodes on {os.cpu_count()} cores"
    return [
        Row(
            benchmark=NAME,
            what=f"{count:,} tasks that sleep 0.5 to 1.5 s",
            value=elapsed_s,
            processor_s=processor_s,
            against="one after the other on each slot (the floor)",
            ratio=elapsed_s / floor_s,
            target=Target(1.05, "at most"),
            note=f"{where}; over what was asked for, without late wake-ups, {elapsed_s / asked_s:.3f} x",
        ),
        Row(
            benchmark=NAME,
            what="the driver's memory grows over their second half by",
            value=memory.growth_mb,
            unit="MB",
            target=Target(2.0, "at most"),
            note=f"{memory.samples[0][1]:.0f} MB at the beginning, {memory.samples[-1][1]:.0f} MB at the end",
        ),
    ]


def _empty(slots: int, rounds: int) -> list[Row]:
    ways: dict[str, tuple[Callable[[list[Nap]], list[Result]], int]] = {
        "ours": (lambda tasks: spread("empty", nap, tasks), 20 * slots),
        "Ray Data": (lambda tasks: by_ray_data(nap, tasks), 4 * slots),
    }
    taken = {name: Timing([], []) for name in ways}
    for number in range(rounds + 1):
        for name, (way, count) in ways.items():
            before_s, processor_s = time.perf_counter(), time.process_time()
            way([Nap(0.0)] * count)
            if number:  # in the first, workers import what they need
                taken[name].wall_s.append((time.perf_counter() - before_s) / count)
                taken[name].processor_s.append((time.process_time() - processor_s) / count)
    ours, other = taken["ours"], taken["Ray Data"]
    keeps, other_keeps = (1 / statistics.median(timing.processor_s) for timing in (ours, other))
    return [
        Row(
            benchmark=NAME,
            what="a task that does nothing",
            value=1000 * ours.median_s,
            unit="ms",
            least=1000 * min(ours.wall_s),
            against="a block of Ray Data",
            **ours.over(other),
            note=f"{20 * slots:,} of them; {slots} workers share {os.cpu_count()} cores with the driver",
        ),
        Row(
            benchmark=NAME,
            what="tasks of 1 s that a driver with a core of its own keeps going",
            value=keeps,
            unit="",
            target=Target(AIM_SLOTS, "at least"),
            note=f"by the processor time of one that does nothing; Ray Data: {other_keeps:,.0f}",
        ),
    ]
