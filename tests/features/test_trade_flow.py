"""Trade flow, by hand."""

import numpy as np
import pytest

from midas_ray.features import kernels
from midas_ray.features.hour import BIN_EDGES
from tests.features.by_hand import buckets, prints, seconds, values

TRADES = prints((1, 100.0, 1.0, "buy"), (2, 100.0, 2.0, "sell"), (3, 100.0, 1.5, "buy"), (11, 100.0, 4.0, "sell"))


def test_volumes_start_anew_in_each_bucket() -> None:
    b = buckets(trades=TRADES)
    assert values(b, "taker_buy_volume", 3) == [2.5, 0.0, 0.0]
    assert values(b, "taker_sell_volume", 3) == [2.0, 4.0, 0.0]
    assert values(b, "signed_volume", 3) == [0.5, -4.0, 0.0]


def test_volume_imbalance_and_mean_size() -> None:
    b = buckets(trades=TRADES)
    assert values(b, "volume_imbalance", 3) == [0.5 / 4.5, -1.0, "undefined"]
    assert values(b, "mean_trade_size", 3) == [1.5, 4.0, "undefined"]


def test_all_are_a_gap_where_prints_were_lost() -> None:
    b = buckets(trades=TRADES, uncovered=seconds((5, 5.000001)))
    for name in ("taker_buy_volume", "taker_sell_volume", "signed_volume", "volume_imbalance", "mean_trade_size"):
        assert values(b, name, 1) == ["gap"]


def test_sign_autocorrelation_is_the_correlation_of_neighbours() -> None:
    signs = [1, 1, -1, -1, 1, 1, 1]
    trades = prints(*[(1 + i, 100.0, 1.0, "buy" if sign > 0 else "sell") for i, sign in enumerate(signs)])
    expected = np.corrcoef(signs[:-1], signs[1:])[0, 1]
    assert values(buckets(trades=trades), "trade_sign_autocorr", 1) == [pytest.approx(expected, abs=1e-15)]


def test_sign_autocorrelation_of_a_bucket_with_very_many_prints() -> None:
    """60,000 prints: the products of the sums leave 63 bits."""
    signs = np.where(np.arange(60_000) % 3 == 0, 1, -1)
    trades = prints(*[(1 + i / 10_000, 100.0, 1.0, "buy" if sign > 0 else "sell") for i, sign in enumerate(signs)])
    expected = np.corrcoef(signs[:-1], signs[1:])[0, 1]
    assert values(buckets(trades=trades), "trade_sign_autocorr", 1) == [pytest.approx(expected, abs=1e-12)]


@pytest.mark.parametrize("signs", ["bs", "bbbb", "bbbs", "sbbb"])
def test_sign_autocorrelation_is_undefined_on_few_or_constant_signs(signs: str) -> None:
    trades = prints(*[(1 + i, 100.0, 1.0, "buy" if sign == "b" else "sell") for i, sign in enumerate(signs)])
    assert values(buckets(trades=trades), "trade_sign_autocorr", 1) == ["undefined"]


def whale(histories: list[list[float]], covered: list[bool], min_covered: int, length: int) -> tuple[np.ndarray, ...]:
    """whale_pass on prints of notional px x 1 (all bought), one list a bucket."""
    bucket = np.repeat(np.arange(len(histories)), [len(each) for each in histories])
    px = np.array([px for each in histories for px in each], dtype=np.int64)
    ones = np.ones(len(px), dtype=np.int64)
    parts = kernels.histogram_pass(bucket, px, ones, ones == 1, 1.0, BIN_EDGES, len(histories))
    return kernels.whale_pass(*parts, np.array(covered), length, min_covered, 0)


def test_whales_exceed_the_quantile_of_the_buckets_before() -> None:
    small = [10.0] * 99
    lots, signed, covered, prints_before = whale([small, [4000.0], [4000.0, 10.0, 4200.0]], [True] * 3, 2, 8)
    # 99 of 100 prints lie in the bin of 10, which ends below 11: both of 4000 and 4200 exceed it.
    assert lots.tolist() == [0, 0, 2]
    assert signed.tolist() == [0, 0, 2]
    assert covered.tolist() == [0, 1, 2]
    assert prints_before[2] == 100


def test_the_threshold_moves_up_when_more_than_one_percent_are_large() -> None:
    lots, *_ = whale([[10.0] * 98, [4000.0, 4000.0], [4000.0, 4200.0]], [True] * 3, 2, 8)
    # The 99th of 100 is a 4000, whose bin (4096 x 2^(-3/64), 4096 x 2^(-2/64)] = (3965, 4008] ends below 4200.
    assert lots.tolist() == [0, 0, 1]


def test_the_window_forgets_and_leaves_out_lost_buckets() -> None:
    big, small = [4000.0] * 100, [10.0] * 100
    assert whale([big, small, [20.0]], [True] * 3, 1, 1)[0].tolist() == [0, 0, 1]
    assert whale([big, small, [20.0]], [False, True, True], 1, 2)[0].tolist() == [0, 0, 1]
    assert whale([big, small, [20.0]], [True] * 3, 1, 2)[0].tolist() == [0, 0, 0]


def test_whale_features_warm_up_for_60_covered_minutes() -> None:
    trades = prints(*[(10 * i + 1, 100.0, 1.0, "buy") for i in range(360)])
    b = buckets(trades=trades)
    assert values(b, "whale_volume", 360) == ["warm-up"] * 360
    assert values(b, "whale_signed_volume", 360) == ["warm-up"] * 360


@pytest.mark.parametrize("notional", [1.0, 2.0, 1024.0, 0.125, 3.0, 1e-9, 1e15, 1.0000000001, 0.9999999999])
def test_bins_are_open_below_and_closed_above(notional: float) -> None:
    def upper(b: int) -> float:
        octave, j = divmod(b - 1, 64)
        return 2.0**octave * (float(BIN_EDGES[j + 1]) if j < 63 else 1.0)

    found = kernels._notional_bin(notional, BIN_EDGES)
    assert upper(found - 1) < notional <= upper(found)
