"""From one health to the next: what is added to counters, and what gauges show."""

import math
from dataclasses import replace

from midas_ray.capture.health import Health
from midas_ray.capture.metrics import COUNTERS, GAUGES, STATES, Sample, increments, levels

BEFORE = Health(
    symbol="btcusdt",
    state="live",
    pid=1,
    frames_by_kind={"depth": 100, "trade": 40},
    wins={"a": 80, "b": 60},
    bytes=5000,
    gaps=1,
    duplicates=130,
)
NOW = replace(
    BEFORE,
    frames_by_kind={"depth": 130, "trade": 40, "kline": 2},
    wins={"a": 95, "b": 77},
    bytes=6100,
    gaps=2,
    reconnects=1,
    duplicates=130,
)


def test_counters_take_what_came_since() -> None:
    assert increments(BEFORE, NOW) == [
        Sample("frames", ("depth",), 30),
        Sample("frames", ("kline",), 2),
        Sample("wins", ("a",), 15),
        Sample("wins", ("b",), 17),
        Sample("bytes", (), 1100),
        Sample("gaps", (), 1),
        Sample("reconnects", (), 1),
    ]
    assert increments(NOW, NOW) == []
    assert Sample("frames", ("depth",), 100) in increments(None, BEFORE)


def test_totals_that_began_anew_count_from_zero() -> None:
    anew = replace(BEFORE, frames_by_kind={"depth": 7}, bytes=300, gaps=0, wins={"a": 7}, duplicates=0)
    assert increments(NOW, anew) == [
        Sample("frames", ("depth",), 7),
        Sample("wins", ("a",), 7),
        Sample("bytes", (), 300),
    ]


def test_steps_add_up_to_the_total() -> None:
    steps = [increments(None, BEFORE), increments(BEFORE, NOW)]
    depth = sum(
        sample.value for step in steps for sample in step if (sample.name, sample.tags) == ("frames", ("depth",))
    )
    assert depth == NOW.frames_by_kind["depth"]


def test_gauges_show_the_state_and_what_is_known() -> None:
    health = replace(
        NOW,
        state="gap",
        age_s={"depth": 0.2},
        latency_ms={"depth": (8.0, 31.0)},
        best_bid=("100", "1"),
        best_ask=("101", "1"),
        queued=4,
    )
    shown = {(sample.name, sample.tags): sample.value for sample in levels(health)}
    assert [state for state in STATES if shown["state", (state,)]] == ["gap"]
    assert shown["age_s", ("depth",)] == 0.2
    assert (shown["latency_ms", ("depth", "0.5")], shown["latency_ms", ("depth", "0.99")]) == (8.0, 31.0)
    assert math.isclose(shown["spread_bps", ()], 2e4 / 201)
    assert shown["queue_depth", ()] == 4
    assert math.isnan(shown["clock_offset_ms", ()])


def test_every_sample_has_a_metric_with_its_tags() -> None:
    health = replace(NOW, age_s={"depth": 1.0}, latency_ms={"depth": (1.0, 2.0)})
    added, shown = increments(None, health), levels(health)
    assert {sample.name for sample in shown} == GAUGES.keys()
    assert all(len(sample.tags) == len(COUNTERS[sample.name][1]) for sample in added)
    assert all(len(sample.tags) == len(GAUGES[sample.name][1]) for sample in shown)
