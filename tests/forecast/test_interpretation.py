import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_forecasting import TemporalFusionTransformer

from midas_ray.dataset.windows import window_origins
from midas_ray.forecast.batches import WindowSet
from midas_ray.forecast.fitting import fit
from midas_ray.forecast.interpretation import INTERPRETATION_FILE, Interpretation
from midas_ray.forecast.network import build_network
from tests.forecast.planted import COLUMNS, HORIZON, LENGTH, planted_panel, small_network, split_of


def test_weights_are_those_of_the_stock_network_over_all_windows_and_horizons(tmp_path: Path) -> None:
    panel = planted_panel(400)
    split = split_of(panel)
    forecaster = fit(panel, split.train, split.validation, small_network(epochs=1), tmp_path, columns=COLUMNS)
    generator = torch.Generator().manual_seed(0)
    moved = {
        name: weight + 0.3 * torch.randn(weight.shape, generator=generator)
        for name, weight in forecaster.weights.items()
    }
    forecaster = replace(forecaster, weights=moved)
    origins = window_origins(panel, LENGTH, HORIZON, COLUMNS)[:37]
    found = forecaster.interpret(panel, origins)

    ours = build_network(forecaster.architecture)
    stock = TemporalFusionTransformer(**copy.deepcopy(dict(ours.hparams)) | {"loss": copy.deepcopy(ours.loss)}).eval()
    stock.load_state_dict(moved)
    with torch.no_grad():
        out = stock(WindowSet.cut(panel, origins, forecaster.normalizer)[np.arange(37)][0])
    by_library = stock.interpret_output(out, reduction="sum")
    for group, key, names in (
        (found.encoder, "encoder_variables", stock.encoder_variables),
        (found.decoder, "decoder_variables", stock.decoder_variables),
        (found.static, "static_variables", stock.static_variables),
    ):
        expected = dict(zip(names, (by_library[key] / by_library[key].sum()).tolist(), strict=True))
        assert group == pytest.approx(expected, rel=1e-4)
        assert list(group.values()) == sorted(group.values(), reverse=True)
    seen_L = out["encoder_attention"].numpy().astype(float).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(found.attention, seen_L / seen_L.sum(), rtol=1e-4)
    assert found.windows == 37
    assert len(found.attention) == LENGTH
    first_L = out["encoder_attention"].numpy()[:, 0].sum(axis=(0, 1))
    assert not np.allclose(found.attention, first_L / first_L.sum(), rtol=1e-4)


def test_a_kept_one_is_read_as_it_was(tmp_path: Path) -> None:
    kept = Interpretation(5, {"a": 0.75, "b": 0.25}, {"c": 1.0}, {"symbol": 1.0}, (0.1, 0.9))
    kept.save(tmp_path)
    assert Interpretation.from_dict(json.loads((tmp_path / INTERPRETATION_FILE).read_text())) == kept
