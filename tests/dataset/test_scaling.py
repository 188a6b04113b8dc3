import numpy as np
import pytest

from midas_ray.dataset.columns import choose_columns
from midas_ray.dataset.panel import Panel
from midas_ray.dataset.scaling import CLIP, Normalizer
from midas_ray.dataset.windows import targets_bps, window_origins
from midas_ray.errors import DataError, SchemaError
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import POSITION
from tests.dataset.synthetic import rebuilt, synthetic_panel, take, with_nulls

LENGTH, HORIZON = 20, 5


def fitted(panel: Panel, train: int = 200) -> Normalizer:
    """Fitted on the windows whose labels end within the first `train` rows of each symbol."""
    columns = choose_columns(panel, np.arange(len(panel)), LENGTH, HORIZON).columns
    origins = window_origins(panel, LENGTH, HORIZON, columns)
    end_us = panel.ts_us[0] + train * panel.bucket_us
    inside = panel.ts_us[origins] + HORIZON * panel.bucket_us < end_us
    return Normalizer.fit(panel, origins[inside], columns, LENGTH, HORIZON)


def scaled(panel: Panel, normalizer: Normalizer, name: str) -> np.ndarray:
    names = [column.name for column in normalizer.row_columns]
    return normalizer.transform(panel).inputs[:, names.index(name)]


def test_the_training_part_is_centred_and_of_unit_spread() -> None:
    panel = synthetic_panel(250)
    normalizer = fitted(panel)
    inputs = normalizer.transform(panel).inputs[:195]
    for position, column in enumerate(normalizer.row_columns):
        z = inputs[:, position]
        if column.scaler.endswith("_robust"):
            center, spread = np.median(z), np.subtract(*np.quantile(z, [0.75, 0.25])) / 1.349
        elif column.scaler == "standard":
            center, spread = np.mean(z), np.std(z)
        else:
            continue
        assert center == pytest.approx(0, abs=1e-5), column.name
        assert spread == pytest.approx(1, rel=1e-3), column.name


def test_nothing_after_the_training_part_is_seen() -> None:
    panel = synthetic_panel(250, ("btcusdt", "ethusdt"))
    values = panel.values.copy()
    values[200:250] *= 3.0
    values[450:500] *= 3.0
    assert fitted(rebuilt(panel, values)).to_json() == fitted(panel).to_json()
    values[199] *= 3.0
    assert fitted(rebuilt(panel, values)).to_json() != fitted(panel).to_json()


def test_scalers_by_hand() -> None:
    panel = synthetic_panel(60)
    normalizer = fitted(panel, train=60)
    origins = window_origins(panel, LENGTH, HORIZON, ())
    rows = np.arange(0, origins.max() + 1)
    volume = np.log1p(panel.column("volume"))
    low, center, high = np.quantile(volume[rows], [0.25, 0.5, 0.75])
    expected = (volume - center) / ((high - low) / 1.3489795003921634)
    np.testing.assert_allclose(scaled(panel, normalizer, "volume"), expected, rtol=1e-6)
    ofi = panel.column("ofi")
    curved = np.arcsinh(ofi / np.median(np.abs(ofi[rows])))
    low, center, high = np.quantile(curved[rows], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(
        scaled(panel, normalizer, "ofi"), (curved - center) / ((high - low) / 1.3489795003921634), rtol=1e-6
    )
    np.testing.assert_array_equal(scaled(panel, normalizer, "hour_sin"), panel.column("hour_sin").astype(np.float32))


def test_prices_are_relative_to_the_last_known_price() -> None:
    panel = synthetic_panel(120)
    normalizer = fitted(panel, train=120)
    origins = window_origins(panel, LENGTH, HORIZON, ())
    close = panel.column("close")
    back = np.arange(1 - LENGTH, 1)
    bps = 1e4 * np.log(close[origins[:, None] + back] / panel.price[origins][:, None])
    column = next(column for column in normalizer.price_columns if column.name == "close")
    assert column.center[0] == pytest.approx(bps.mean())
    assert column.scale[0] == pytest.approx(bps.std())


def test_target_unit_is_the_mean_absolute_move_in_volatilities_of_each_symbol_and_horizon() -> None:
    panel = synthetic_panel(120, ("btcusdt", "ethusdt"))
    normalizer = fitted(panel, train=120)
    origins = window_origins(panel, LENGTH, HORIZON, ())
    scaled_targets = targets_bps(panel, origins, HORIZON) / normalizer.target_scale_bps(panel, origins)
    for symbol in (0, 1):
        own = scaled_targets[panel.symbol_index[origins] == symbol]
        np.testing.assert_allclose(np.abs(own).mean(axis=0), 1.0)
    volatility = normalizer.volatility
    sigma = volatility.sigma_bps(volatility.log_terms(panel, origins, panel.symbol_index))
    found = normalizer.target_scale_bps(panel, origins) / sigma[:, None]
    np.testing.assert_allclose(found, np.array(normalizer.target_unit)[panel.symbol_index[origins]])


def test_undefined_becomes_neutral_with_an_indicator_per_family() -> None:
    panel = with_nulls(synthetic_panel(120), "volume_imbalance", np.array([50, 60]), NullKind.UNDEFINED)
    normalizer = fitted(panel, train=120)
    assert normalizer.indicators == {"trade_flow": ("volume_imbalance",)}
    column = next(column for column in normalizer.row_columns if column.name == "volume_imbalance")
    z = scaled(panel, normalizer, "volume_imbalance")
    np.testing.assert_allclose(z[[50, 60]], (0.0 - column.center[0]) / column.scale[0], rtol=1e-6)
    indicator = normalizer.transform(panel).inputs[:, normalizer.row_inputs.index("undefined_trade_flow")]
    np.testing.assert_array_equal(np.flatnonzero(indicator), [50, 60])


def test_an_undefined_vwap_is_the_midprice() -> None:
    panel = with_nulls(synthetic_panel(120), "vwap", np.array([50]), NullKind.UNDEFINED)
    normalizer = fitted(panel, train=120)
    position = [column.name for column in normalizer.price_columns].index("vwap")
    rows = normalizer.transform(panel)
    assert rows.log_prices[50, position] == pytest.approx(1e4 * np.log(panel.price[50]))


def test_gaps_are_never_filled() -> None:
    panel = with_nulls(synthetic_panel(120), "ofi", np.array([5]), NullKind.GAP)
    assert np.isnan(scaled(panel, fitted(panel, train=120), "ofi")[5])


def test_a_wild_value_is_cut() -> None:
    panel = synthetic_panel(250)
    values = panel.values.copy()
    values[240, POSITION["signed_volume"]] = 1e30
    wild = rebuilt(panel, values)
    assert scaled(wild, fitted(panel), "signed_volume")[240] == CLIP


def test_symbols_keep_their_own_statistics_whatever_their_order() -> None:
    panel = synthetic_panel(120, ("btcusdt", "ethusdt"))
    normalizer = fitted(panel, train=120)
    one = take(panel, panel.symbol_index == 1)
    other = rebuilt(one, one.values)
    other.symbol_index[:] = 0
    alone = type(other)(**{f: getattr(other, f) for f in other.__slots__} | {"symbols": ("ethusdt",)})
    np.testing.assert_array_equal(
        normalizer.transform(alone).inputs, normalizer.transform(panel).inputs[panel.symbol_index == 1]
    )


def test_an_unknown_symbol_is_refused() -> None:
    normalizer = fitted(synthetic_panel(120), train=120)
    with pytest.raises(DataError, match=r"symbols dogeusdt: .*btcusdt"):
        normalizer.transform(synthetic_panel(60, ("dogeusdt",)))


def test_json_gives_back_the_same_normalizer() -> None:
    panel = with_nulls(synthetic_panel(120), "vwap", np.array([50]), NullKind.UNDEFINED)
    normalizer = fitted(panel, train=120)
    assert Normalizer.from_json(normalizer.to_json()) == normalizer


def test_another_normalizer_version_is_refused() -> None:
    text = fitted(synthetic_panel(120), train=120).to_json().replace('"version": 2', '"version": 99')
    with pytest.raises(SchemaError, match="expected version 2, found 99"):
        Normalizer.from_json(text)
