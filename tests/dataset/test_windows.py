import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.dataset.windows import require_windows, targets_bps, window_costs, window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.features.nulls import NullKind
from tests.dataset.synthetic import synthetic_panel, take, with_nulls

KINDS = st.lists(st.sampled_from([0, 0, 0, 0, 0, 1, 2, 3]), min_size=24, max_size=24)
ALL = ("ofi", "volume")


def test_a_panel_without_nulls_gives_every_window() -> None:
    panel = synthetic_panel(20)
    np.testing.assert_array_equal(window_origins(panel, 5, 3, ALL), np.arange(4, 17))


def test_windows_of_several_symbols_are_sorted_by_time() -> None:
    panel = synthetic_panel(10, ("btcusdt", "ethusdt"))
    np.testing.assert_array_equal(window_origins(panel, 5, 3, ALL), [4, 14, 5, 15, 6, 16])


def test_a_window_never_crosses_missing_buckets() -> None:
    panel = take(synthetic_panel(20), np.delete(np.arange(20), [9]))
    np.testing.assert_array_equal(window_origins(panel, 5, 3, ALL), [4, 5, 13, 14, 15])


@pytest.mark.parametrize("kind", [NullKind.GAP, NullKind.WARM_UP])
def test_gap_and_warm_up_leave_windows_out(kind: NullKind) -> None:
    panel = with_nulls(synthetic_panel(20), "ofi", slice(0, 4), kind)
    np.testing.assert_array_equal(window_origins(panel, 5, 3, ALL), np.arange(8, 17))
    np.testing.assert_array_equal(window_origins(panel, 5, 3, ("volume",)), np.arange(4, 17))


def test_undefined_values_cost_no_window() -> None:
    panel = with_nulls(synthetic_panel(20), "ofi", slice(0, 20), NullKind.UNDEFINED)
    assert len(window_origins(panel, 5, 3, ALL)) == 13


def test_the_price_must_be_known_at_the_origin_and_at_every_horizon() -> None:
    panel = with_nulls(synthetic_panel(20), "midprice", slice(10, 11), NullKind.GAP)
    np.testing.assert_array_equal(window_origins(panel, 3, 2, ()), [2, 3, 4, 5, 6, 7, 13, 14, 15, 16, 17])


@given(ofi=KINDS, mid=KINDS, missing=st.sets(st.integers(0, 23), max_size=4))
def test_windows_are_exactly_those_the_rule_allows(ofi: list[int], mid: list[int], missing: set[int]) -> None:
    panel = synthetic_panel(24)
    for name, kinds in (("ofi", ofi), ("midprice", [min(kind, 1) for kind in mid])):
        for kind in set(kinds) - {0}:
            panel = with_nulls(panel, name, np.flatnonzero(np.array(kinds) == kind), NullKind(kind))
    kept = np.array([row for row in range(24) if row not in missing])
    panel = take(panel, kept)
    expected = []
    for position in range(len(kept)):
        row = kept[position]
        needed = range(row - 3, row + 3)
        if not set(needed) <= set(kept.tolist()):
            continue
        inputs_good = all(ofi[k] in (0, 3) and mid[k] == 0 for k in range(row - 3, row + 1))
        if inputs_good and all(mid[k] == 0 for k in range(row, row + 3)):
            expected.append(position)
    assert window_origins(panel, 4, 2, ("ofi",)).tolist() == expected


def test_targets_by_hand() -> None:
    panel = synthetic_panel(6)
    panel.price[:] = [100.0, 100.0, 101.0, 99.0, 100.0, 100.0]
    found = targets_bps(panel, np.array([1, 2]), 2)
    expected = [[99.50330853, -100.50335854], [-200.00666707, -99.50330853]]
    np.testing.assert_allclose(found, expected, rtol=1e-8)


def test_costs_name_what_warm_up_and_gaps_take() -> None:
    panel = with_nulls(synthetic_panel(30), "ofi", slice(0, 6), NullKind.WARM_UP)
    panel = with_nulls(panel, "midprice", slice(25, 27), NullKind.GAP)
    costs = window_costs(panel, 5, 3, ALL)
    assert (costs.rows, costs.warm_up_rows, costs.gap_rows) == (30, 6, 2)
    assert (costs.windows_by_price, costs.windows) == (18, 12)
    assert "warm-up costs 6 rows" in costs.sentence()


def test_too_few_rows_says_how_many() -> None:
    panel = with_nulls(synthetic_panel(12), "ofi", slice(0, 6), NullKind.WARM_UP)
    with pytest.raises(TooFewRowsError, match=r"expected 8 consecutive buckets .* found 12 rows, at most 6 in a row"):
        require_windows(panel, window_origins(panel, 5, 3, ALL), 5, 3, ALL)
