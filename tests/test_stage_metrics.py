"""A stage's gauges, from the results of its tasks."""

import pytest

from midas_ray import stage_metrics
from midas_ray.stage_metrics import StageMetrics
from tests.recorded_metrics import RecordedMetrics, recorded


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_metrics, "Metrics", RecordedMetrics)
    monkeypatch.setattr(stage_metrics, "EVERY_S", 0.0)


def test_tasks_rows_and_the_newest_row() -> None:
    stage = StageMetrics("reconstruct", tasks=3, weight=10)
    shown = recorded(stage)
    assert (shown["stage_tasks", "reconstruct", "left"], shown["stage_share", "reconstruct"]) == (3, 0)
    stage.took({"symbol": "btcusdt", "rows": {"book": 600, "trades": None}, "newest_us": {"book": 7_000_000}}, 6)
    stage.took({"symbol": "btcusdt", "rows": {"book": 100}, "newest_us": {"book": 3_500_000}}, 2)  # an older hour
    assert shown["stage_share", "reconstruct"] == 0.8
    stage.took({"symbol": "ethusdt", "error": "ethusdt: disk full"}, 2)
    assert shown["stage_share", "reconstruct"] == 1.0
    assert [shown["stage_tasks", "reconstruct", state] for state in ("done", "failed", "left")] == [2, 1, 0]
    assert shown["stage_rows", "reconstruct", "book"] == 700
    assert shown["stage_rows", "reconstruct", "trades"] == 0
    assert shown["newest_row_s", "book", "btcusdt"] == 7.0
    assert ("newest_row_s", "book", "ethusdt") not in shown


def test_a_stage_that_tells_of_no_rows() -> None:
    stage = StageMetrics("costs", tasks=1, weight=1)
    stage.took({}, 1)
    assert {key[0] for key in recorded(stage)} == {"stage_tasks", "stage_share", "stage_seconds"}
