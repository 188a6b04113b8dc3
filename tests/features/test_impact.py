"""Impact and toxicity, by hand."""

import math

import numpy as np
import pytest

from midas_ray.features import kernels
from midas_ray.features.daily import DAY_US, daily_sample
from midas_ray.features.hour_rows import TopRow
from midas_ray.features.statistics import TradeStatistics
from midas_ray.features.vpin import DayPrints, VolumeBuckets, day_volume_buckets
from tests.features.by_hand import SECOND, Row, buckets, prints, seconds, ten_levels, values
from tests.features.clean_data import MINUTE_US, START_US

RNG = np.random.default_rng(4)
CLOSES = (100 + np.cumsum(RNG.normal(0, 0.5, 130))).round(1)
FLOWS = RNG.integers(-500, 500, 130) / 100
FLOWS[FLOWS == 0] = 1.0


def market() -> object:
    return prints(*[
        (10 * at + 5, px, abs(flow), "buy" if flow > 0 else "sell")
        for at, (px, flow) in enumerate(zip(CLOSES.tolist(), FLOWS.tolist(), strict=True))
    ])  # fmt: skip


def test_kyle_lambda_is_the_slope_with_intercept() -> None:
    found = values(buckets(trades=market()), "kyle_lambda", 130)
    assert found[:30] == ["warm-up"] * 30
    moves = np.diff(CLOSES)
    for at in (30, 99, 129):
        window = slice(max(1, at - 99), at + 1)
        slope = np.polyfit(FLOWS[window], moves[window.start - 1 : at], 1)[0]
        assert found[at] == pytest.approx(slope, rel=1e-9)


def test_kyle_lambda_is_undefined_on_constant_flow() -> None:
    trades = prints(*[(10 * at + 5, px, 1.0, "buy") for at, px in enumerate(CLOSES.tolist())])
    assert values(buckets(trades=trades), "kyle_lambda", 40)[39] == "undefined"


def test_amihud_leaves_out_quiet_buckets() -> None:
    rows = [(10 * at + 5, px, 1.0, "buy") for at, px in enumerate(CLOSES.tolist()) if at % 2 == 0]
    found = values(buckets(trades=prints(*rows)), "amihud_illiquidity", 60)
    assert found[:10] == ["warm-up"] * 10
    assert found[10:20] == ["undefined"] * 10  # covered, but fewer than ten buckets with prints
    moves = [abs(math.log(CLOSES[at] / CLOSES[at - 2])) / CLOSES[at] for at in range(32, 51, 2)]
    assert found[50] == pytest.approx(np.mean(moves), rel=1e-12)


def test_roll_spread_from_the_covariance_of_changes() -> None:
    prices = [100.0, 100.2, 100.0, 100.2, 100.1, 100.3]
    trades = prints(*[(at, px, 1.0, "buy") for at, px in enumerate(prices)])
    moves = np.diff(prices)
    expected = 2 * math.sqrt(-np.cov(moves[1:], moves[:-1])[0, 1])
    assert values(buckets(trades=trades), "roll_spread", 2) == [pytest.approx(expected, rel=1e-9), "undefined"]
    trend = prints(*[(at, 100 + at * at / 10, 1.0, "buy") for at in range(6)])
    assert values(buckets(trades=trend), "roll_spread", 1) == [0.0]
    assert values(buckets(trades=prints(*[(at, 100.0, 1.0, "buy") for at in range(3)])), "roll_spread", 1) == [
        "undefined"
    ]


def test_effective_spread_against_the_mid_before_each_print() -> None:
    rows = {second: ten_levels(99.9, 100.1) for second in range(1, 5)}
    rows |= {second: ten_levels(100.9, 101.1) for second in range(5, 11)}
    before = TopRow(True, 97.9, 98.1, 10.0)
    trades = prints((0.5, 98.2, 1.0, "buy"), (4.9, 99.9, 2.0, "sell"), (5.0, 101.2, 3.0, "buy"))
    spreads = [2 * 0.2 / 98, 2 * 0.1 / 100, 2 * 0.2 / 101]
    weights = [98.2, 199.8, 303.6]
    expected = 1e4 * np.average(spreads, weights=weights)
    b = buckets(rows, trades, before=before)
    assert values(b, "effective_spread_bps", 2) == [pytest.approx(expected, rel=1e-12), "undefined"]


def test_effective_spread_needs_the_book_before_each_print() -> None:
    rows = {second: ten_levels() for second in range(1, 11)}
    trades = prints((0.5, 100.1, 1.0, "buy"), (3.5, 100.1, 1.0, "buy"))
    assert values(buckets(rows, trades), "effective_spread_bps", 1) == ["gap"]  # no row at second 0
    later = prints((3.5, 100.1, 1.0, "buy"))
    assert values(buckets(rows | {3: Row([], [], live=False)}, later), "effective_spread_bps", 1) == ["gap"]
    assert values(buckets(rows | {3: Row([(99.9, 1.0)], [])}, later), "effective_spread_bps", 1) == ["undefined"]
    del rows[3]  # the row of second 2 is older than one grid step
    assert values(buckets(rows, later), "effective_spread_bps", 1) == ["gap"]


def test_the_volume_clock_splits_prints_and_drops_the_unfinished() -> None:
    ts = np.array([1, 2, 3, 4, 5, 6])
    lots = np.array([4, 9, 2, 7, 30, 4])
    buy = np.array([True, False, True, True, False, True])
    segment = np.array([0, 0, 0, 1, 1, 1])
    done, imbalance = kernels.volume_clock(ts, lots, buy, segment, 10)
    # 4 b + 6 s | 3 s + 2 b dropped at the break | 7 b + 3 s | 10 s | 10 s | 7 s + 3 b (1 left over)
    assert done.tolist() == [2, 5, 5, 5, 6]
    assert imbalance.tolist() == [2, 4, 10, 10, 4]


def test_the_window_holds_the_last_buckets_completed_before_t() -> None:
    done = np.array([5, 10, 10, 20])
    mean, count = kernels.volume_window(np.array([5, 6, 10, 11, 30]), done, np.array([0.1, 0.2, 0.3, 0.4]), 3)
    assert count.tolist() == [0, 1, 1, 3, 3]
    assert mean[1:].tolist() == [0.1, 0.1, pytest.approx(0.2), pytest.approx(0.3)]


def test_a_daily_quantity_is_from_the_day_before_or_the_first_hour() -> None:
    full, none = np.ones(1440, dtype=np.bool_), np.zeros(1440, dtype=np.bool_)
    assert daily_sample(full, full, MINUTE_US).of_day_before
    assert daily_sample(full, full, MINUTE_US).known_from == 0
    late = none.copy()
    late[100:200] = True
    first = daily_sample(none, late, MINUTE_US)
    assert first.rows.tolist() == list(range(100, 160))
    assert first.known_from == 159
    late[159] = False
    assert daily_sample(none, late, MINUTE_US).known_from == 160
    nothing = daily_sample(late[:50], none, MINUTE_US)
    assert nothing.known_from == 1440
    assert len(nothing.rows) == 0


def statistics(lots: int, covered: int) -> TradeStatistics:
    """1440 minutes, the first `covered` of them covered, `lots` in each."""
    trades = TradeStatistics.absent(1440)
    trades.lost_us[:covered] = 0
    trades.lots[:covered] = lots
    trades.sz_scale[:] = 100.0
    return trades


TS = START_US + MINUTE_US * np.arange(1, 1441)


def test_the_size_of_a_volume_bucket() -> None:
    some = DayPrints(START_US + SECOND * np.arange(10), np.full(10, 30), np.ones(10, dtype=np.bool_), 100.0)
    # The day before: 20 lots a minute; 1/288 of 1440 minutes are 5: V = 100 lots.
    found = day_volume_buckets(statistics(20, 1440), statistics(7, 10), TS, some, seconds(), 1 / 288)
    assert found.done_us.tolist() == [START_US + 3 * SECOND, START_US + 6 * SECOND, START_US + 9 * SECOND]
    assert found.share.tolist() == [1.0, 1.0, 1.0]
    assert found.known_from_us == TS[0]
    # With 59 minutes there, the first 60 covered ones of the day itself: 40 lots a minute, V = 200.
    found = day_volume_buckets(statistics(20, 59), statistics(40, 60), TS, some, seconds(), 1 / 288)
    assert found.done_us.tolist() == [START_US + 6 * SECOND]
    assert found.known_from_us == TS[59]
    assert (
        day_volume_buckets(statistics(20, 59), statistics(40, 59), TS, some, seconds(), 1 / 288).known_from_us > TS[-1]
    )
    assert day_volume_buckets(statistics(0, 1440), statistics(0, 60), TS, some, seconds(), 1 / 288).empty


def test_a_loss_of_prints_restarts_the_clock() -> None:
    some = DayPrints(START_US + SECOND * np.arange(10), np.full(10, 30), np.ones(10, dtype=np.bool_), 100.0)
    broken = seconds((5.5, 5.6))
    found = day_volume_buckets(statistics(20, 1440), statistics(7, 10), TS, some, broken, 1 / 288)
    assert found.done_us.tolist() == [START_US + 3 * SECOND, START_US + 9 * SECOND]


def clock(known_from: int, count: int, empty: bool = False) -> VolumeBuckets:
    """`count` volume buckets, one a second from 0, of share 0.01 x their number."""
    done = START_US + SECOND * np.arange(count)
    return VolumeBuckets(done, 0.01 * np.arange(count), START_US + known_from * SECOND, empty)


def test_vpin() -> None:
    found = values(buckets(volume_buckets=clock(20, 12), uncovered=seconds((41, 42))), "vpin", 6)
    assert found == ["warm-up", *[pytest.approx(0.055)] * 3, "gap", pytest.approx(0.055)]
    assert values(buckets(volume_buckets=clock(0, 9)), "vpin", 2) == ["warm-up", "warm-up"]
    assert values(buckets(volume_buckets=clock(0, 0, empty=True)), "vpin", 2) == ["undefined", "undefined"]
    assert values(buckets(volume_buckets=clock(0, 60)), "vpin", 6)[5] == pytest.approx(
        np.mean(0.01 * np.arange(10, 60))
    )


def test_complete_volume_buckets_stay_across_midnight() -> None:
    yesterday = VolumeBuckets(np.array([START_US - SECOND]), np.array([0.5]), START_US - DAY_US, empty=False)
    both = clock(0, 2).after(yesterday)
    assert both.share.tolist() == [0.5, 0.0, 0.01]
    assert both.known_from_us == START_US
