"""Intervals, latency, ticks and minute bars against plain counting."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.quality.findings import Findings, utc_text
from midas_ray.quality.intervals import Intervals
from midas_ray.quality.klines import COLUMNS, MINUTE_US, bars_of_prints, comparable
from midas_ray.quality.latency import MAX_BINS, LatencySketch
from midas_ray.quality.tick import DayPrices, check_ticks, off_grid

PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6)


def _intervals(pairs: list[tuple[int, int]]) -> Intervals:
    table = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return Intervals.union(table[:, 0], table[:, 1])


def _moments(pairs: list[tuple[int, int]]) -> set[int]:
    """The whole numbers in intervals (start, end]."""
    return {t for start, end in pairs for t in range(start + 1, end + 1)}


@given(PAIRS)
def test_a_union_holds_the_moments_of_its_parts(pairs: list[tuple[int, int]]) -> None:
    union, moments = _intervals(pairs), _moments(pairs)
    times = np.arange(-2, 45)
    assert set(times[union.contains(times)].tolist()) == moments
    assert union.total_us == len(moments)
    assert (union.start[1:] > union.end[:-1]).all()


@given(PAIRS, st.integers(-3, 45), st.integers(0, 45))
def test_overlap_counts_the_moments_inside(pairs: list[tuple[int, int]], start: int, length: int) -> None:
    inside = len(_moments(pairs) & _moments([(start, start + length)]))
    ends = np.array([start], dtype=np.int64), np.array([start + length], dtype=np.int64)
    assert _intervals(pairs).overlap_us(*ends).tolist() == [inside]
    assert _intervals(pairs).meets(*ends).tolist() == [inside > 0]


@given(PAIRS, PAIRS)
def test_without_takes_the_others_moments_away(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    rest = _intervals(one).without(_intervals(other))
    times = np.arange(-2, 45)
    assert set(times[rest.contains(times)].tolist()) == _moments(one) - _moments(other)


@given(
    st.lists(st.lists(st.integers(-3_000_000, 9_000_000), min_size=1, max_size=30), min_size=1, max_size=4),
    st.sampled_from([1, 50, 90, 99, 100]),
)
def test_percentiles_are_those_of_the_sorted_latencies(parts: list[list[int]], percent: int) -> None:
    sketch = LatencySketch()
    for part in parts:
        sketch.add(np.array(part, dtype=np.int64))
    values = sorted(value for part in parts for value in part)
    exact = values[max(-(-percent * len(values) // 100), 1) - 1]
    assert abs(sketch.percentile_us(percent) - exact) <= sketch.width_us
    assert (sketch.n, sketch.min_us, sketch.max_us) == (len(values), values[0], values[-1])
    assert sketch.n_negative == sum(value < 0 for value in values)
    assert sketch.histogram(20)[1].sum() == len(values)


def test_a_sketch_stays_small_however_wide_latencies_spread() -> None:
    sketch = LatencySketch()
    values = np.arange(-400_000, 800_000, dtype=np.int64) * 1_000_003
    for part in np.array_split(values, 8):
        sketch.add(part)
    assert len(sketch.bins) <= MAX_BINS
    assert sketch.percentile_us(50) == pytest.approx(np.median(values), abs=2 * sketch.width_us)
    assert sketch.n == len(values)


def test_no_latency_has_no_percentile() -> None:
    assert np.isnan(LatencySketch().percentile_us(50))


@given(st.integers(0, 10**12), st.integers(0, 8))
def test_a_number_from_integers_is_on_its_grid(units: int, decimals: int) -> None:
    value = units / 10**decimals
    assert not off_grid(np.array([value, np.nan]), decimals).any()
    if units < 10**9:
        assert off_grid(np.array([(units + 0.5) / 10**decimals]), decimals).all()
        assert off_grid(np.array([np.nextafter(value, np.inf)]), decimals).all()


def _day(units: list[int], decimals: int = 2) -> DayPrices:
    day = DayPrices()
    px = np.array(units) / 10**decimals
    day.add(px, np.arange(len(units), dtype=np.int64), decimals, "file")
    return day


def _off_tick(days: list[DayPrices]) -> tuple[float | None, list[str]]:
    findings = Findings()
    tick = check_ticks({date(2026, 1, 1 + at): day for at, day in enumerate(days)}, "s", findings)
    return tick, [each.found for each in findings.examples["price_tick"]]


def test_a_stray_price_is_off_the_tick() -> None:
    assert _off_tick([_day([*range(1000, 3000, 10), 2005])]) == (0.1, ["price 20.05"])


def test_prices_at_two_scales_share_a_tick() -> None:
    day = _day(list(range(100, 300)), decimals=1)
    day.add(np.array([20.05]), np.array([7]), 2, "other")
    assert _off_tick([day]) == (0.1, ["price 20.05"])


def test_a_finer_tick_is_no_stray() -> None:
    """More than a handful of finer prices, or a neighbouring day on the finer tick: the exchange changed it."""
    coarse = list(range(1000, 60_000, 10))
    few = [2005, 2015, 2025]
    assert _off_tick([_day([*coarse, *few])])[1] == ["price 20.05", "price 20.15", "price 20.25"]
    assert _off_tick([_day([*coarse, *few]), _day(list(range(1000, 3000, 5)))]) == (0.05, [])
    assert _off_tick([_day([*coarse, *range(2005, 2305, 10)])]) == (0.05, [])


def test_few_prices_tell_no_tick() -> None:
    assert _off_tick([_day([1000, 1010, 1020, 1025])]) == (None, [])


def test_minute_bars_by_hand() -> None:
    frame = pl.DataFrame(
        {
            "ts": pl.Series([0, 59_999_000, 60_000_000]).cast(pl.Datetime("us", "UTC")),
            "px": [10.2, 10.1, 10.3],
            "qty": [0.3, 0.1, 2.0],
            "count": [1, 2, 1],
        }
    )
    bars = bars_of_prints(frame, 1, 1)
    assert bars.ts_us.tolist() == [MINUTE_US, 2 * MINUTE_US]
    first, second = (dict(zip(COLUMNS, row, strict=True)) for row in bars.values.tolist())
    assert first == {
        "open": 10.2, "high": 10.2, "low": 10.1, "close": 10.1, "volume": 0.4, "quote_volume": 4.07,
        "number_of_trades": 3.0,
    }  # fmt: skip
    assert second["open"] == second["close"] == 10.3


def test_a_minute_is_comparable_only_when_all_of_it_was_collected() -> None:
    """A gap (s, e] loses the times after s up to e; a minute holds the prints of [start, end)."""
    ts_us = MINUTE_US * np.array([1, 2, 3, 4])
    collected = _intervals([(0, 3 * MINUTE_US)])
    assert comparable(ts_us, collected, _intervals([])).tolist() == [True, True, True, False]
    lost = _intervals([(MINUTE_US - 1, MINUTE_US)])  # one microsecond: the first of the second minute
    assert comparable(ts_us, collected, lost).tolist() == [True, False, True, False]


def test_times_are_written_without_a_needless_fraction() -> None:
    assert utc_text(1_767_571_200_000_000) == "2026-01-05 00:00:00"
    assert utc_text(1_767_571_200_100_000) == "2026-01-05 00:00:00.100"
    assert utc_text(1_767_571_200_100_001) == "2026-01-05 00:00:00.100001"
