"""A finished model is judged on what came after its training end, and on nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midas_ray import cli
from midas_ray.dataset.columns import choose_columns
from midas_ray.dataset.splits import time_split
from midas_ray.dataset.windows import window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.evaluate.loaded import judge_model
from midas_ray.forecast.fitting import fit
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.settings import NetworkSettings
from midas_ray.storage import Storage
from tests.dataset.synthetic import take, write_features
from tests.evaluate.markets import signal_panel

PANEL = signal_panel(900, strength_bps=4.0)
NETWORK = NetworkSettings(input_length=10, output_length=5, hidden_dim=4, n_heads=1, epochs=1, max_steps=4)


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    """A Temporal Fusion Transformer after four steps on the first 700 of 900 minutes."""
    columns = choose_columns(PANEL, np.arange(600), 10, 5).columns
    origins = window_origins(PANEL, 10, 5, columns)
    split = time_split(PANEL, origins, 0.1, 0.2, purge=5)
    work_dir = tmp_path_factory.mktemp("fit")
    return fit(PANEL, split.train, split.validation, NETWORK, work_dir, columns=columns, accelerator="cpu")


def test_only_windows_after_the_training_end_are_judged(forecaster: Forecaster) -> None:
    result = judge_model(PANEL, forecaster, "models/x", "cpu")
    judged = result.fold.forecasts
    assert judged.ts_us.min() > forecaster.fit_end_us
    assert len(judged.origins) + result.refused == len(window_origins(PANEL, 10, 5, forecaster.columns))
    assert result.refused > 600
    assert result.fold.record.train is None
    assert result.fold.record.n_parameters == sum(weight.numel() for weight in forecaster.weights.values())


def test_the_rows_it_was_trained_on_change_no_forecast_after_them(forecaster: Forecaster) -> None:
    whole = judge_model(PANEL, forecaster, "models/x", "cpu").fold.forecasts
    values = PANEL.values.copy()
    values[:600] *= 3.0  # but not P: the volatility of the last 1440 returns is the unit of the forecasts
    other = judge_model(replace(PANEL, values=values), forecaster, "models/x", "cpu").fold.forecasts
    np.testing.assert_array_equal(whole.ts_us, other.ts_us)
    np.testing.assert_allclose(whole.forecast_nHQ["model"], other.forecast_nHQ["model"], rtol=1e-5)


def test_all_windows_before_the_training_end_are_refused(forecaster: Forecaster) -> None:
    early = take(PANEL, PANEL.ts_us <= forecaster.fit_end_us)
    with pytest.raises(TooFewRowsError, match=r"^models/x: expected windows after .* found \d+ windows, all before it"):
        judge_model(early, forecaster, "models/x", "cpu")


def test_without_the_training_rows_the_baselines_cannot_be_fitted(forecaster: Forecaster) -> None:
    late = take(PANEL, PANEL.ts_us > forecaster.fit_end_us)
    with pytest.raises(TooFewRowsError, match="expected 100 windows before the model's training end"):
        judge_model(late, forecaster, "models/x", "cpu")


def test_the_command_with_a_model(forecaster: Forecaster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data_dir = tmp_path / "model", tmp_path / "data"
    model.mkdir()
    forecaster.save(model)
    write_features(Storage(str(data_dir)), PANEL)
    assert cli.main(["backtest", "--data-dir", str(data_dir), "--model", str(model)]) == 0
    shown = capsys.readouterr()
    assert "windows up to the model's training end refused" in shown.err
    reports = data_dir / "reports"
    found = json.loads((reports / "backtest_results.json").read_text())
    assert found["conditions"]["model"] == str(model)
    assert found["conditions"]["training_end_us"] == forecaster.fit_end_us
    page = (reports / "backtest_results.html").read_text()
    assert "earlier windows were refused" in page
    assert page.count('class="chart"') == 6  # no timeline of folds
