"""python -m benchmarks.training: windows, a step and an epoch against pytorch-forecasting and Lightning as they come.

The same rows, windows, weights, batches and loss on both sides: the stock side is TimeSeriesDataSet.to_dataloader,
TemporalFusionTransformer.from_dataset and Trainer.fit. One thread; 22 real inputs, 60 buckets in, 10 ahead, width 16
(--hidden-dim 64 --inputs 76 for the largest).
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet
from pytorch_forecasting.metrics import QuantileLoss

from benchmarks.rows import Row, Target, finish, in_turn, parser_of
from midas_ray.dataset.scaling import Normalizer
from midas_ray.dataset.windows import window_origins
from midas_ray.features.registry import FEATURES
from midas_ray.forecast.batches import RELATIVE_TIME, InOrder, WindowSet, batch_loader
from midas_ray.forecast.fitting import quiet_lightning
from midas_ray.forecast.network import Architecture, QuantileForecaster, options_of
from midas_ray.forecast.transformer import WindowTransformer
from midas_ray.setting_values import DEFAULT_QUANTILES
from midas_ray.settings import NetworkSettings
from tests.dataset.synthetic import synthetic_panel
from tests.forecast.stock import STOCK_RELATIVE_TIME, stock_data_set

NAME = "training: against pytorch-forecasting"
LENGTH, HORIZON, BATCH = 60, 10, 64


def windows_of(rows: int, inputs: int) -> WindowSet:
    """Two symbols of made-up rows with so many real inputs."""
    names = [feature.name for feature in FEATURES if feature.scaler != "price_bps" and feature.model_input]
    others = [name for name in names if not name.startswith("hour_")]
    columns = (*others[: inputs - 7], "hour_sin", "hour_cos")  # beside them four volatilities and the relative time
    panel = synthetic_panel(rows, ("btcusdt", "ethusdt"))
    origins = window_origins(panel, LENGTH, HORIZON, columns)
    return WindowSet.cut(panel, origins, Normalizer.fit(panel, origins, columns, LENGTH, HORIZON))


def through(loader: Any) -> int:
    """Windows that a loader gives."""
    return sum(len(x["encoder_cont"]) for x, _ in loader)


class Losses(Callback):
    """The loss of every step."""

    def __init__(self) -> None:
        self.curve: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:  # noqa: ARG002
        self.curve.append(float(outputs["loss"]))


def trainer_of(losses: Losses) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=[losses],
    )  # fmt: skip


class Pair:
    """Both sides with the same weights, and the same windows in the same order."""

    def __init__(self, rows: int, inputs: int, hidden_dim: int) -> None:
        self.windows = windows_of(rows, inputs)
        self.stock: TimeSeriesDataSet = stock_data_set(self.windows)
        settings = NetworkSettings(hidden_dim=hidden_dim, n_heads=1 if hidden_dim < 32 else 4, dropout=0.0)
        self.architecture = Architecture.of(self.windows.normalizer, settings, DEFAULT_QUANTILES)
        torch.manual_seed(0)
        self.weights = self.stock_module().state_dict()
        self.ours_losses: list[float] = []
        self.stock_losses: list[float] = []
        self._match_targets()

    def _match_targets(self) -> None:
        """Let our windows hold the stock's targets, in the order in which the stock gives its windows."""
        frame_target = np.diff(self.windows.log_reference, prepend=self.windows.log_reference[:1]) / 100
        frame_target[np.flatnonzero(np.diff(self.windows.symbol, prepend=-1))] = 0.0
        order = np.lexsort((self.windows.ts_us[self.windows.origins], self.windows.symbol[self.windows.origins]))
        origins = self.windows.origins[order]
        targets = frame_target[origins[:, None] + np.arange(1, HORIZON + 1)].astype(np.float32)
        self.windows = replace(
            self.windows, origins=origins, targets=targets, target_scale_bps=self.windows.target_scale_bps[order]
        )

    def ours_loader(self) -> Any:
        return batch_loader(self.windows, InOrder(len(self.windows), BATCH))

    def stock_loader(self) -> Any:
        return self.stock.to_dataloader(train=False, batch_size=BATCH, num_workers=0)

    def stock_module(self) -> TemporalFusionTransformer:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return TemporalFusionTransformer.from_dataset(
                self.stock, learning_rate=1e-3, hidden_size=self.architecture.hidden_dim,
                attention_head_size=self.architecture.n_heads, dropout=0.0, optimizer="adam",
                hidden_continuous_size=min(8, self.architecture.hidden_dim), output_size=len(DEFAULT_QUANTILES),
                loss=QuantileLoss(list(DEFAULT_QUANTILES)), embedding_sizes={"symbol": (2, 2)},
            )  # fmt: skip

    def ours_network(self) -> WindowTransformer:
        """Ours with the stock's weights; variables in the stock's order, as some weights depend on it."""
        stock = self.stock_module()
        orders = {
            name: [RELATIVE_TIME if real == STOCK_RELATIVE_TIME else real for real in stock.hparams[name]]
            for name in ("time_varying_reals_encoder", "time_varying_reals_decoder")
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = WindowTransformer(**{**options_of(self.architecture), **orders})
        own = {
            name.replace(f".{STOCK_RELATIVE_TIME}.", f".{RELATIVE_TIME}."): value
            for name, value in self.weights.items()
            if not name.startswith(("loss.", "logging_metrics."))
        }
        network.load_state_dict(own)
        return network

    def ours_epoch(self) -> None:
        losses = Losses()
        with quiet_lightning():
            module = QuantileForecaster(self.ours_network(), DEFAULT_QUANTILES, 1e-3)
            trainer_of(losses).fit(module, self.ours_loader())
        self.ours_losses = losses.curve

    def stock_epoch(self) -> None:
        module = self.stock_module()
        module.load_state_dict(self.weights)
        losses = Losses()
        with quiet_lightning():
            trainer_of(losses).fit(module, self.stock_loader())
        self.stock_losses = losses.curve

    def same_losses(self) -> float:
        """Largest relative distance of the curves, after the constant factor between the two definitions."""
        ours, stock = np.array(self.ours_losses), np.array(self.stock_losses)
        return float(np.max(np.abs(stock / ours / np.median(stock / ours) - 1)))


def data_share(pair: Pair) -> float:
    """Share of an epoch's time in which the network waits for windows."""
    network = pair.ours_network()
    waited = worked = 0.0
    batches, begun_s = iter(pair.ours_loader()), time.perf_counter()
    for x, target in batches:
        ready_s = time.perf_counter()
        waited += ready_s - begun_s
        network.zero_grad()
        (network(x)["prediction"] - target[:, :, None]).abs().mean().backward()
        begun_s = time.perf_counter()
        worked += begun_s - ready_s
    return waited / (waited + worked)


def measure(rounds: int, rows: int, inputs: int, hidden_dim: int) -> list[Row]:
    torch.set_num_threads(1)
    pair = Pair(rows, inputs, hidden_dim)
    loading = in_turn(
        {"stock": lambda: through(pair.stock_loader()), "ours": lambda: through(pair.ours_loader())}, rounds
    )
    epoch = in_turn({"stock": pair.stock_epoch, "ours": pair.ours_epoch}, rounds)
    size = f"{len(pair.windows):,} windows of {LENGTH} + {HORIZON}, {inputs} inputs"
    return [
        loading["ours"].row(NAME, "windows", note=size),
        loading["stock"].row(
            NAME, "windows, TimeSeriesDataSet", against="ours", target=Target(40, "at least"),
            **loading["stock"].over(loading["ours"]),
        ),
        epoch["ours"].row(NAME, "an epoch", note=f"width {hidden_dim}, batches of {BATCH}"),
        epoch["stock"].row(
            NAME, "an epoch, stock module and trainer", against="ours", target=Target(1.3, "at least"),
            note=f"losses of all steps equal within {pair.same_losses():.1e}", **epoch["stock"].over(epoch["ours"]),
        ),
        Row(
            benchmark=NAME, what="share of an epoch waiting for windows", value=100 * data_share(pair), unit="%",
            target=Target(5, "at most"),
        ),
    ]  # fmt: skip


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1000, help="buckets of each of two symbols")
    parser.add_argument("--inputs", type=int, default=22)
    parser.add_argument("--hidden-dim", type=int, default=16)
    arguments = parser.parse_args()
    finish(measure(arguments.rounds, arguments.rows, arguments.inputs, arguments.hidden_dim), arguments.json)


if __name__ == "__main__":
    main()
