"""Tasks spread over Ray: each once, few at a time, and none left running when something fails."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray

from midas_ray.errors import DataError, WorkerError
from midas_ray.spread import Result, batched, errors_of, spread

pytestmark = pytest.mark.usefixtures("ray_local")

CPUS = 2
AHEAD = 1
LONG_S = 60.0


@dataclass(frozen=True)
class Task:
    number: int
    folder: str = ""


def _double(task: Task) -> Result:
    if task.number == 13:
        raise DataError("13: unlucky")
    return {"number": task.number, "double": 2 * task.number}


def _linger(task: Task) -> Result:
    """The first fails once the second runs, which goes on until it is told to end."""
    folder = Path(task.folder)
    if task.number == 0:
        while not (folder / "begun").exists():
            time.sleep(0.01)
        raise ValueError("not a MidasError")
    try:
        (folder / "begun").touch()
        for _ in range(int(LONG_S / 0.01)):  # Ray interrupts between two steps of Python
            time.sleep(0.01)
    finally:
        (folder / "ended").touch()
    return {}


def _die(task: Task) -> Result:
    if task.number == 1:
        with (Path(task.folder) / "deaths").open("a") as deaths:
            deaths.write("x")
        os._exit(1)
    return {"number": task.number}


def _until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + LONG_S / 2
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_each_task_gives_one_result_and_few_are_with_ray_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    wait = ray.wait

    def counting(references: list[Any], **options: Any) -> Any:
        held.append(len(references))
        return wait(references, **options)

    monkeypatch.setattr(ray, "wait", counting)
    results = spread("double", _double, [Task(number) for number in range(200)])
    assert max(held) == CPUS + AHEAD
    assert errors_of(results) == ["13: unlucky"]
    good = [result for result in results if "error" not in result]
    assert sorted(result["number"] for result in good) == [number for number in range(200) if number != 13]
    assert all(result["double"] == 2 * result["number"] for result in good)


def test_small_tasks_share_a_ray_task(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    get = ray.get
    monkeypatch.setattr(ray, "get", lambda reference: held.append(1) or get(reference))
    results = spread("double", _double, [Task(number) for number in range(160)], weight=lambda _task: 1)
    assert len(results) == 160
    assert len(held) == 16, "eight for each CPU"
    assert batched([5, 5, 20, 1, 1], 10) == [[0, 1], [2], [3, 4]]


def test_what_runs_is_ended_where_one_task_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a MidasError"):
        spread("linger", _linger, [Task(0, str(tmp_path)), Task(1, str(tmp_path))])
    _until((tmp_path / "ended").exists)


def test_a_task_that_kills_its_worker_is_tried_twice_more_then_told(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"deadly: expected a task to end, found its worker lost 3 times"):
        spread("deadly", _die, [Task(number, str(tmp_path)) for number in range(3)])
    assert (tmp_path / "deaths").read_text() == "xxx"


def test_nothing_to_do_needs_no_ray() -> None:
    assert spread("nothing", _double, []) == []
