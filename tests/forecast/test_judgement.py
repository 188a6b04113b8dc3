import numpy as np
import pytest

from midas_ray.forecast.judgement import Judgement
from tests.dataset.synthetic import START_US, synthetic_panel

QUANTILES = (0.1, 0.5, 0.9)


def judgement() -> Judgement:
    """Two windows, two horizons, all numbers by hand; the second window has no baseline."""
    model = np.array([[[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0]], [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0]]])
    baseline = np.stack([model[0] * 2, np.full((2, 3), np.nan)])
    return Judgement(np.array([3, 4]), np.array([[0.5, -3.0], [0.0, 9.0]]), model, model.copy(), baseline, QUANTILES)


def test_metrics_by_hand() -> None:
    found = judgement().metrics(synthetic_panel(10))
    assert found["first_origin"] == "2026-01-05T00:04:00.000000Z"
    assert (found["windows"], found["windows_scored"]) == (2, 1)
    assert found["coverage"] == 0.5
    model, baseline = found["pinball_bps"]["model"], found["pinball_bps"]["baseline"]
    np.testing.assert_allclose(model, [[0.15, 0.25, 0.05], [0.9, 1.5, 0.5]])
    np.testing.assert_allclose(baseline, [[0.25, 0.25, 0.15], [0.1, 1.5, 0.7]])
    assert found["skill"] == pytest.approx(1 - 3.35 / 2.95)


def test_without_any_baseline_nothing_is_compared() -> None:
    alone = judgement()
    alone.baseline_wHQ[:] = np.nan
    assert "pinball_bps" not in alone.metrics(synthetic_panel(10))


def test_a_market_that_stands_still_has_no_skill_to_speak_of() -> None:
    still = judgement()
    still.actual_wH[:], still.baseline_wHQ[:], still.model_wHQ[:] = 0.0, 0.0, 0.0
    assert still.metrics(synthetic_panel(10))["skill"] is None


def test_predictions_are_one_row_a_window_horizon_and_quantile() -> None:
    panel = synthetic_panel(10)
    table = judgement().predictions(panel)
    assert table.column_names == ["ts", "symbol", "horizon", "quantile", "value_bps", "raw_bps", "price", "actual_bps"]
    assert table.num_rows == 12
    row = {name: table.column(name)[5] for name in table.column_names}
    assert row["ts"].value == START_US + 4 * 60_000_000
    assert (row["symbol"].as_py(), row["horizon"].as_py(), row["quantile"].as_py()) == ("btcusdt", 2, 0.9)
    assert (row["value_bps"].as_py(), row["actual_bps"].as_py()) == (2.0, -3.0)
    assert row["price"].as_py() == pytest.approx(panel.price[3] * np.exp(2e-4))
