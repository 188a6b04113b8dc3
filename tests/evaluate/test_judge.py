"""Scores of forecasts whose truth is known."""

from dataclasses import replace

import numpy as np
import pytest

from midas_ray.errors import DataError, TooFewRowsError
from midas_ray.evaluate.judge import ADAPTIVE, CALIBRATED, RAW, Forecasts, delivered_form, mean_per_trade, score
from tests.evaluate.markets import QUANTILES_Q, Float, forecasts_of, price_panel, random_walk


def _normal_HQ(sd_bps: float, horizon: int = 10) -> Float:
    return sd_bps * np.sqrt(np.arange(1, horizon + 1))[:, None] * np.array([-1.2816, 0.0, 1.2816])


def _forecasts(panel: object, model: Float, other: Float) -> Forecasts:
    return forecasts_of(panel, {"tft": model, "trailing": other, "ewma": other})  # type: ignore[arg-type]


def test_coverage_of_a_known_distribution() -> None:
    truth = _normal_HQ(5.0)
    scores = score(_forecasts(price_panel(random_walk(4000, 0)), truth, 2 * truth))
    found = scores.delivered("tft").calibration
    assert found.coverage.lower < 0.8 < found.coverage.upper
    assert found.coverage.upper - found.coverage.lower < 0.05
    assert (found.below.lower < QUANTILES_Q).all()
    assert (found.below.upper > QUANTILES_Q).all()
    assert ((found.coverage_by_horizon.lower < 0.8) & (found.coverage_by_horizon.upper > 0.8)).mean() >= 0.8
    twice = scores.delivered("trailing").calibration.coverage
    assert twice.lower > 0.97  # P(|z| < 2.563) = 0.9896
    np.testing.assert_allclose(scores.coverage_by_regime.value, 0.8, atol=0.05)
    by_hour = scores.coverage_by_hour
    assert ((by_hour.lower < 0.8) & (by_hour.upper > 0.8)).mean() > 0.7


def test_coverage_by_group_is_that_of_the_group() -> None:
    truth = _normal_HQ(5.0)
    panel = price_panel(random_walk(4000, 0))
    forecasts = _forecasts(panel, truth, truth)
    wide = forecasts.regime == 2
    said = np.where(wide[:, None, None], 10 * truth, truth).astype(np.float32)
    changed = {"tft": said, "trailing": said, "ewma": said}
    scores = score(replace(forecasts, raw_nHQ=changed, calibrated_nHQ=changed, adaptive_nHQ={"tft": said}))
    assert scores.coverage_by_regime.value[2] > 0.99
    np.testing.assert_allclose(scores.coverage_by_regime.value[:2], 0.8, atol=0.05)
    empty = score(replace(forecasts, regime=np.zeros_like(forecasts.regime)))
    assert np.isnan(empty.coverage_by_regime.value[1:]).all()


def test_the_true_quantiles_beat_wrong_ones_and_every_test_says_so() -> None:
    truth = _normal_HQ(5.0)
    scores = score(_forecasts(price_panel(random_walk(2000, 1)), truth, 2 * truth))
    over = scores.skill["trailing"]
    # E loss of N(0, 1) at +-1.2816 is 0.1755 a side, at +-2.563 0.2580; 0.3989 at the median
    assert over.pooled.value == pytest.approx(1 - (0.3510 + 0.3989) / (0.5160 + 0.3989), abs=0.02)
    assert over.pooled.excludes_zero_above()
    assert over.by_cell.value[:, 1] == pytest.approx(0)
    assert over.by_horizon.value.shape == (10,)
    assert scores.diebold_mariano["trailing"].statistic < -3
    assert scores.diebold_mariano["trailing"].p_value < 0.01
    assert scores.any_beats_trailing is not None
    assert scores.any_beats_trailing < 0.05
    assert scores.any_beats_judged is not None
    assert scores.any_beats_judged > 0.2


def test_the_weighted_interval_score_is_twice_the_mean_pinball_loss_and_forms_stand_apart() -> None:
    truth = _normal_HQ(5.0)
    forecasts = _forecasts(price_panel(random_walk(1500, 1)), truth, 2 * truth)
    wide = {name: 3 * forecast for name, forecast in forecasts.raw_nHQ.items()}
    scores = score(replace(forecasts, calibrated_nHQ=wide))
    for variant in scores.variants.values():
        assert variant.weighted_interval_score.value == pytest.approx(2 * variant.mean_pinball.value)
        assert variant.loss_HQ.mean() == pytest.approx(variant.mean_pinball.value)
    assert scores.delivered("tft") is scores.variants["tft", CALIBRATED]
    assert scores.delivered("ewma") is scores.variants["ewma", RAW]
    assert scores.variants["tft", CALIBRATED].width_bps == pytest.approx(3 * scores.variants["tft", ADAPTIVE].width_bps)
    assert (delivered_form("lightgbm"), delivered_form("har")) == (CALIBRATED, RAW)


def test_equally_wrong_forecasts_have_no_skill() -> None:
    truth, shift = _normal_HQ(5.0), 3.0
    scores = score(_forecasts(price_panel(random_walk(3000, 2)), truth + shift, truth - shift))
    pooled = scores.skill["trailing"].pooled
    assert not pooled.excludes_zero_above()
    assert not pooled.excludes_zero_below()
    assert abs(pooled.value) < 0.1
    assert scores.diebold_mariano["trailing"].p_value > 0.05


def test_equal_forecasts_are_not_told_apart() -> None:
    truth = _normal_HQ(5.0)
    scores = score(_forecasts(price_panel(random_walk(1000, 2)), truth, truth))
    assert scores.skill["ewma"].pooled.value == 0
    assert np.isnan(scores.diebold_mariano["ewma"].p_value)


def test_pooled_loss_is_the_mean_of_its_parts() -> None:
    truth = _normal_HQ(5.0)
    panel = price_panel(np.concatenate([random_walk(300, k) for k in (3, 4)]), symbols=2)
    forecasts = _forecasts(panel, truth, 2 * truth)
    scores = score(forecasts)
    parts = [score(forecasts.select(forecasts.symbol_index == k), every_form=False) for k in (0, 1)]
    assert scores.n_moments == parts[0].n_moments == parts[0].n_origins
    assert scores.n_origins == 2 * scores.n_moments
    mean = np.mean([part.delivered("tft").loss_HQ for part in parts], axis=0)
    np.testing.assert_allclose(scores.delivered("tft").loss_HQ, mean)


def test_two_symbols_that_move_as_one_are_no_more_certain_than_one() -> None:
    price, truth = random_walk(600, 5), _normal_HQ(5.0)
    one = score(_forecasts(price_panel(price), truth, 2 * truth)).skill["trailing"].pooled
    two = score(_forecasts(price_panel(np.tile(price, 2), symbols=2), truth, 2 * truth)).skill["trailing"].pooled
    assert (two.lower, two.upper) == pytest.approx((one.lower, one.upper))


def test_joined_folds_are_in_order_of_time() -> None:
    forecasts = _forecasts(price_panel(random_walk(300, 0)), _normal_HQ(5.0), _normal_HQ(5.0))
    late = forecasts.origins > 150
    joined = Forecasts.join([forecasts.select(late), forecasts.select(~late)])
    np.testing.assert_array_equal(joined.origins, forecasts.origins)
    np.testing.assert_array_equal(joined.raw_nHQ["ewma"], forecasts.raw_nHQ["ewma"])


def test_too_few_moments_and_a_price_at_rest() -> None:
    truth = _normal_HQ(5.0)
    with pytest.raises(TooFewRowsError, match="100 moments or more for an interval, found 81"):
        score(_forecasts(price_panel(random_walk(100, 0)), truth, truth))
    with pytest.raises(DataError, match="a price that moves"):
        score(_forecasts(price_panel(np.full(300, 100.0)), truth, truth))


def test_mean_per_trade_by_hand() -> None:
    truth = _normal_HQ(5.0)
    forecasts = _forecasts(price_panel(random_walk(300, 0)), truth, truth)
    found = mean_per_trade(forecasts, np.arange(0, 280, 20), np.tile([4.0, -2.0], 7), np.ones(14))
    assert found.value == pytest.approx(1.0)
    assert found.lower < 1.0 < found.upper
