import numpy as np
import pytest

from midas_ray.evaluate.stretch import MOST_FANS, MOST_SPANS, overview, representative
from tests.dataset.synthetic import BUCKET_US
from tests.evaluate.markets import QUANTILES_Q, forecasts_of, price_panel, random_walk

TRUTH_HQ = 5 * np.sqrt(np.arange(1, 11))[:, None] * np.array([-1.2816, 0.0, 1.2816])


def test_forecasts_follow_each_other_and_their_prices_are_those_of_the_returns() -> None:
    panel = price_panel(random_walk(900, 0))
    forecasts = forecasts_of(panel, {"tft": TRUTH_HQ, "har": TRUTH_HQ})
    stretch = representative(panel, forecasts)
    assert len(stretch.origin_us) == MOST_FANS
    assert (np.diff(stretch.origin_us) == 10 * BUCKET_US).all()
    assert (np.diff(stretch.ts_us) == BUCKET_US).all()
    at = int(np.flatnonzero(forecasts.ts_us == stretch.origin_us[3])[0])
    price = panel.price[forecasts.origins[at]]
    np.testing.assert_allclose(stretch.price_oHQ[3, 1:], price * np.exp(TRUTH_HQ / 1e4), rtol=1e-7)
    np.testing.assert_allclose(stretch.price_oHQ[3, 0], price)
    assert stretch.price[30] == price


def test_fewer_forecasts_where_no_long_stretch_exists() -> None:
    panel = price_panel(random_walk(900, 0))
    forecasts = forecasts_of(panel, {"tft": TRUTH_HQ})
    scattered = forecasts.select(np.isin(forecasts.origins, forecasts.origins[::10][:3]))
    assert len(representative(panel, scattered).origin_us) == 3
    single = forecasts.select(np.arange(len(forecasts.origins)) == 5)
    assert len(representative(panel, single).origin_us) == 1


def test_the_overview_covers_the_whole_test_period_in_equal_spans_by_hand() -> None:
    panel = price_panel(random_walk(421, 1))
    forecasts = forecasts_of(panel, {"tft": TRUTH_HQ})
    whole = overview(panel, forecasts)
    n = len(forecasts.origins)
    spans = n // 40
    assert len(whole.ts_us) == spans
    first = forecasts.ts_us < forecasts.ts_us[0] + whole.span_us
    np.testing.assert_allclose(whole.actual_s2[0], np.percentile(forecasts.actual_nH[first, -1], [10, 90]))
    np.testing.assert_allclose(whole.forecast_s2[0], TRUTH_HQ[-1, [0, 2]], rtol=1e-6)
    assert whole.ts_us[-1] < forecasts.ts_us[-1] <= whole.ts_us[0] - whole.span_us // 2 + spans * whole.span_us
    gap = forecasts.select((np.arange(n) < 100) | (np.arange(n) > 300))
    assert np.isnan(overview(panel, gap).actual_s2).any()


def test_the_widths_are_compared_by_rank() -> None:
    sd_bps = np.repeat(np.random.default_rng(0).permutation(np.linspace(1, 20, 40)), 100)
    panel = price_panel(random_walk(len(sd_bps), 2, sd_bps))
    origins = forecasts_of(panel, {"tft": TRUTH_HQ}).origins
    knowing = sd_bps[origins][:, None, None] / 5 * TRUTH_HQ
    found = overview(panel, forecasts_of(panel, {"tft": knowing}))
    assert found.width_correlation > 0.75
    assert len(found.ts_us) <= MOST_SPANS
    assert np.isnan(overview(panel, forecasts_of(panel, {"tft": TRUTH_HQ})).width_correlation)
    reversed_ = overview(panel, forecasts_of(panel, {"tft": TRUTH_HQ * (21 - sd_bps[origins])[:, None, None] / 5}))
    assert reversed_.width_correlation == pytest.approx(-found.width_correlation, abs=0.1)
    assert list(QUANTILES_Q) == [0.1, 0.5, 0.9]
