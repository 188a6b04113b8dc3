import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_forecasting import TimeSeriesDataSet

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.scaling import Normalizer
from midas_ray.dataset.windows import targets_bps, window_origins
from midas_ray.features.nulls import NullKind
from midas_ray.features.registry import FEATURES
from midas_ray.forecast.batches import (
    KNOWN_AHEAD,
    InOrder,
    WindowSampler,
    WindowSet,
    batch_loader,
    decoder_reals,
    encoder_reals,
)
from tests.dataset.synthetic import rebuilt, synthetic_panel, with_nulls

COLUMNS = ("close", "volume", "vwap", "ofi", "hour_sin", "hour_cos")
LENGTH, HORIZON = 6, 3


def cut(panel: Panel) -> WindowSet:
    origins = window_origins(panel, LENGTH, HORIZON, COLUMNS)
    return WindowSet.cut(panel, origins, Normalizer.fit(panel, origins, COLUMNS, LENGTH, HORIZON))


def channel(windows: WindowSet, tensor: torch.Tensor, name: str) -> np.ndarray:
    return tensor[:, :, encoder_reals(windows.normalizer).index(name)].numpy()


def test_names_of_the_inputs() -> None:
    panel = with_nulls(synthetic_panel(60), "vwap", np.array([20]), NullKind.UNDEFINED)
    normalizer = cut(panel).normalizer
    assert encoder_reals(normalizer) == (
        "volume", "ofi", "hour_sin", "hour_cos", "undefined_bars", "volatility_10", "volatility_60", "volatility_360",
        "volatility_1440", "close", "vwap", "relative_time",
    )  # fmt: skip
    assert decoder_reals(normalizer) == ("hour_sin", "hour_cos", "relative_time")


def test_all_features_known_in_advance_are_known_to_the_decoder() -> None:
    assert tuple(KNOWN_AHEAD) == tuple(feature.name for feature in FEATURES if feature.known_in_advance)


def test_inputs_are_the_scaled_rows_up_to_the_origin() -> None:
    panel = synthetic_panel(60, ("btcusdt", "ethusdt"))
    windows = cut(panel)
    rows = windows.normalizer.transform(panel).inputs
    x, _ = windows[np.array([0, 7])]
    for place, number in enumerate([0, 7]):
        origin = windows.origins[number]
        expected = rows[origin - LENGTH + 1 : origin + 1, 0]
        np.testing.assert_array_equal(channel(windows, x["encoder_cont"], "volume")[place], expected)


def test_prices_are_relative_to_the_origin() -> None:
    panel = synthetic_panel(60)
    windows = cut(panel)
    x, _ = windows[np.array([5])]
    origin = windows.origins[5]
    column = next(column for column in windows.normalizer.price_columns if column.name == "close")
    close = panel.column("close")[origin - LENGTH + 1 : origin + 1]
    expected = (1e4 * np.log(close / panel.price[origin]) - column.center[0]) / column.scale[0]
    np.testing.assert_allclose(channel(windows, x["encoder_cont"], "close")[0], expected, rtol=1e-4)


def test_the_decoder_knows_the_calendar_and_nothing_else() -> None:
    panel = synthetic_panel(60)
    windows = cut(panel)
    x, _ = windows[np.array([5])]
    origin = windows.origins[5]
    ahead = slice(origin + 1, origin + 1 + HORIZON)
    for name in ("hour_sin", "hour_cos"):
        np.testing.assert_allclose(channel(windows, x["decoder_cont"], name)[0], panel.column(name)[ahead], rtol=1e-6)
    np.testing.assert_allclose(channel(windows, x["decoder_cont"], "relative_time")[0], [0, 1 / 6, 2 / 6], atol=1e-7)
    for name in ("volume", "ofi", "close", "vwap"):
        assert not channel(windows, x["decoder_cont"], name).any()


def test_calendar_of_the_encoder_joins_that_of_the_decoder() -> None:
    windows = cut(synthetic_panel(60))
    x, _ = windows[np.array([5])]
    joined = torch.cat([x["encoder_cont"], x["decoder_cont"]], dim=1)
    np.testing.assert_allclose(np.diff(channel(windows, joined, "relative_time")[0]), 1 / LENGTH, rtol=1e-5)
    assert np.ptp(np.diff(channel(windows, joined, "hour_sin")[0])) < 1e-4


def test_targets_are_scaled_per_symbol_and_horizon() -> None:
    panel = synthetic_panel(60, ("btcusdt", "ethusdt"))
    windows = cut(panel)
    numbers = np.arange(len(windows))
    x, target = windows[numbers]
    scale = windows.normalizer.target_scale_bps(panel, windows.origins)
    np.testing.assert_allclose(
        target.numpy() * scale, targets_bps(panel, windows.origins, HORIZON), rtol=1e-4, atol=1e-6
    )
    assert (x["encoder_cat"][:, 0, 0].numpy() == panel.symbol_index[windows.origins]).all()


def test_batches_have_the_keys_shapes_and_types_of_time_series_data_set() -> None:
    frame = pd.DataFrame({"y": np.arange(30.0), "t": np.arange(30), "s": "btcusdt", "volume": np.arange(30.0)})
    stock = TimeSeriesDataSet(
        frame, time_idx="t", target="y", group_ids=["s"], static_categoricals=["s"], max_encoder_length=LENGTH,
        min_encoder_length=LENGTH, max_prediction_length=HORIZON, min_prediction_length=HORIZON,
        time_varying_unknown_reals=["volume"],
    )  # fmt: skip
    expected, _ = next(iter(stock.to_dataloader(batch_size=4)))
    found, _ = cut(synthetic_panel(60))[np.arange(4)]
    assert set(expected) - set(found) == {"decoder_time_idx", "groups"}  # the network does not read these
    for name, tensor in found.items():
        assert tensor.dtype == expected[name].dtype, name
        if not name.endswith("_cont"):
            assert tensor.shape == expected[name].shape, name


def test_what_comes_after_the_origin_changes_no_input() -> None:
    panel = synthetic_panel(60)
    windows = cut(panel)
    x, _ = windows[np.array([3])]
    later = panel.values.copy()
    later[windows.origins[3] + 1 :] *= 2
    again = WindowSet.cut(rebuilt(panel, later), windows.origins, windows.normalizer)[np.array([3])][0]
    for name in x.keys() - {"decoder_target"}:
        np.testing.assert_array_equal(x[name].numpy(), again[name].numpy())


@pytest.mark.parametrize("world", [1, 3])
def test_an_epoch_shows_every_window_at_most_once_in_equal_batches(world: int) -> None:
    samplers = [WindowSampler(100, 8, seed=1, rank=rank, world=world) for rank in range(world)]
    batches = [list(sampler) for sampler in samplers]
    shown = torch.cat([number for rank in batches for number in rank]).tolist()
    assert len(set(shown)) == len(shown) == 100 // world * world
    assert len({tuple(len(batch) for batch in rank) for rank in batches}) == 1
    assert [len(sampler) for sampler in samplers] == [len(rank) for rank in batches]


def test_epochs_are_shuffled_anew_and_a_resumed_one_is_the_same() -> None:
    sampler = WindowSampler(50, 8, seed=1)
    first = torch.cat(list(sampler))
    sampler.set_epoch(1)
    second = torch.cat(list(sampler))
    resumed = WindowSampler(50, 8, seed=1)
    resumed.set_epoch(1)
    assert not torch.equal(first, second)
    assert torch.equal(second, torch.cat(list(resumed)))


def test_most_batches_cuts_an_epoch_short() -> None:
    assert [len(batch) for batch in WindowSampler(50, 8, seed=1, most_batches=2)] == [8, 8]


def test_validation_shows_every_window_in_order() -> None:
    windows = cut(synthetic_panel(60))
    loader = batch_loader(windows, InOrder(len(windows), 16))
    targets = torch.cat([target for _, target in loader])
    torch.testing.assert_close(targets, torch.from_numpy(windows.targets))
    ranks = [torch.cat(list(InOrder(11, 4, rank, 2))).tolist() for rank in range(2)]
    assert sorted(ranks[0] + ranks[1]) == list(range(11))
