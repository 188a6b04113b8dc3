"""The chain is sound on real and made-up data, and a leak planted in any stage is found and named."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from midas_ray.audit import fitted, forecasts
from midas_ray.audit.features import ComputedFeatures
from midas_ray.audit.finding import Finding
from midas_ray.audit.run import audit, features
from midas_ray.audit.subject import Subject
from midas_ray.cli import main
from midas_ray.dataset import columns as columns_module
from midas_ray.dataset import volatility as volatility_module
from midas_ray.dataset.panel import Panel, load_panel
from midas_ray.dataset.scaling import Normalizer, ScaledRows
from midas_ray.errors import DataError
from midas_ray.evaluate import folds
from midas_ray.features import table
from midas_ray.features.buckets import Buckets
from midas_ray.features.column import Column
from midas_ray.forecast.conformal import adapt
from midas_ray.settings import Audit
from midas_ray.storage import Storage
from tests.dataset.synthetic import synthetic_panel, write_features
from tests.features.clean_data import HOUR_US, START_US, make_bars, make_market, write_bars, write_clean
from tests.features.serial import run_features

FLAGS: dict[str, Any] = {"input_length": 6, "output_length": 2, "cuts": 3, "quantiles": (0.1, 0.5, 0.9)}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def book_data(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Clean data of seven hours around midnight, and their features."""
    storage = Storage(str(tmp_path_factory.mktemp("book")))
    market = make_market(7, start_us=START_US - 3 * HOUR_US, grid_ms=1000, trades_an_hour=1200)
    write_clean(storage, market)
    run_features(storage)
    return storage


@pytest.fixture
def subject() -> Subject:
    return Subject.of(synthetic_panel(700), Audit(**FLAGS))


def features_at(storage: Storage, seed: int = 0, count: int = 4) -> Finding:
    return features(storage, load_panel(storage, "binance-futures"), count, np.random.default_rng(seed))


def test_the_whole_chain_is_sound_on_clean_data(book_data: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit(Audit(data_dir=book_data.data_dir, as_json=True, **FLAGS)) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["stage"] for each in found] == [
        "features", "columns", "scalers", "volatility", "windows", "baselines", "training", "predictions",
        "predictions", "calibration",
    ]  # fmt: skip
    assert {each["result"] for each in found} == {"ok"}


def test_features_of_bars_alone_are_sound(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    write_bars(storage, make_bars(300, taker=True))
    run_features(storage)
    assert features_at(storage) == Finding(
        "features", "72 features of testusdt up to 4 cuts, bit for bit, from clean data"
    )


def ahead(column: Column) -> Column:
    """Each value one bucket early."""
    return Column(np.append(column.values[1:], column.values[-1]), np.append(column.kinds[1:], column.kinds[-1]))


@pytest.mark.parametrize("name", ["ofi", "returns", "spread"])
def test_a_feature_that_peeks_one_bucket_ahead_is_found(
    name: str, book_data: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = table.FUNCTIONS[name]

    def peeking(b: Buckets) -> Column:
        return ahead(honest(b))

    monkeypatch.setitem(table.FUNCTIONS, name, peeking)
    storage = Storage(str(tmp_path))
    market = make_market(3, start_us=START_US, grid_ms=1000, trades_an_hour=1200)
    write_clean(storage, market)
    run_features(storage)
    found = features_at(storage)
    assert found.result == "LEAK"
    assert found.difference is not None
    assert found.difference.startswith(f"{name} at 2026-01-05 0")


def test_a_leak_is_one_line_and_exit_code_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = Normalizer.transform
    monkeypatch.setattr(Normalizer, "transform", lambda self, panel: with_targets(honest(self, panel)))
    write_features(Storage(str(tmp_path)), synthetic_panel(700))
    flags = ["--input-length", "6", "--output-length", "2", "--cuts", "2", "--quantiles", "0.1,0.5,0.9"]
    assert main(["audit", "--data-dir", str(tmp_path), *flags]) == 1
    captured = capsys.readouterr()
    assert re.search(r"^features +not tested +no clean data of btcusdt", captured.out, re.MULTILINE)
    last = captured.err.strip().splitlines()[-1]
    assert last.startswith("leak in windows: encoder_cont of btcusdt at 2026-01-05")
    assert "Traceback" not in captured.err


def test_features_that_are_not_up_to_date_are_refused(book_data: Storage, tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    write_clean(storage, make_market(3, grid_ms=1000))
    run_features(storage)
    write_clean(storage, make_market(3, grid_ms=1000, seed=2))
    with pytest.raises(DataError, match="expected them up to date with clean/ and this version"):
        features_at(storage)


def test_nothing_of_the_users_is_written(book_data: Storage, tmp_path: Path) -> None:
    before = {file.path: file.stamp for file in book_data.listing("")}
    panel = load_panel(book_data, "binance-futures")
    computed = ComputedFeatures(book_data, "binance-futures", "testusdt")
    assert computed.difference(int(panel.ts_us[200]), str(tmp_path)) is None
    assert {file.path: file.stamp for file in book_data.listing("")} == before


def with_targets(rows: ScaledRows) -> ScaledRows:
    """The next bucket's return among the inputs."""
    inputs = rows.inputs.copy()
    inputs[:-1, 0] = np.diff(rows.log_reference)
    return dataclasses.replace(rows, inputs=inputs)


def test_targets_among_the_inputs_are_found(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = forecasts.cuts_of(subject, 3, np.random.default_rng(0))
    assert forecasts.windows(subject, cuts).result == "ok"
    honest = Normalizer.transform
    monkeypatch.setattr(Normalizer, "transform", lambda self, panel: with_targets(honest(self, panel)))
    found = forecasts.windows(subject, cuts)
    assert found.difference is not None
    assert found.difference.startswith("encoder_cont of btcusdt")


def test_a_scaler_fitted_on_everything_is_found(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitted.scalers(subject).result == "ok"
    honest = Normalizer.fit.__func__  # type: ignore[attr-defined]

    def on_all(cls: type[Normalizer], panel: Panel, origins: np.ndarray, *rest: Any) -> Normalizer:
        whole: Normalizer = honest(cls, panel, np.arange(50, len(panel) - 50), *rest)
        return whole

    monkeypatch.setattr(Normalizer, "fit", classmethod(on_all))
    assert fitted.scalers(subject).result == "LEAK"


def test_a_scaler_of_one_column_that_reads_one_row_too_many_is_named(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Normalizer.fit.__func__  # type: ignore[attr-defined]

    def peeking(cls: type[Normalizer], panel: Panel, origins: np.ndarray, *rest: Any) -> Normalizer:
        fit: Normalizer = honest(cls, panel, origins, *rest)
        later = panel.column("volume")[origins.max() + 4]
        changed = [
            dataclasses.replace(column, center=(later,)) if column.name == "volume" else column
            for column in fit.columns
        ]
        return dataclasses.replace(fit, columns=tuple(changed))

    monkeypatch.setattr(Normalizer, "fit", classmethod(peeking))
    found = fitted.scalers(subject)
    assert found.difference is not None
    assert found.difference.startswith("that of volume changes with what comes after 2026-01-05")


def test_columns_chosen_on_everything_are_found(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fitted.columns(subject).result == "ok"
    honest = columns_module.choose_columns

    def on_all(panel: Panel, rows: np.ndarray, input_length: int, output_length: int) -> columns_module.ColumnChoice:
        chosen = honest(panel, rows, input_length, output_length)
        last = panel.column("ofi")[-1]
        return dataclasses.replace(chosen, columns=chosen.columns[: 40 + int(last > 0)])

    monkeypatch.setattr(folds, "choose_columns", on_all)
    assert fitted.columns(subject).result == "LEAK"


def test_a_volatility_that_counts_the_next_return_is_found(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = forecasts.cuts_of(subject, 3, np.random.default_rng(0))
    _, baselines = fitted.baselines(subject)
    honest = volatility_module.SymbolPrices.realised_before
    monkeypatch.setattr(
        volatility_module.SymbolPrices,
        "realised_before",
        lambda self, grid: np.minimum(honest(self, grid) + 1, len(grid)),
    )
    assert forecasts.windows(subject, cuts).result == "LEAK"
    found = forecasts.predictions(subject, cuts, baselines, {})
    assert found[0].difference is not None
    assert found[0].difference.startswith("the forecast of trailing of btcusdt")


def test_calibration_that_uses_outcomes_before_they_are_known_is_found(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert forecasts.judged_fold(subject, np.random.default_rng(0)).result == "ok"

    def at_once(conformal: Any, ts_us: Any, bucket_us: int, *rest: Any) -> Any:
        return adapt(conformal, ts_us, 1, *rest)

    monkeypatch.setattr(folds, "adapt", at_once)
    found = forecasts.judged_fold(subject, np.random.default_rng(0))
    assert found.difference is not None
    assert found.difference.startswith("the adaptive forecast of har")


def test_training_that_reads_later_rows_is_found(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = fitted._trained

    def peeking(subject: Subject, panel: Panel, network: Any, train: np.ndarray, validation: np.ndarray) -> Any:
        return honest(subject, panel, network, np.append(train, len(panel) - 50), validation)

    found, _ = fitted.training(subject)
    assert found.result == "ok"
    monkeypatch.setattr(fitted, "_trained", peeking)
    assert fitted.training(subject)[0].result == "LEAK"
