"""How far a stage of the pipeline is, and how new its tables are, as metrics of the Ray that it runs on.

Where the stage ends, its gauges are served for 20 s more. How far a table is behind is told by the time of its newest
row, not by its age, so that it stays true when no stage runs: the newest of the last days counts.
"""

import time
from typing import Any

from midas_ray.metrics import Metrics

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "stage_tasks": ("tasks of the stage that runs, by what became of them: done, failed, left", ("stage", "state")),
    "stage_share": ("share of the stage's work that is done, 0 to 1", ("stage",)),
    "stage_seconds": ("how long the stage has been running", ("stage",)),
    "stage_rows": ("rows that the stage has written", ("stage", "table")),
    "newest_row_s": ("the newest row of the table, seconds since 1970", ("table", "symbol")),
}
EVERY_S = 1.0


class StageMetrics:
    """The gauges of one stage. Make it inside a Ray session.

    Results may say what they wrote: `rows` and `newest_us`, by table, of their `symbol`.
    """

    def __init__(self, stage: str, tasks: int, weight: int) -> None:
        self._stage, self._tasks, self._weight = stage, tasks, weight
        self._done = self._failed = self._done_weight = 0
        self._rows: dict[str, int] = {}
        self._newest_us: dict[tuple[str, str], int] = {}
        self._metrics = Metrics(GAUGES)
        self._started_s = time.monotonic()
        self._export(self._started_s)

    def took(self, result: dict[str, Any], weight: int) -> None:
        """A task of this weight has ended."""
        self._failed += "error" in result
        self._done += "error" not in result
        self._done_weight += weight
        for table, rows in result.get("rows", {}).items():
            self._rows[table] = self._rows.get(table, 0) + (rows or 0)
        for table, newest_us in result.get("newest_us", {}).items():
            key = (table, result["symbol"])
            self._newest_us[key] = max(self._newest_us.get(key, 0), newest_us)
        now_s = time.monotonic()
        if now_s - self._exported_s >= EVERY_S or self._done + self._failed == self._tasks:
            self._export(now_s)

    def _export(self, now_s: float) -> None:
        self._exported_s = now_s
        stage, left = self._stage, self._tasks - self._done - self._failed
        for state, tasks in (("done", self._done), ("failed", self._failed), ("left", left)):
            self._metrics.set("stage_tasks", tasks, stage, state)
        self._metrics.set("stage_share", self._done_weight / self._weight, stage)
        self._metrics.set("stage_seconds", now_s - self._started_s, stage)
        for table, rows in self._rows.items():
            self._metrics.set("stage_rows", rows, stage, table)
        for key, newest_us in self._newest_us.items():
            self._metrics.set("newest_row_s", newest_us / 1e6, *key)
