import json

import numpy as np
import pytest
import torch

from midas_ray.dataset.columns import choose_columns
from midas_ray.errors import UsageError
from midas_ray.features.registry import FEATURES
from midas_ray.forecast.network import Architecture, build_network, pinball_BH
from midas_ray.forecast.scores import pinball_loss_bps
from midas_ray.forecast.training_set import new_module, prepare
from tests.dataset.synthetic import synthetic_panel
from tests.forecast.planted import COLUMNS, planted_panel, small_network, split_of


def architecture() -> Architecture:
    panel = planted_panel(100)
    split = split_of(panel)
    return prepare(panel, split.train, split.validation, small_network(), columns=COLUMNS).architecture


def test_an_architecture_survives_json() -> None:
    expected = architecture()
    assert Architecture.from_dict(json.loads(json.dumps(expected.to_dict()))) == expected


def test_every_feature_can_be_an_input() -> None:
    panel = synthetic_panel(100, ("btcusdt", "ethusdt", "solusdt"))
    columns = choose_columns(panel, np.arange(100), 6, 2).columns
    split = split_of(panel)
    training = prepare(panel, split.train, split.validation, small_network(), columns=columns)
    module = new_module(training)
    assert len(columns) == len(FEATURES) - 1
    loss = module.training_step(training.train[np.arange(4)], 0)
    loss.backward()
    assert torch.isfinite(loss)
    assert next(module.parameters()).dtype == torch.float32


def test_the_loss_is_the_mean_pinball_loss() -> None:
    rng = np.random.default_rng(0)
    predicted, actual = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2))
    taus = np.array([0.1, 0.5, 0.9])
    found = pinball_BH(torch.tensor(predicted), torch.tensor(actual), torch.tensor(taus)).mean()
    assert float(found) == pytest.approx(pinball_loss_bps(actual, predicted, taus).mean())


def test_more_heads_than_width_is_refused() -> None:
    with pytest.raises(UsageError, match="--n-heads 9: expected at most --hidden-dim, found 8"):
        Architecture.from_dict(architecture().to_dict() | {"n_heads": 9})


def test_the_future_reaches_the_network_through_known_inputs_only() -> None:
    panel = planted_panel(100)
    split = split_of(panel)
    training = prepare(panel, split.train, split.validation, small_network(), columns=COLUMNS)
    names = training.architecture.encoder_reals
    network = build_network(training.architecture).eval()

    def output(name: str) -> torch.Tensor:
        x, _ = training.train[np.arange(4)]
        if name:
            x["decoder_cont"][:, :, names.index(name)] = 3.0
        return network(x)["prediction"].detach()

    expected = output("")
    for name in names:
        changed = not torch.equal(output(name), expected)
        assert changed == (name in {"hour_sin", "hour_cos", "relative_time"}), name
