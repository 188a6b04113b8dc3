"""A finished model is judged on what came after its training end, and on nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from midas_ray.dataset.columns import choose_columns
from midas_ray.dataset.final_period import FinalPeriod
from midas_ray.dataset.panel import Panel
from midas_ray.dataset.splits import time_split
from midas_ray.dataset.windows import window_origins
from midas_ray.errors import TooFewRowsError
from midas_ray.evaluate.folds import assemble
from midas_ray.evaluate.judge import Forecasts
from midas_ray.evaluate.loaded import forecast_with, plan_model
from midas_ray.evaluate.run import backtest
from midas_ray.forecast.fitting import fit
from midas_ray.forecast.forecaster import Forecaster
from midas_ray.settings import Backtest, NetworkSettings
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
    trained = fit(PANEL, split.train, split.validation, NETWORK, work_dir, columns=columns, accelerator="cpu")
    return trained.calibrated(PANEL, split.calibration, "cpu")


def forecasts_of(panel: Panel, forecaster: Forecaster) -> Forecasts:
    plan = plan_model(panel, forecaster, "models/x", None, False).plan
    own = forecast_with(panel, forecaster, plan, "cpu")
    return assemble(panel, plan, [own], forecaster.quantiles).forecasts


def test_only_windows_after_the_training_end_are_judged(forecaster: Forecaster) -> None:
    loaded = plan_model(PANEL, forecaster, "models/x", None, False)
    split = loaded.plan.split
    assert PANEL.ts_us[split.test].min() > forecaster.fit_end_us
    assert len(split.test) + loaded.refused == len(window_origins(PANEL, 10, 5, forecaster.columns))
    assert loaded.refused > 500
    fitted_on = np.concatenate([split.train, split.validation, split.calibration])
    assert PANEL.ts_us[fitted_on].max() + 5 * PANEL.bucket_us <= forecaster.fit_end_us
    own = forecast_with(PANEL, forecaster, loaded.plan, "cpu")
    assert own.n_parameters == sum(weight.numel() for weight in forecaster.weights.values())
    assert own.conformal is forecaster.calibration
    np.testing.assert_allclose(own.test_nHQ, forecaster.predict_raw(PANEL, split.test, "cpu"), rtol=1e-5, atol=1e-5)


def test_the_final_period_is_judged_only_when_opened(forecaster: Forecaster) -> None:
    final = FinalPeriod(int(PANEL.ts_us[850]), int(PANEL.ts_us[-1]))
    closed = plan_model(PANEL, forecaster, "models/x", final, False).plan.split.test
    opened = plan_model(PANEL, forecaster, "models/x", final, True).plan.split.test
    assert PANEL.ts_us[closed].max() + 5 * PANEL.bucket_us <= final.first_us <= PANEL.ts_us[opened].min()
    all_of_it = FinalPeriod(forecaster.fit_end_us, int(PANEL.ts_us[-1]))
    with pytest.raises(TooFewRowsError, match="give --final-share 0, or --open-final to judge on it once"):
        plan_model(PANEL, forecaster, "models/x", all_of_it, False)


def test_the_rows_it_was_trained_on_change_no_forecast_after_them(forecaster: Forecaster) -> None:
    whole = forecasts_of(PANEL, forecaster)
    values = PANEL.values.copy()
    values[:500] *= 3.0  # but not P: the volatility of the last 1440 returns is the unit of the forecasts
    other = forecasts_of(replace(PANEL, values=values), forecaster)
    np.testing.assert_array_equal(whole.ts_us, other.ts_us)
    np.testing.assert_allclose(whole.delivered("tft"), other.delivered("tft"), rtol=1e-5)


def test_all_windows_before_the_training_end_are_refused(forecaster: Forecaster) -> None:
    early = take(PANEL, PANEL.ts_us <= forecaster.fit_end_us)
    with pytest.raises(TooFewRowsError, match=r"^models/x: expected windows after .* found \d+ windows, all before it"):
        plan_model(early, forecaster, "models/x", None, False)


def test_without_the_training_rows_the_baselines_cannot_be_fitted(forecaster: Forecaster) -> None:
    late = take(PANEL, PANEL.ts_us > forecaster.fit_end_us)
    with pytest.raises(TooFewRowsError, match="expected 100 windows before the model's training end"):
        plan_model(late, forecaster, "models/x", None, False)


@pytest.mark.usefixtures("ray_local")
def test_the_command_with_a_model(forecaster: Forecaster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data_dir = tmp_path / "model", tmp_path / "data"
    model.mkdir()
    forecaster.save(model)
    storage = Storage(str(data_dir))
    write_features(storage, PANEL)
    values = Backtest(data_dir=str(data_dir), model=str(model), forecasters="tft,trailing,har", final_share=0.0, gpus=0)
    assert backtest(values) == 0
    assert "windows up to the model's training end refused" in capsys.readouterr().err
    found = json.loads((data_dir / "reports" / "backtest_results.json").read_text())
    assert found["conditions"]["model"] == str(model)
    assert found["conditions"]["training_end_us"] == forecaster.fit_end_us
    assert set(found["scores"]["skill"]) == {"trailing", "har"}
