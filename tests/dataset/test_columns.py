import numpy as np

from midas_ray.dataset.columns import choose_columns
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURES
from tests.dataset.synthetic import rebuilt, synthetic_panel, with_nulls

ROWS = np.arange(200)


def test_every_model_input_is_kept_where_nothing_is_wrong() -> None:
    choice = choose_columns(synthetic_panel(300), ROWS, 20, 5)
    assert choice.left_out == {"ofi_cumulative": "not a model input"}
    assert len(choice.columns) == len(FEATURES) - 1


def test_a_column_the_venue_lacks_is_named() -> None:
    panel = with_nulls(synthetic_panel(300), "funding_rate", slice(None), NullKind.GAP)
    choice = choose_columns(panel, ROWS, 20, 5)
    assert choice.left_out["funding_rate"] == "absent: the data has none"
    assert "funding_rate (absent: the data has none)" in choice.sentence()


def test_more_than_half_null_in_training_goes() -> None:
    panel = with_nulls(synthetic_panel(300), "vpin", slice(0, 101), NullKind.UNDEFINED)
    assert choose_columns(panel, ROWS, 20, 5).left_out["vpin"] == "more than half null in training"
    half = with_nulls(synthetic_panel(300), "vpin", slice(0, 100), NullKind.UNDEFINED)
    assert "vpin" in choose_columns(half, ROWS, 20, 5).columns


def test_a_column_whose_gaps_take_most_windows_goes_and_the_others_keep_theirs() -> None:
    panel = with_nulls(synthetic_panel(300), "basis_bps", np.arange(0, 300, 15), NullKind.GAP)
    choice = choose_columns(panel, ROWS, 20, 5)
    assert choice.left_out["basis_bps"] == "its gaps and warm-up cost more than half of the training windows"


def test_ordinary_warm_up_drops_nothing() -> None:
    panel = with_nulls(synthetic_panel(300), "volatility_100", slice(0, 30), NullKind.WARM_UP)
    assert "volatility_100" in choose_columns(panel, ROWS, 20, 5).columns


def test_constant_in_training_goes() -> None:
    panel = synthetic_panel(300)
    values = panel.values.copy()
    values[:200, panel.feature_names.index("liquidation_buy_volume")] = 0.0
    choice = choose_columns(rebuilt(panel, values), ROWS, 20, 5)
    assert choice.left_out["liquidation_buy_volume"] == "constant in training"


def test_rows_after_training_decide_nothing() -> None:
    panel = synthetic_panel(300)
    spoilt = with_nulls(panel, "vpin", slice(200, 300), NullKind.GAP)
    assert choose_columns(spoilt, ROWS, 20, 5).columns == choose_columns(panel, ROWS, 20, 5).columns
