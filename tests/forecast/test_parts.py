import numpy as np
import pytest

from midas_ray.dataset.windows import window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.features.nulls import NullKind
from midas_ray.forecast.parts import split_panel
from midas_ray.settings import Train
from tests.dataset.synthetic import synthetic_panel, take, with_nulls

VALUES = Train(input_length=10, output_length=3)


def test_parts_say_what_was_left_out_and_what_it_cost() -> None:
    panel = with_nulls(synthetic_panel(200), "volatility_100", slice(0, 30), NullKind.WARM_UP)
    panel = with_nulls(panel, "basis_bps", slice(None), NullKind.GAP)
    parts = split_panel(panel, VALUES)
    said = "\n".join(parts.sentences())
    assert "basis_bps (absent: the data has none)" in said
    assert "158 windows of 188 that the prices allow, from 200 rows: warm-up costs 30 rows, gaps 0" in said
    assert "train       89 windows, 2026-01-05T00:40:00 to 2026-01-05T02:08:00 UTC" in said


def test_columns_are_judged_before_the_test_part() -> None:
    panel = with_nulls(synthetic_panel(200), "vpin", slice(145, 200), NullKind.GAP)
    assert "vpin" in split_panel(panel, Train(input_length=10, output_length=3, test_share=0.3)).choice.columns


def test_a_symbol_without_training_windows_is_left_out_and_named() -> None:
    panel = synthetic_panel(200, ("btcusdt", "ethusdt"))
    panel = with_nulls(panel, "midprice", slice(200, 360), NullKind.GAP)
    parts = split_panel(panel, VALUES)
    assert parts.panel.symbols == ("btcusdt",)
    assert parts.symbols_left_out == ("ethusdt",)
    assert "symbols left out: ethusdt" in "\n".join(parts.sentences())
    everything = np.concatenate([parts.split.train, parts.split.validation, parts.split.test])
    assert set(everything) <= set(window_origins(parts.panel, 10, 3, parts.choice.columns))


def test_too_few_rows_for_one_window() -> None:
    with pytest.raises(TooFewRowsError, match=r"expected 13 consecutive buckets .* found 12 rows, at most 12"):
        split_panel(synthetic_panel(12), VALUES)


def test_symbols_absent_from_a_part_are_said() -> None:
    panel = synthetic_panel(300, ("btcusdt", "ethusdt"))
    kept = np.r_[0:300, 300:480]  # ethusdt ends earlier
    parts = split_panel(take(panel, kept), VALUES)
    said = "\n".join(parts.sentences())
    assert "ethusdt: no window in the test part; where symbols end on different days" in said
