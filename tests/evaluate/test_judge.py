"""Controls: what is known to have no skill gets none, what is known to have skill gets it."""

import numpy as np
import pytest

from midas_ray.dataset.panel import Panel
from midas_ray.dataset.windows import targets_bps, window_origins
from midas_ray.errors import DataError, TooFewRowsError
from midas_ray.evaluate.folds import judge_fold, plan_folds
from midas_ray.evaluate.judge import EWMA, MODEL, TRAILING, Forecasts, mean_per_trade, score
from midas_ray.evaluate.outcome import Conditions, Outcome, conclude
from midas_ray.evaluate.verdict import reach
from midas_ray.settings import NetworkSettings
from tests.evaluate.markets import QUANTILES_Q, Float, fit_linear, price_panel, random_walk, signal_panel


def _forecasts(panel: Panel, model_HQ: Float, other_HQ: Float, horizon: int = 10) -> Forecasts:
    origins = window_origins(panel, 10, horizon, ())
    shape = (len(origins), *model_HQ.shape)
    return Forecasts(
        quantiles_Q=QUANTILES_Q,
        origins=origins,
        ts_us=panel.ts_us[origins],
        symbol_index=panel.symbol_index[origins],
        fold=np.ones(len(origins), dtype=np.int64),
        actual_nH=targets_bps(panel, origins, horizon),
        forecast_nHQ={
            MODEL: np.broadcast_to(model_HQ, shape),
            TRAILING: np.broadcast_to(other_HQ, shape),
            EWMA: np.broadcast_to(other_HQ, shape),
        },
    )


def _normal_HQ(sd_bps: float, horizon: int = 10) -> Float:
    return sd_bps * np.sqrt(np.arange(1, horizon + 1))[:, None] * np.array([-1.2816, 0.0, 1.2816])


def test_coverage_of_a_known_distribution() -> None:
    truth = _normal_HQ(5.0)
    scores = score(_forecasts(price_panel(random_walk(4000, 0)), truth, 2 * truth))
    found = scores.calibration[MODEL]
    assert found.coverage.lower < 0.8 < found.coverage.upper
    assert found.coverage.upper - found.coverage.lower < 0.05
    assert (found.below.lower < QUANTILES_Q).all()
    assert (found.below.upper > QUANTILES_Q).all()
    assert ((found.coverage_by_horizon.lower < 0.8) & (found.coverage_by_horizon.upper > 0.8)).mean() >= 0.8
    twice = scores.calibration[TRAILING].coverage
    assert twice.lower > 0.97  # P(|z| < 2.563) = 0.9896


def test_the_true_quantiles_beat_wrong_ones_and_the_interval_says_so() -> None:
    truth = _normal_HQ(5.0)
    scores = score(_forecasts(price_panel(random_walk(2000, 1)), truth, 2 * truth))
    over = scores.skill[TRAILING]
    # E loss of N(0, 1) at +-1.2816 is 0.1755 a side, at +-2.563 0.2580; 0.3989 at the median
    assert over.pooled.value == pytest.approx(1 - (0.3510 + 0.3989) / (0.5160 + 0.3989), abs=0.02)
    assert over.pooled.excludes_zero_above()
    assert over.by_cell.value[:, 1] == pytest.approx(0)
    assert over.by_horizon.value.shape == (10,)


def test_equally_wrong_forecasts_have_no_skill() -> None:
    truth, shift = _normal_HQ(5.0), 3.0
    scores = score(_forecasts(price_panel(random_walk(3000, 2)), truth + shift, truth - shift))
    pooled = scores.skill[TRAILING].pooled
    assert not pooled.excludes_zero_above()
    assert not pooled.excludes_zero_below()
    assert abs(pooled.value) < 0.1


def test_pooled_loss_is_the_mean_of_its_parts() -> None:
    truth = _normal_HQ(5.0)
    forecasts = _forecasts(
        price_panel(np.concatenate([random_walk(300, k) for k in (3, 4)]), symbols=2), truth, 2 * truth
    )
    scores = score(forecasts)
    parts = [score(forecasts.select(forecasts.symbol_index == k)) for k in (0, 1)]
    assert scores.n_moments == parts[0].n_moments == parts[0].n_origins
    assert scores.n_origins == 2 * scores.n_moments
    mean = np.mean([part.loss_HQ[MODEL] for part in parts], axis=0)
    np.testing.assert_allclose(scores.loss_HQ[MODEL], mean)


def test_two_symbols_that_move_as_one_are_no_more_certain_than_one() -> None:
    price, truth = random_walk(600, 5), _normal_HQ(5.0)
    one = score(_forecasts(price_panel(price), truth, 2 * truth)).skill[TRAILING].pooled
    two = score(_forecasts(price_panel(np.tile(price, 2), symbols=2), truth, 2 * truth)).skill[TRAILING].pooled
    assert (two.lower, two.upper) == pytest.approx((one.lower, one.upper))


def test_too_few_moments_and_a_price_at_rest() -> None:
    truth = _normal_HQ(5.0)
    with pytest.raises(TooFewRowsError, match="100 moments or more for an interval, found 81"):
        score(_forecasts(price_panel(random_walk(100, 0)), truth, truth))
    with pytest.raises(DataError, match="a price that moves"):
        score(_forecasts(price_panel(np.full(300, 100.0)), truth, truth))


def test_mean_per_trade_by_hand() -> None:
    truth = _normal_HQ(5.0)
    forecasts = _forecasts(price_panel(random_walk(300, 0)), truth, truth)
    found = mean_per_trade(forecasts, np.arange(0, 280, 20), np.tile([4.0, -2.0], 7))
    assert found.value == pytest.approx(1.0)
    assert found.lower < 1.0 < found.upper


def _walk_forward(panel: Panel, fee_bps: float) -> Outcome:
    network = NetworkSettings(input_length=10, output_length=10)
    plans = plan_folds(panel, 10, 10, 3)
    results = [judge_fold(panel, plan, network, fit_linear, "cpu") for plan in plans]
    conditions = Conditions(
        model=None, training_end_us=None, refused=0, without_baseline=0, input_length=10, output_length=10,
        network={"hidden_dim": 16}, fee_bps=fee_bps, threshold_bps=0.0,
    )  # fmt: skip
    return conclude(panel, conditions, [r.record for r in results], Forecasts.join([r.forecasts for r in results]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_control_a_random_walk_gives_no_skill_and_no_edge(seed: int) -> None:
    outcome = _walk_forward(signal_panel(2500, strength_bps=0.0, seed=seed), fee_bps=0.0)
    verdict = reach(outcome)
    assert not all(verdict.beats.values())
    assert not verdict.has_edge
    pooled = outcome.scores.skill[TRAILING].pooled
    assert pooled.lower < 0.01
    assert pooled.upper > -0.05


def test_control_a_planted_signal_is_found_and_pays_more_than_its_costs() -> None:
    outcome = _walk_forward(signal_panel(2500, strength_bps=4.0), fee_bps=1.0)
    verdict = reach(outcome)
    assert all(verdict.beats.values())
    assert verdict.has_edge
    assert verdict.tone == "good"
    assert "The model beats both baselines." in verdict.skill_sentence
    assert "There is an edge after costs" in verdict.edge_sentence
    assert outcome.trading is not None
    assert outcome.trading.curve.net_pct[-1] > outcome.trading.curve.hold_pct[-1]


def test_control_the_same_signal_pays_nothing_under_high_fees() -> None:
    outcome = _walk_forward(signal_panel(2500, strength_bps=0.5), fee_bps=5.0)
    assert not reach(outcome).has_edge
