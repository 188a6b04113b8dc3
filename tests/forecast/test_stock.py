"""Our windows give the network what pytorch-forecasting's data set would: same inputs, same predictions."""

from dataclasses import replace

import numpy as np
import torch
from pytorch_forecasting import TimeSeriesDataSet

from midas_ray.dataset.scaling import Normalizer
from midas_ray.dataset.windows import window_origins
from midas_ray.forecast.batches import RELATIVE_TIME, WindowSet, decoder_reals, encoder_reals
from midas_ray.forecast.network import Architecture, build_network
from tests.dataset.synthetic import synthetic_panel
from tests.forecast.planted import small_network
from tests.forecast.stock import in_our_order, origins_of, stock_data_set

COLUMNS = ("volume", "ofi", "returns", "hour_sin", "hour_cos")
LENGTH, HORIZON = 12, 4


def made() -> tuple[WindowSet, TimeSeriesDataSet]:
    panel = synthetic_panel(90, ("btcusdt", "ethusdt", "solusdt"))
    origins = window_origins(panel, LENGTH, HORIZON, COLUMNS)
    windows = WindowSet.cut(panel, origins, Normalizer.fit(panel, origins, COLUMNS, LENGTH, HORIZON))
    return windows, stock_data_set(windows)


def test_inputs_and_predictions_are_those_of_the_stock_data_set() -> None:
    windows, stock = made()
    loader = stock.to_dataloader(train=False, batch_size=64)
    network = build_network(Architecture.of(windows.normalizer, small_network(hidden_dim=8), (0.1, 0.5, 0.9))).eval()
    names = encoder_reals(windows.normalizer)
    known = [names.index(name) for name in decoder_reals(windows.normalizer)]
    seen = []
    for stock_x, _ in loader:
        origins = origins_of(windows, stock_x)
        numbers = [int(np.flatnonzero(windows.origins == origin)[0]) for origin in origins]
        x, _ = windows[np.array(numbers)]
        stock_encoder = in_our_order(windows, stock, stock_x["encoder_cont"])
        stock_decoder = in_our_order(windows, stock, stock_x["decoder_cont"])
        torch.testing.assert_close(x["encoder_cont"], stock_encoder)
        torch.testing.assert_close(x["decoder_cont"][..., known], stock_decoder[..., known], rtol=0, atol=1e-6)
        for name in ("encoder_cat", "decoder_cat", "encoder_lengths", "decoder_lengths", "target_scale"):
            torch.testing.assert_close(x[name], stock_x[name], check_dtype=False)
        with torch.no_grad():
            ours = network(x)["prediction"]
            theirs = network({**stock_x, "encoder_cont": stock_encoder, "decoder_cont": stock_decoder})["prediction"]
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
        seen += numbers
    assert sorted(seen) == list(range(len(windows)))  # every window once


def test_the_comparison_can_fail() -> None:
    windows, stock = made()
    stock_x, _ = next(iter(stock.to_dataloader(train=False, batch_size=64)))
    shifted = replace(windows, inputs=windows.inputs + np.float32(1e-3))
    x, _ = shifted[np.arange(3)]
    assert not torch.allclose(x["encoder_cont"], in_our_order(windows, stock, stock_x["encoder_cont"][:3]), atol=1e-4)
    assert RELATIVE_TIME in encoder_reals(windows.normalizer)
