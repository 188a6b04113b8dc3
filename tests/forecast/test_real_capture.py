"""The 34-hour NEXOUSDT capture at one-minute buckets: enough windows, and a model from them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from midas_ray.dataset.panel import load_panel
from midas_ray.forecast.fitting import fit
from midas_ray.forecast.judgement import Judgement
from midas_ray.forecast.parts import split_panel
from midas_ray.settings import Train
from midas_ray.storage import Storage


@pytest.mark.real
def test_the_34_hour_capture_gives_over_1500_windows_and_a_model(nexo_data: Path, tmp_path: Path) -> None:
    values = Train(hidden_dim=8, n_heads=1, venue="binance-spot", batch_size=32, max_steps=8, stride=4)
    parts = split_panel(load_panel(Storage(str(nexo_data)), "binance-spot"), values)
    assert parts.costs.windows > 1500
    assert parts.choice.left_out["funding_rate"] == "absent: the data has none"
    torch.set_num_threads(1)
    forecaster = fit(
        parts.panel, parts.split.train, parts.split.validation, values, tmp_path, columns=parts.choice.columns
    )
    test = Judgement.of(forecaster, parts.panel, parts.split.test)
    assert np.isfinite(test.model_wHQ).all()
    metrics = test.metrics(parts.panel)
    assert metrics["windows_scored"] == len(parts.split.test)
    assert metrics["mean_pinball_bps"]["model"] < 1.2 * metrics["mean_pinball_bps"]["baseline"]
