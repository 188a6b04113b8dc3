import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.splits import Split, first_rows, stride_origins, time_split, walk_forward
from midas_ray.dataset.windows import window_origins
from midas_ray.errors import TooFewRowsError
from tests.dataset.synthetic import synthetic_panel, take

HORIZON = 3


def label_end_us(panel: Panel, origins: np.ndarray) -> int:
    return int(panel.ts_us[origins].max()) + HORIZON * panel.bucket_us


def assert_purged(panel: Panel, split: Split) -> None:
    assert label_end_us(panel, split.train) <= panel.ts_us[split.validation].min()
    assert label_end_us(panel, split.validation) <= panel.ts_us[split.calibration].min()
    assert label_end_us(panel, split.calibration) <= panel.ts_us[split.test].min()


def parts_of(split: Split) -> list[np.ndarray]:
    return [split.train, split.validation, split.calibration, split.test]


@given(
    rows=st.integers(120, 240),
    missing=st.sets(st.integers(0, 79), max_size=5),
    symbols=st.integers(1, 3),
    shares=st.tuples(st.floats(0.15, 0.25), st.floats(0.15, 0.25)),
)
def test_no_label_of_a_part_reaches_into_the_next(
    rows: int, missing: set[int], symbols: int, shares: tuple[float, float]
) -> None:
    panel = synthetic_panel(rows, ("btcusdt", "ethusdt", "solusdt")[:symbols])
    panel = take(panel, np.delete(np.arange(len(panel)), sorted(missing)))
    origins = window_origins(panel, 2, HORIZON, ())
    split = time_split(panel, origins, *shares, purge=HORIZON, calibration_share=0.15)
    assert_purged(panel, split)
    parts = np.concatenate(parts_of(split))
    assert len(set(parts.tolist())) == len(parts)
    assert set(parts.tolist()) <= set(origins.tolist())


def test_shares_are_of_the_time_span() -> None:
    panel = synthetic_panel(106)
    origins = window_origins(panel, 4, HORIZON, ())
    split = time_split(panel, origins, 0.2, 0.1, purge=HORIZON, calibration_share=0.15)
    assert [len(part) for part in parts_of(split)] == [53, 18, 13, 10]


def test_the_purge_costs_exactly_the_horizon_less_one() -> None:
    panel = synthetic_panel(106)
    origins = window_origins(panel, 4, HORIZON, ())
    split = time_split(panel, origins, 0.2, 0.1, purge=HORIZON)
    assert len(origins) - sum(len(part) for part in parts_of(split)) == 3 * (HORIZON - 1)


def test_walk_forward_trains_on_all_the_past_and_tests_every_later_origin_once() -> None:
    panel = synthetic_panel(200, ("btcusdt", "ethusdt"))
    origins = window_origins(panel, 4, HORIZON, ())
    splits = walk_forward(panel, origins, folds=4, purge=HORIZON)
    tested = np.concatenate([split.test for split in splits])
    first = panel.ts_us[splits[0].test].min()
    np.testing.assert_array_equal(tested, origins[panel.ts_us[origins] >= first])
    for split in splits:
        assert_purged(panel, split)
        assert panel.ts_us[split.train].min() == panel.ts_us[origins].min()
    assert [len(split.train) for split in splits] == sorted(len(split.train) for split in splits)


def test_too_few_windows_for_the_parts() -> None:
    panel = synthetic_panel(12)
    with pytest.raises(TooFewRowsError, match="the training part has no window after a purge of 3 buckets"):
        time_split(panel, window_origins(panel, 4, HORIZON, ()), 0.4, 0.4, purge=HORIZON)


def test_stride_keeps_the_calendar_grid() -> None:
    panel = synthetic_panel(30, ("btcusdt", "ethusdt"))
    kept = stride_origins(panel, window_origins(panel, 4, HORIZON, ()), 5)
    assert set(panel.ts_us[kept] // panel.bucket_us % 5) == {0}
    assert len(kept) == 10


def test_first_rows_reach_to_the_share_of_the_span() -> None:
    np.testing.assert_array_equal(first_rows(synthetic_panel(11), 0.5), np.arange(6))
