"""A trained model: forecasts return quantiles, is saved to and loaded from a model folder."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.dataset.scaling import Normalizer
from midas_ray.errors import CorruptFileError, DataError, SchemaError, UsageError
from midas_ray.features.registry import FEATURE_SCHEMA_VERSION
from midas_ray.forecast.batches import InOrder, WindowSet, batch_loader
from midas_ray.forecast.network import Architecture, build_network

MODEL_VERSION = 2
MODEL_FILE = "best_model.pt"
NORMALIZER_FILE = "normalizer.json"
PREDICT_BATCH = 512
_DAMAGED = (RuntimeError, pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, OSError)
"""What torch.load and a file of something else raise."""


@dataclass(frozen=True, slots=True)
class Forecaster:
    """Weights with everything needed to use them: no training data.

    Example:
        forecaster = Forecaster.load(Path("models/latest"))
        forecaster.predict(panel, origins)[:, 0, 1]  # the median of the next bucket's return, bps
    """

    architecture: Architecture
    normalizer: Normalizer
    weights: dict[str, torch.Tensor]
    """On the CPU, float32."""
    bucket_ms: int
    price_source: str
    venue: str
    fit_end_us: int
    """Nothing up to this moment may judge the model: training and validation labels end here."""

    @property
    def columns(self) -> tuple[str, ...]:
        return self.normalizer.column_names

    @property
    def quantiles(self) -> tuple[float, ...]:
        return self.architecture.quantiles

    @property
    def input_length(self) -> int:
        return self.normalizer.input_length

    @property
    def output_length(self) -> int:
        return self.normalizer.output_length

    def check_panel(self, panel: Panel) -> None:
        """Raises DataError where the panel is not of the kind the model was trained on."""
        for name, expected, found in (
            ("time_bucket_ms", self.bucket_ms, panel.bucket_ms),
            ("price_source", self.price_source, panel.price_source),
            ("venue", self.venue, panel.venue),
        ):
            if expected != found:
                raise DataError(f"model and features differ in {name}: expected {expected}, found {found}; train again")
        self.normalizer.symbol_positions(panel)

    def predict(
        self, panel: Panel, origins: IntArray, device: str | torch.device | None = None
    ) -> npt.NDArray[np.float64]:
        """(w, H, Q) quantiles of 1e4 ln(P_{t+h}/P_t), bps, never crossing: sorted along the last axis.

        `origins` are rows of the panel from `window_origins(..., self.columns)`; what comes after them is not read.
        `device`: a GPU where there is one unless given. Raises DataError for another kind of panel or null inputs.
        """
        self.check_panel(panel)
        windows = WindowSet.cut(panel, origins, self.normalizer, with_targets=False)
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        network = build_network(self.architecture)
        network.load_state_dict(self.weights)
        network.to(place).eval()
        batches = []
        with torch.inference_mode():
            for x, _ in batch_loader(windows, InOrder(len(windows), PREDICT_BATCH)):
                out = network({name: tensor.to(place) for name, tensor in x.items()})
                batches.append(out["prediction"].cpu().numpy().astype(np.float64))
        shape = (0, self.output_length, len(self.quantiles))
        scaled = np.concatenate([np.empty(shape), *batches])
        return np.sort(scaled * windows.target_scale_bps[:, :, None], axis=2)

    def save(self, folder: Path) -> None:
        """Write best_model.pt (all that `load` needs) and normalizer.json (for people) into an existing folder."""
        stored = {
            "version": MODEL_VERSION,
            "feature_schema_version": FEATURE_SCHEMA_VERSION,
            "architecture": self.architecture.to_dict(),
            "normalizer": self.normalizer.to_json(),
            "weights": self.weights,
            "bucket_ms": self.bucket_ms,
            "price_source": self.price_source,
            "venue": self.venue,
            "fit_end_us": self.fit_end_us,
        }
        temporary = folder / f".tmp-{os.getpid()}-{MODEL_FILE}"
        torch.save(stored, temporary)
        temporary.replace(folder / MODEL_FILE)
        (folder / NORMALIZER_FILE).write_text(self.normalizer.to_json())

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a model folder, trained on whatever device. Raises UsageError, CorruptFileError or SchemaError."""
        path = folder / MODEL_FILE
        if not path.is_file():
            raise UsageError(f"{folder}: expected a model folder with {MODEL_FILE}, found none; run midas train first")
        try:
            stored: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            version, features = stored["version"], stored["feature_schema_version"]
        except _DAMAGED as error:
            reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise CorruptFileError(f"{path}: not a readable model ({reason}); train again") from None
        for name, expected, found in (
            ("model version", MODEL_VERSION, version),
            ("feature schema version", FEATURE_SCHEMA_VERSION, features),
        ):
            if expected != found:
                raise SchemaError(f"{path}: expected {name} {expected}, found {found}; train again")
        return cls(
            architecture=Architecture.from_dict(stored["architecture"]),
            normalizer=Normalizer.from_json(stored["normalizer"]),
            weights=stored["weights"],
            bucket_ms=stored["bucket_ms"],
            price_source=stored["price_source"],
            venue=stored["venue"],
            fit_end_us=stored["fit_end_us"],
        )
