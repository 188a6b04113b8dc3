"""Features that a trained model was made from stay as long as its folder does."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from midas_ray.errors import DataError
from midas_ray.retention.models import model_needs
from midas_ray.retention.units import Key, Unit
from midas_ray.storage import Storage

VENUE = "binance-futures"


def write_model(root: Path, run: str, data_dir: str, **changes: Any) -> Path:
    """The documents of a model whose last test window ends on 3 January 2026 at 00:00, ten minutes after its origin."""
    folder = root / run
    folder.mkdir(parents=True)
    config = {"run": run, "venue": VENUE, "symbols": ["btcusdt"], "data_dir": data_dir} | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    metrics = {"horizons": 10, "test": {"last_origin": changes.get("last_origin", "2026-01-02T23:50:00Z")}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "features.json").write_text(json.dumps({"time_bucket_ms": 60_000}))
    (folder / "best_model.pt").write_bytes(b"weights")
    return folder


def units() -> dict[Key, Unit]:
    keys = [
        Key(table, symbol, date(2026, 1, number))
        for table in ("raw", "features")
        for symbol in ("btcusdt", "ethusdt")
        for number in range(1, 6)
    ]
    return {key: Unit(key, 1) for key in keys}


def needed(data: Path, models: Path) -> list[tuple[str, str, int]]:
    found = model_needs(units(), Storage(str(data)), VENUE, models)
    return sorted((key.table, key.symbol, key.day.day) for key in found)


def test_features_of_its_symbols_up_to_the_last_outcome_are_needed(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "tft-1", str(tmp_path / "data"))
    assert needed(tmp_path / "data", tmp_path / "models") == [("features", "btcusdt", 1), ("features", "btcusdt", 2)]


def test_a_later_outcome_is_of_the_next_day(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "tft-1", str(tmp_path / "data"), last_origin="2026-01-02T23:51:00Z")
    assert [day for _, _, day in needed(tmp_path / "data", tmp_path / "models")] == [1, 2, 3]


def test_every_model_counts_and_the_link_to_the_latest_adds_none(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "tft-1", str(tmp_path / "data"), last_origin="2026-01-01T12:00:00Z")
    write_model(tmp_path / "models", "tft-2", str(tmp_path / "data"), symbols=["ethusdt"])
    (tmp_path / "models" / "latest").symlink_to("tft-2")
    assert needed(tmp_path / "data", tmp_path / "models") == [
        ("features", "btcusdt", 1),
        ("features", "ethusdt", 1),
        ("features", "ethusdt", 2),
    ]


def test_models_of_other_data_need_nothing_here(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "tft-1", str(tmp_path / "elsewhere"))
    write_model(tmp_path / "models", "tft-2", str(tmp_path / "data"), venue="binance-spot")
    write_model(tmp_path / "models", ".tmp-tft-3", str(tmp_path / "data"))
    assert needed(tmp_path / "data", tmp_path / "models") == []


def test_a_job_that_runs_elsewhere_finds_the_models_beside_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cron starts in another folder: neither `models` nor a relative DATA_DIR of the training mean anything there."""
    write_model(tmp_path / "models", "tft-1", "data")
    (tmp_path / "cron").mkdir()
    monkeypatch.chdir(tmp_path / "cron")
    assert len(needed(tmp_path / "data", Path("models"))) == 2


def test_a_model_on_an_object_store_is_known_without_credentials(tmp_path: Path) -> None:
    write_model(tmp_path / "models", "tft-1", "s3://bucket/data")
    for uri, count in (("s3://KEY:SECRET@bucket/data/?region=x", 2), ("s3://bucket/data", 2), ("s3://bucket/other", 0)):
        assert len(model_needs(units(), Storage(uri), VENUE, tmp_path / "models")) == count


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json", "features.json"])
def test_a_model_that_does_not_say_what_it_was_trained_on_stops_all(tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path / "models", "tft-1", str(tmp_path / "data"))
    (folder / name).write_text("{}")
    with pytest.raises(DataError, match="cannot tell which data this model was trained on"):
        needed(tmp_path / "data", tmp_path / "models")
