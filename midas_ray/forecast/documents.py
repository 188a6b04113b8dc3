"""The files of a model folder beside the weights.

features.json, config.yaml, metrics.json, interpretation.json, predictions.parquet.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from midas_ray import __version__
from midas_ray.code_version import code_version
from midas_ray.features.registry import FEATURE_SCHEMA_VERSION
from midas_ray.forecast.batches import decoder_reals, encoder_reals
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.forecast.judgement import Judgement, iso
from midas_ray.forecast.parts import Parts
from midas_ray.forecast.training_progress import TrainingProgress
from midas_ray.settings import Train
from midas_ray.storage import Storage

CODE = ("features", "dataset", "forecast", "forecast/baselines")
"""Packages whose sources a model depends on."""


def write_documents(
    folder: Path,
    run_id: str,
    values: Train,
    parts: Parts,
    forecaster: Forecaster,
    training_windows: int,
    epochs: list[TrainingProgress],
) -> dict[str, Any]:
    """Write all into `folder`; gives the contents of metrics.json."""
    test = Judgement.of(forecaster, parts.panel, parts.split.test)
    validation = Judgement.of(forecaster, parts.panel, parts.split.validation)
    metrics = {
        "run": run_id,
        "quantiles": list(forecaster.quantiles),
        "horizons": forecaster.output_length,
        "unit": "bps: 1e4 times the log return from the price at the origin; pinball_bps is [horizon][quantile]",
        "fit_end": iso(forecaster.fit_end_us),
        "training": _training(parts, training_windows, epochs),
        "validation": validation.metrics(parts.panel),
        "test": test.metrics(parts.panel),
    }
    _write_json(folder / "metrics.json", metrics)
    _write_json(folder / "features.json", _features(parts, forecaster))
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(run_id, values, parts), sort_keys=False))
    forecaster.interpret(parts.panel, parts.split.test).save(folder)
    pq.write_table(test.predictions(parts.panel), folder / "predictions.parquet", compression="zstd")
    return metrics


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def _training(parts: Parts, windows: int, epochs: list[TrainingProgress]) -> dict[str, Any]:
    best = min(epochs, key=lambda epoch: epoch.validation_loss or 0.0)
    return {
        "windows": windows,
        "rows": asdict(parts.costs),
        "best_epoch": best.epoch,
        "seconds": epochs[-1].seconds,
        "loss_by_epoch": [
            {"epoch": epoch.epoch, "steps": epoch.step, "train": epoch.train_loss, "validation": epoch.validation_loss}
            for epoch in epochs
        ],
    }


def _features(parts: Parts, forecaster: Forecaster) -> dict[str, Any]:
    return {
        "schema_version": FEATURE_SCHEMA_VERSION,
        "columns": list(forecaster.columns),
        "left_out": parts.choice.left_out
        | {name: "--without-families" for name in parts.choice.columns if name not in forecaster.columns},
        "undefined_indicators": {family: list(names) for family, names in forecaster.normalizer.indicators.items()},
        "encoder_inputs": list(encoder_reals(forecaster.normalizer)),
        "decoder_inputs": list(decoder_reals(forecaster.normalizer)),
        "time_bucket_ms": forecaster.bucket_ms,
        "price_source": forecaster.price_source,
    }


def _config(run_id: str, values: Train, parts: Parts) -> dict[str, Any]:
    return {
        "run": run_id,
        "midas_ray": __version__,
        **values.model_dump(mode="json"),
        "data_dir": Storage.of(values).shown_path(),  # whole, so that retention finds it, and without credentials
        "symbols": list(parts.panel.symbols),
        "symbols_left_out": list(parts.symbols_left_out),
        "lineage": {
            "code_version": code_version(*CODE),
            "data_digest": parts.panel.digest(),
            "study": values.study,
            "trials": values.trials,
        },
    }
