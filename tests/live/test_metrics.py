"""What a process that makes live features says of them."""

from dataclasses import replace

import pytest

from midas_ray.live import metrics
from midas_ray.live.metrics import LiveMetrics
from tests.dataset.synthetic import synthetic_panel
from tests.forecast.live.models import publication
from tests.recorded_metrics import RecordedMetrics, recorded

PANEL = synthetic_panel(4)


def test_buckets_revisions_and_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "Metrics", RecordedMetrics)
    monkeypatch.setattr(metrics, "EXPORT_EVERY_S", 0.0)
    live = LiveMetrics(60_000)
    first, second = publication(PANEL, 1, coverage=0.5), publication(PANEL, 2)
    closed_ns = second.closed_ns
    live.took([replace(first, closed_by="restart", published_ns=first.closed_ns + 10**12), second])
    live.took([replace(first, revision=2, published_ns=closed_ns), publication(PANEL, 3, coverage=0.25)])
    live.took([])
    shown = recorded(live)
    assert shown["live_bucket_end_s", "btcusdt"] == PANEL.ts_us[3] / 1e6
    assert shown["live_bucket_s", "btcusdt"] == 60
    assert shown["live_coverage", "btcusdt"] == 0.25
    assert shown["live_buckets", "btcusdt", "restart"] == 1
    assert shown["live_buckets", "btcusdt", "streams"] == 2
    assert shown["live_revisions", "btcusdt"] == 1
    # What was made up for after a start, or came later, was not meant to be in time.
    assert (shown["live_delay_ms", "btcusdt", "0.5"], shown["live_delay_ms", "btcusdt", "0.99"]) == (100, 100)
