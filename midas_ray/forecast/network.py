"""pytorch-forecasting's Temporal Fusion Transformer (Lim et al. 2021) with quantile outputs, as a Lightning module."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import lightning.pytorch as pl
import torch
from pytorch_forecasting import TemporalFusionTransformer
from pytorch_forecasting.metrics import QuantileLoss

from midas_ray.dataset.scaling import Normalizer
from midas_ray.errors import UsageError
from midas_ray.forecast.batches import Batch, decoder_reals, encoder_reals
from midas_ray.forecast.transformer import WindowTransformer
from midas_ray.settings import NetworkSettings

SYMBOL = "symbol"


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Everything that fixes the shape of the network: enough to rebuild it for stored weights."""

    encoder_reals: tuple[str, ...]
    decoder_reals: tuple[str, ...]
    symbols: int
    """Categories of the static input."""
    input_length: int
    quantiles: tuple[float, ...]
    hidden_dim: int
    n_heads: int
    dropout: float

    def __post_init__(self) -> None:
        if self.n_heads > self.hidden_dim:
            raise UsageError(f"--n-heads {self.n_heads}: expected at most --hidden-dim, found {self.hidden_dim}")

    @classmethod
    def of(cls, normalizer: Normalizer, network: NetworkSettings, quantiles: tuple[float, ...]) -> Self:
        return cls(
            encoder_reals=encoder_reals(normalizer),
            decoder_reals=decoder_reals(normalizer),
            symbols=len(normalizer.symbols),
            input_length=normalizer.input_length,
            quantiles=quantiles,
            hidden_dim=network.hidden_dim,
            n_heads=network.n_heads,
            dropout=network.dropout,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        lists = ("encoder_reals", "decoder_reals", "quantiles")
        return cls(**{**stored, **{name: tuple(stored[name]) for name in lists}})


def _prediction(out: dict[str, Any]) -> Any:
    """The network's output as it is: targets are unscaled outside, in float64."""
    return out["prediction"]


def build_network(architecture: Architecture) -> WindowTransformer:
    """A freshly initialised network; its output is (B, H, Q) in scaled units."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Attribute .* is an instance of `nn.Module`")
        return WindowTransformer(**options_of(architecture))


def options_of(architecture: Architecture) -> dict[str, Any]:
    """The arguments of pytorch-forecasting's network."""
    return dict(
        hidden_size=architecture.hidden_dim,
        attention_head_size=architecture.n_heads,
        hidden_continuous_size=min(8, architecture.hidden_dim),
        lstm_layers=1,
        dropout=architecture.dropout,
        output_size=len(architecture.quantiles),
        loss=QuantileLoss(list(architecture.quantiles)),
        max_encoder_length=architecture.input_length,
        static_categoricals=[SYMBOL],
        x_categoricals=[SYMBOL],
        embedding_sizes={SYMBOL: (architecture.symbols, min(8, 1 + architecture.symbols // 2))},
        x_reals=list(architecture.encoder_reals),
        time_varying_reals_encoder=list(architecture.encoder_reals),
        time_varying_reals_decoder=list(architecture.decoder_reals),
        logging_metrics=torch.nn.ModuleList([]),
        output_transformer=_prediction,
    )


def start_at_baseline(network: TemporalFusionTransformer, scaled_quantiles: torch.Tensor) -> None:
    """Let the untrained network forecast `scaled_quantiles` (Q,) at every horizon: training begins at a baseline."""
    with torch.no_grad():
        network.output_layer.weight.zero_()
        network.output_layer.bias.copy_(scaled_quantiles)


def pinball_BH(prediction_BHQ: torch.Tensor, target_BH: torch.Tensor, quantiles_Q: torch.Tensor) -> torch.Tensor:
    """Mean pinball loss over quantiles, in scaled units."""
    error = target_BH[:, :, None] - prediction_BHQ
    return torch.maximum(quantiles_Q * error, (quantiles_Q - 1) * error).mean(dim=2)


class QuantileForecaster(pl.LightningModule):
    """Trains the network with Adam on the mean pinball loss.

    Logs `val_loss` (scaled units) and `val_loss_bps`: means over all windows of the validation part, whatever the
    number of workers.
    """

    def __init__(
        self,
        network: TemporalFusionTransformer,
        quantiles: tuple[float, ...],
        learning_rate: float,
        fused_optimiser: bool = True,
    ) -> None:
        super().__init__()
        # Lightning clips no gradients of a fused optimiser in mixed precision.
        self.fused_optimiser = fused_optimiser
        self.network = network
        self.learning_rate = learning_rate
        self.register_buffer("quantiles", torch.tensor(quantiles), persistent=False)
        self._validated = torch.zeros(3, dtype=torch.float64)

    def _losses_BH(self, x: dict[str, torch.Tensor], target: torch.Tensor) -> torch.Tensor:
        return pinball_BH(self.network(x)["prediction"], target, self.quantiles)

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        return self._losses_BH(*batch).mean()

    def on_validation_epoch_start(self) -> None:
        self._validated = torch.zeros(3, dtype=torch.float64, device=self.device)

    def validation_step(self, batch: tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor], _: int) -> None:
        x, target, unit_bps = batch
        losses = self._losses_BH(x, target).double()
        count = torch.tensor(float(losses.numel()), dtype=torch.float64, device=losses.device)
        self._validated += torch.stack([losses.sum(), (losses * unit_bps).sum(), count])

    def on_validation_epoch_end(self) -> None:
        loss, loss_bps, count = self.trainer.strategy.reduce(self._validated, reduce_op="sum")
        self.log("val_loss", loss / count)
        self.log("val_loss_bps", loss_bps / count)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.network.parameters(), lr=self.learning_rate, fused=self.fused_optimiser)
