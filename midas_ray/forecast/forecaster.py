"""A trained model: forecasts return quantiles, is saved to and loaded from a model folder."""

import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.dataset.scaling import Normalizer
from midas_ray.dataset.windows import targets_bps
from midas_ray.errors import CorruptFileError, DataError, SchemaError, UsageError
from midas_ray.features.registry import FEATURE_SCHEMA_VERSION
from midas_ray.forecast.batches import InOrder, WindowSet, batch_loader
from midas_ray.forecast.conformal import Conformal, independent_windows
from midas_ray.forecast.interpretation import Interpretation
from midas_ray.forecast.network import Architecture, build_network

MODEL_VERSION = 2
MODEL_FILE = "best_model.pt"
NORMALIZER_FILE = "normalizer.json"
PREDICT_BATCH = 512
MOST_INTERPRETED = 2048
"""Windows over which importance and attention are averaged."""
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
    """Nothing up to this moment may judge the model: the labels it was fitted and calibrated on end here."""
    calibration: Conformal | None = None
    """What moves the quantiles before they are delivered."""

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
        """(w, H, Q) quantiles of 1e4 ln(P_{t+h}/P_t), bps, calibrated where the model was, never crossing.

        `origins` are rows of the panel from `window_origins(..., self.columns)`; what comes after them is not read.
        `device`: a GPU where there is one unless given. Raises DataError for another kind of panel or null inputs.
        """
        raw = self.predict_raw(panel, origins, device)
        return raw if self.calibration is None else self.calibration.apply(raw)

    def predict_raw(
        self, panel: Panel, origins: IntArray, device: str | torch.device | None = None
    ) -> npt.NDArray[np.float64]:
        """As `predict`, before calibration."""
        return Predictor(self, device).predict_raw(panel, origins)

    def interpret(self, panel: Panel, origins: IntArray, device: str | torch.device | None = None) -> Interpretation:
        """Variable importance and attention over at most MOST_INTERPRETED of these windows, evenly drawn."""
        self.check_panel(panel)
        few = origins[np.unique(np.linspace(0, len(origins) - 1, MOST_INTERPRETED).astype(np.int64))]
        windows = WindowSet.cut(panel, few, self.normalizer, with_targets=False)
        predictor = Predictor(self, device)
        network = predictor.network
        sums: dict[str, npt.NDArray[np.float64]] = {}
        for out in predictor.outputs(windows):
            weights = {
                # (B, T, 1, V) each, but the static ones (B, 1, V).
                **{name: out[name].flatten(1, -2).mean(dim=1) for name in ("encoder_variables", "decoder_variables")},
                "static_variables": out["static_variables"].flatten(1, -2).mean(dim=1),
                # (B, H, heads, L); the library's own summary takes the first horizon alone.
                "attention": out["encoder_attention"].mean(dim=(1, 2)),
            }
            for name, weights_BV in weights.items():
                sums[name] = sums.get(name, 0.0) + weights_BV.sum(dim=0).double().cpu().numpy()

        def shares(key: str, names: Sequence[str]) -> dict[str, float]:
            weights = sums[key] / sums[key].sum()
            order = np.argsort(-weights, kind="stable")
            return {names[index]: float(weights[index]) for index in order}

        return Interpretation(
            windows=len(few),
            encoder=shares("encoder_variables", network.encoder_variables),
            decoder=shares("decoder_variables", network.decoder_variables),
            static=shares("static_variables", network.static_variables),
            attention=tuple(float(weight) for weight in sums["attention"] / sums["attention"].sum()),
        )

    def calibrated(self, panel: Panel, origins: IntArray, device: str | torch.device | None = None) -> Self:
        """This model with conformal offsets fitted on `origins`, which training must not have seen.

        Raises TooFewRowsError where they are too few.
        """
        raw = self.predict_raw(panel, origins, device)
        actual = targets_bps(panel, origins, self.output_length)
        end_us = int(panel.ts_us[origins].max()) + self.output_length * panel.bucket_us
        return replace(
            self,
            calibration=Conformal.fit(
                actual,
                raw,
                self.quantiles,
                independent_windows(panel.ts_us[origins], panel.bucket_us, self.output_length),
            ),
            fit_end_us=max(self.fit_end_us, end_us),
        )

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
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
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
            calibration=None if stored["calibration"] is None else Conformal.from_dict(stored["calibration"]),
        )


class Predictor:
    """A model's network, built once, for many predictions.

    `device`: a GPU where there is one unless given.
    """

    def __init__(self, forecaster: Forecaster, device: str | torch.device | None = None) -> None:
        self.forecaster = forecaster
        self._place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network = build_network(forecaster.architecture)
        self.network.load_state_dict(forecaster.weights)
        self.network.to(self._place).eval()

    def predict(self, panel: Panel, origins: IntArray) -> npt.NDArray[np.float64]:
        """As `Forecaster.predict`."""
        raw = self.predict_raw(panel, origins)
        calibration = self.forecaster.calibration
        return raw if calibration is None else calibration.apply(raw)

    def predict_raw(self, panel: Panel, origins: IntArray) -> npt.NDArray[np.float64]:
        """As `Forecaster.predict_raw`."""
        forecaster = self.forecaster
        forecaster.check_panel(panel)
        windows = WindowSet.cut(panel, origins, forecaster.normalizer, with_targets=False)
        batches = [out["prediction"].cpu().numpy().astype(np.float64) for out in self.outputs(windows)]
        shape = (0, forecaster.output_length, len(forecaster.quantiles))
        scaled = np.concatenate([np.empty(shape), *batches])
        return np.sort(scaled * windows.target_scale_bps[:, :, None], axis=2)

    def outputs(self, windows: WindowSet) -> Iterator[Any]:
        """What the network gives for each batch of windows, in order."""
        with torch.inference_mode():
            for x, _ in batch_loader(windows, InOrder(len(windows), PREDICT_BATCH)):
                yield self.network({name: tensor.to(self._place) for name, tensor in x.items()})
