"""Order flow imbalance, by hand."""

import numpy as np
import pytest

from midas_ray.features import kernels
from tests.features.by_hand import Row, buckets, ten_levels, values


def row(flow: list[float | None] | float, size: float = 1.0) -> Row:
    levels = ten_levels(bid_size=size, ask_size=size)
    levels.ofi = [flow] * 10 if not isinstance(flow, list) else flow
    return levels


def flows(per_bucket: list[float]) -> dict[int, Row]:
    """One flow a bucket, in its fifth row."""
    rows = {second: row(0.0) for second in range(1, 10 * len(per_bucket) + 1)}
    return rows | {10 * at + 5: row(flow) for at, flow in enumerate(per_bucket)}


def test_ofi_is_the_sum_over_the_rows() -> None:
    rows = {second: row(0.01 * second) for second in range(1, 11)}
    assert values(buckets(rows), "ofi", 2) == [0.55, "gap"]


def test_ofi_needs_every_row_with_a_known_flow() -> None:
    rows = flows([1.0])
    assert values(buckets({second: each for second, each in rows.items() if second != 3}), "ofi", 1) == ["gap"]
    assert values(buckets(rows | {3: row([None] * 10)}), "ofi", 1) == ["gap"]
    assert values(buckets(rows | {3: Row([], [], live=False)}), "ofi", 1) == ["gap"]


def test_an_empty_side_makes_the_flow_undefined_not_a_gap() -> None:
    """The book was known all the time; the row after it has no flow either, since its interval began one-sided."""
    rows = flows([1.0, 2.0, 3.0])
    one_sided = Row(rows[15].bids, [], [None] * 10)
    rows |= {15: one_sided, 16: row([None] * 10)}
    b = buckets(rows)
    assert values(b, "ofi", 3) == [1.0, "undefined", 3.0]
    assert values(b, "ofi_cumulative", 3) == [1.0, "undefined", 3.0]
    assert values(b, "ofi_normalized", 3)[1] == values(b, "ofi_multilevel", 3)[1] == "undefined"
    assert values(buckets(rows | {18: row([None] * 10)}), "ofi", 2) == [1.0, "gap"]
    del rows[15]
    assert values(buckets(rows), "ofi", 2) == [1.0, "gap"]


def test_ofi_10_needs_ten_buckets() -> None:
    found = values(buckets(flows([float(i) for i in range(1, 13)])), "ofi_10", 12)
    assert found == ["warm-up"] * 9 + [55.0, 65.0, 75.0]


def test_a_gap_stays_in_ofi_10_for_ten_buckets_and_restarts_the_cumulative_sum() -> None:
    rows = flows([1.0] * 25)
    del rows[115]
    b = buckets(rows)
    assert values(b, "ofi_10", 25) == ["warm-up"] * 9 + [10.0, 10.0] + ["gap"] * 10 + [10.0] * 4
    assert values(b, "ofi_cumulative", 25) == [float(i) for i in range(1, 12)] + ["gap"] + [
        float(i) for i in range(1, 14)
    ]


def test_cumulative_restarts_at_midnight_and_its_last_bucket_closes_the_old_day() -> None:
    starts = np.array([False, False, True, False])
    sums = kernels.sum_since(np.array([1, 2, 3, 4]), starts, np.zeros(4, dtype=np.bool_))
    assert sums.tolist() == [1, 3, 3, 7]
    first_of_day = values(buckets(flows([5.0, 6.0])), "ofi_cumulative", 2)  # the inputs begin at 00:00
    assert first_of_day == [5.0, 11.0]


def test_normalized_by_the_mean_best_size() -> None:
    rows = {second: row(0.3, size=2.0 if second <= 5 else 4.0) for second in range(1, 11)}
    assert values(buckets(rows), "ofi_normalized", 1) == [pytest.approx(3.0 / 3.0)]


def test_multilevel_is_the_mean_over_levels() -> None:
    per_level: list[float | None] = [float(m) for m in range(1, 11)]
    rows = flows([0.0]) | {5: row(per_level)}
    assert values(buckets(rows), "ofi_multilevel", 1) == [pytest.approx(5.5)]


def test_multilevel_is_undefined_where_a_deeper_flow_is_unknown() -> None:
    rows = flows([1.0]) | {5: row([1.0] * 9 + [None])}
    b = buckets(rows)
    assert values(b, "ofi_multilevel", 1) == ["undefined"]
    assert values(b, "ofi", 1) == [1.0]
