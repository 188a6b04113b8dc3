"""What a model folder says of its model."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from midas_ray.errors import CorruptFileError, UsageError
from midas_ray.forecast.model_folder import LATEST, PROMOTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model. Losses are mean pinball losses of its own test part, bps."""

    run: str
    marks: tuple[str, ...]
    """`promoted`, `latest`."""
    venue: str
    symbols: tuple[str, ...]
    bucket_ms: int
    fit_end: str
    """Nothing up to this moment may judge it."""
    test_loss_bps: float | None
    test_skill: float | None
    """Over trailing quantiles."""
    test_coverage: float
    """From P10 to P90, as delivered."""
    code_version: str | None
    data_digest: str | None
    study: str | None
    """The tuning study whose configuration it was trained with."""
    trials: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_entry(model_dir: Path, run: str) -> Entry:
    """Raises UsageError where there is no such run, CorruptFileError where its documents cannot be read."""
    folder = model_dir / run
    if not (folder / "best_model.pt").is_file():
        found = ", ".join(runs(model_dir)) or "none"
        raise UsageError(f"{run}: expected a run under --model-dir {model_dir}, found {found}")
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
        features = json.loads((folder / "features.json").read_text())
        config = yaml.safe_load((folder / "config.yaml").read_text())
        test = metrics["test"]
        loss = test.get("mean_pinball_bps")
        lineage = config.get("lineage") or {}
        return Entry(
            run=folder.resolve().name,
            marks=_marks(model_dir, folder.resolve().name),
            venue=config["venue"],
            symbols=tuple(config["symbols"]),
            bucket_ms=features["time_bucket_ms"],
            fit_end=metrics["fit_end"],
            test_loss_bps=None if loss is None else loss["model"],
            test_skill=test.get("skill"),
            test_coverage=test["coverage"],
            code_version=lineage.get("code_version"),
            data_digest=lineage.get("data_digest"),
            study=lineage.get("study"),
            trials=int(lineage.get("trials", 1)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise CorruptFileError(
            f"{folder}: expected a whole model folder, found it damaged ({type(error).__name__}: {error}); "
            "train again, or move it away"
        ) from None


def _marks(model_dir: Path, run: str) -> tuple[str, ...]:
    return tuple(
        name for name in (PROMOTED, LATEST) if (model_dir / name).exists() and (model_dir / name).resolve().name == run
    )


def runs(model_dir: Path) -> list[str]:
    """Names of all runs, oldest first."""
    if not model_dir.is_dir():
        return []
    folders = [path.parent for path in model_dir.glob("*/best_model.pt")]
    return sorted(folder.name for folder in folders if not folder.is_symlink() and not folder.name.startswith("."))
