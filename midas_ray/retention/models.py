"""Which days of features the trained models were made from.

In use is every model that lies in MODEL_DIR, not the latest alone: each can be judged again, compared or trained anew
as long as its features are there, and features are the smallest of all tables (under 1 MB a symbol-day). Removing a
model's folder releases its days.
"""

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import yaml

from midas_ray.errors import DataError
from midas_ray.object_store import shown_uri
from midas_ray.retention.units import Key, Need, Unit
from midas_ray.storage import Storage


@dataclass(frozen=True, slots=True)
class ModelData:
    """What a model was trained and tested on: the days up to `last_day` of its symbols."""

    run: str
    venue: str
    symbols: tuple[str, ...]
    data_dir: str
    last_day: date


def model_folders(model_dir: Path, storage: Storage) -> list[Path]:
    """Model folders under MODEL_DIR and, as a job may run from anywhere, under `models` in and beside DATA_DIR."""
    roots = [model_dir.expanduser().resolve()]
    if storage.is_local:
        roots += [Path(storage.root) / "models", Path(storage.root).parent / "models"]
    found = {path.parent.resolve() for root in roots if root.is_dir() for path in root.glob("*/best_model.pt")}
    return sorted(folder for folder in found if not folder.name.startswith("."))


def read_model(folder: Path) -> ModelData:
    """What a finished model says of its data. Raises DataError with one line where it cannot be told."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        metrics = json.loads((folder / "metrics.json").read_text())
        bucket_ms = json.loads((folder / "features.json").read_text())["time_bucket_ms"]
        last = datetime.fromisoformat(metrics["test"]["last_origin"])
        # A row belongs to the day in which its interval begins.
        last += timedelta(milliseconds=bucket_ms * (metrics["horizons"] - 1))
        return ModelData(folder.name, config["venue"], tuple(config["symbols"]), str(config["data_dir"]), last.date())
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise DataError(
            f"{folder}: cannot tell which data this model was trained on ({type(error).__name__}: {error}); "
            "move the folder out of the model folder, or add --delete-model-data"
        ) from None


def is_about(model: ModelData, folder: Path, storage: Storage) -> bool:
    """Whether the model was trained on this DATA_DIR. A relative one, as older models have it, is taken as seen from
    here, from MODEL_DIR or from the folder around it."""
    if "://" in model.data_dir or not storage.is_local:
        return shown_uri(model.data_dir).rstrip("/") == storage.shown_path()
    path = Path(model.data_dir).expanduser()
    bases = [Path.cwd(), folder.parent, folder.parent.parent]
    return storage.root in {str((base / path).resolve()) for base in bases}


def model_needs(units: dict[Key, Unit], storage: Storage, venue: str, model_dir: Path) -> dict[Key, Need]:
    """Days of features that models were trained or tested on. Raises DataError."""
    found: dict[Key, Need] = {}
    for folder in model_folders(model_dir, storage):
        model = read_model(folder)
        if model.venue != venue or not is_about(model, folder, storage):
            continue
        need = Need("model", f"model {model.run} was trained on it")
        for key in units:
            if key.table == "features" and key.symbol in model.symbols and key.day <= model.last_day:
                found.setdefault(key, need)
    return found
