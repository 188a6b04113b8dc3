import numpy as np

from midas_ray.evaluate.folds import judge_fold, plan_folds
from midas_ray.evaluate.judge import MODEL, Forecasts
from midas_ray.evaluate.stretch import MOST_FANS, representative
from midas_ray.settings import NetworkSettings
from tests.dataset.synthetic import BUCKET_US
from tests.evaluate.markets import fit_linear, signal_panel


def _forecasts(rows: int) -> tuple[object, Forecasts]:
    panel = signal_panel(rows, strength_bps=4.0)
    network = NetworkSettings(input_length=10, output_length=10)
    results = [judge_fold(panel, plan, network, fit_linear, "cpu") for plan in plan_folds(panel, 10, 10, 3)]
    return panel, Forecasts.join([result.forecasts for result in results])


def test_forecasts_follow_each_other_and_their_prices_are_those_of_the_returns() -> None:
    panel, forecasts = _forecasts(900)
    stretch = representative(panel, forecasts)
    assert len(stretch.origin_us) == MOST_FANS
    assert (np.diff(stretch.origin_us) == 10 * BUCKET_US).all()
    assert (np.diff(stretch.ts_us) == BUCKET_US).all()
    at = int(np.flatnonzero(forecasts.ts_us == stretch.origin_us[3])[0])
    price = panel.price[forecasts.origins[at]]
    expected = price * np.exp(forecasts.forecast_nHQ[MODEL][at] / 1e4)
    np.testing.assert_allclose(stretch.price_oHQ[3, 1:], expected)
    np.testing.assert_allclose(stretch.price_oHQ[3, 0], price)
    assert stretch.price[30] == price


def test_fewer_forecasts_where_no_long_stretch_exists() -> None:
    panel, forecasts = _forecasts(900)
    scattered = forecasts.select(np.isin(forecasts.origins, forecasts.origins[::10][:3]))
    assert len(representative(panel, scattered).origin_us) == 3
    single = forecasts.select(np.arange(len(forecasts.origins)) == 5)
    assert len(representative(panel, single).origin_us) == 1
