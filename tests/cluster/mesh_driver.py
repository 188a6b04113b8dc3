"""Ray's driver on the head machine of test_mesh.py: a command a line on stdin, an answer in JSON a line on stdout."""

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import ray

NODES = (1, 2, 3)
MB = 125_000
"""float64 numbers."""


@ray.remote(num_cpus=0)
def where() -> str:
    return socket.gethostname()


@ray.remote(num_cpus=0)
def make(megabytes: int) -> Any:
    return np.ones(megabytes * MB)


@ray.remote(num_cpus=0)
def total(array: Any) -> tuple[float, str]:
    return float(array.sum()), socket.gethostname()


@ray.remote(num_cpus=0)
def slow(seconds: float, runs: str) -> str:
    with Path(runs).open("a") as log:
        log.write("run\n")
    time.sleep(seconds)
    return socket.gethostname()


@ray.remote(num_cpus=0, max_task_retries=-1, max_concurrency=4)
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self) -> int:
        self.count += 1
        return self.count


def on(node: int) -> dict[str, Any]:
    return {"resources": {f"n{node}": 0.01}}


class Driver:
    def __init__(self) -> None:
        self.counter = Counter.options(**on(2)).remote()
        self.slow: Any = None

    def nodes(self) -> list[tuple[str, int]]:
        return sorted((node["NodeManagerAddress"], node["NodeManagerPort"]) for node in ray.nodes() if node["Alive"])

    def tasks(self) -> list[str]:
        return ray.get([where.options(**on(node)).remote() for node in NODES], timeout=60)

    def carry(self, megabytes: int, source: int, target: int) -> tuple[float, str, float]:
        """An array from one node to another; seconds."""
        array = make.options(**on(source)).remote(megabytes)
        ray.wait([array], fetch_local=False, timeout=60)
        began = time.monotonic()
        value, host = ray.get(total.options(**on(target)).remote(array), timeout=120)
        return value, host, time.monotonic() - began

    def count(self) -> int:
        return ray.get(self.counter.add.remote(), timeout=60)

    def begin(self, seconds: float, runs: str) -> None:
        self.slow = slow.options(**on(2)).remote(seconds, runs)

    def end(self) -> str:
        return ray.get(self.slow, timeout=90)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints what it likes
    ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
    driver = Driver()
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        answers.write(json.dumps(getattr(driver, name)(*arguments)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
