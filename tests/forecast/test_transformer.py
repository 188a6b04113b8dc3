"""The fast network against pytorch-forecasting's own, with the same weights."""

import copy

import numpy as np
import pytest
import torch
from pytorch_forecasting import TemporalFusionTransformer

from midas_ray.forecast import selection, transformer
from midas_ray.forecast.batches import RELATIVE_TIME
from midas_ray.forecast.network import Architecture, build_network
from midas_ray.forecast.transformer import WindowTransformer

Batch = dict[str, torch.Tensor]
LENGTH, HORIZON, WINDOWS, SYMBOLS = 7, 3, 5, 3


def architecture(hidden: int, calendar: bool = True, dropout: float = 0.0) -> Architecture:
    known = ("hour_sin", "hour_cos", RELATIVE_TIME) if calendar else (RELATIVE_TIME,)
    return Architecture(
        encoder_reals=("a", "b", "c", "d", *known), decoder_reals=known, symbols=SYMBOLS, input_length=LENGTH,
        quantiles=(0.1, 0.5, 0.9), hidden_dim=hidden, n_heads=2, dropout=dropout,
    )  # fmt: skip


def networks(chosen: Architecture) -> tuple[WindowTransformer, TemporalFusionTransformer]:
    """Ours and the stock one with the same random weights, none of them at its initial 0 or 1."""
    torch.manual_seed(0)
    ours = build_network(chosen)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    stock = TemporalFusionTransformer(**copy.deepcopy(dict(ours.hparams)) | {"loss": copy.deepcopy(ours.loss)})
    stock.load_state_dict(ours.state_dict())
    return ours, stock


def batch(reals: int, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    symbol = torch.randint(0, SYMBOLS, (WINDOWS, 1, 1), generator=generator)
    return {
        "encoder_cont": 3 * torch.randn(WINDOWS, LENGTH, reals, generator=generator),
        "decoder_cont": 3 * torch.randn(WINDOWS, HORIZON, reals, generator=generator),
        "encoder_cat": symbol.repeat(1, LENGTH, 1),
        "decoder_cat": symbol.repeat(1, HORIZON, 1),
        "encoder_lengths": torch.full((WINDOWS,), LENGTH),
        "decoder_lengths": torch.full((WINDOWS,), HORIZON),
        "target_scale": torch.tensor([[0.0, 1.0]]).expand(WINDOWS, 2),
    }


def gradients(network: torch.nn.Module, x: Batch) -> dict[str, torch.Tensor]:
    network.zero_grad()
    out = network(x)["prediction"]
    (out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("pieces", [True, False], ids=["in pieces", "together"])
@pytest.mark.parametrize(("hidden", "calendar"), [(16, True), (8, True), (4, True), (12, False)])
def test_outputs_and_gradients_are_those_of_the_stock_network(
    hidden: int, calendar: bool, pieces: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = architecture(hidden, calendar)
    monkeypatch.setattr(transformer, "group_size", lambda _rows, _width, inputs, _gpu: 2 if pieces else inputs)
    ours, stock = networks(chosen)
    x = batch(len(chosen.encoder_reals))
    found, expected = ours(x), stock(x)
    names = [name for name in expected._fields if isinstance(expected[name], torch.Tensor)]
    assert {"prediction", "encoder_attention", "encoder_variables", "static_variables"} <= set(names)
    for name in names:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5, msg=name)
    found_grads, expected_grads = gradients(ours, x), gradients(stock, x)
    assert found_grads.keys() == expected_grads.keys()
    for name, grad in expected_grads.items():
        assert float((found_grads[name] - grad).abs().max()) <= 1e-5 * max(1.0, float(grad.abs().max())), name


def test_weights_are_interchangeable_with_the_stock_network() -> None:
    ours, stock = networks(architecture(8))
    assert list(ours.state_dict()) == list(stock.state_dict())
    ours.load_state_dict(stock.state_dict())


def test_dropout_drops_in_training_only() -> None:
    ours, _ = networks(architecture(16, dropout=0.5))
    x = batch(7)
    assert not torch.equal(ours(x)["prediction"], ours(x)["prediction"])
    ours.eval()
    torch.testing.assert_close(ours(x)["prediction"], ours(x)["prediction"], rtol=0, atol=0)


def test_dropout_of_the_pieces_has_the_mean_of_the_stock_network() -> None:
    chosen = architecture(16, dropout=0.3)
    ours, stock = networks(chosen)
    x_BTV = batch(7)["encoder_cont"]
    context = torch.randn(WINDOWS, 16, generator=torch.Generator().manual_seed(2))
    network, peer = ours.encoder_variable_selection, stock.encoder_variable_selection
    # Only the inputs' own networks drop: the weights given to them are taken as they are.
    for each in (network, peer):
        each.flattened_grn.eval()
    by_name = {name: x_BTV[..., at : at + 1] for at, name in enumerate(peer.input_sizes)}
    torch.manual_seed(0)
    draws = 400
    with torch.no_grad():
        found = torch.stack([selection.select_variables(network, x_BTV, context, 2)[0] for _ in range(draws)])
        wide = context[:, None].expand(-1, LENGTH, -1)
        expected = torch.stack([peer(by_name, wide)[0] for _ in range(draws)])
    error = (found.var(dim=0) + expected.var(dim=0)).div(draws).sqrt().clamp(min=1e-6)
    z = ((found.mean(dim=0) - expected.mean(dim=0)) / error).numpy()
    assert found.std(dim=0).mean() > 0.01
    assert np.sqrt(np.mean(z**2)) < 1.2  # 1 where both have the same mean


def test_extreme_inputs_stay_finite() -> None:
    ours, stock = networks(architecture(16))
    for value in (0.0, 10.0, -10.0):
        x = batch(7)
        x["encoder_cont"] = torch.full_like(x["encoder_cont"], value)
        torch.testing.assert_close(ours(x)["prediction"], stock(x)["prediction"], rtol=1e-5, atol=1e-5)
        assert all(bool(torch.isfinite(grad).all()) for grad in gradients(ours, x).values())


def test_groups_fill_the_cache_on_a_cpu_and_hold_all_inputs_on_a_gpu() -> None:
    assert selection.group_size(3840, 64, 76, on_gpu=False) == 2
    assert selection.group_size(3840, 16, 76, on_gpu=False) == 8
    assert selection.group_size(10**7, 64, 76, on_gpu=False) == 1
    assert selection.group_size(3840, 64, 76, on_gpu=True) == 76


def test_compiled_it_is_one_graph_before_and_one_after_the_lstms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "group_size", lambda *sizes: sizes[2])  # as on a GPU
    chosen = architecture(16, dropout=0.3)
    ours, _ = networks(chosen)
    x = batch(len(chosen.encoder_reals))
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    compiled = torch.compile(ours, backend=backend)
    torch.manual_seed(3)
    found = compiled(x)["prediction"]
    torch.manual_seed(3)
    torch.testing.assert_close(found, ours(x)["prediction"], rtol=1e-6, atol=1e-6)
    assert len(graphs) == 2
