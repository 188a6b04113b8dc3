import itertools
from dataclasses import replace

import numpy as np
import pytest

from midas_ray.dataset.final_period import final_period
from midas_ray.dataset.panel import Panel
from midas_ray.errors import TooFewRowsError
from midas_ray.evaluate.folds import FoldPlan, FoldResult, assemble, fit_and_forecast, plan_final, plan_folds
from midas_ray.features.nulls import NullKind
from midas_ray.forecast.scores import pinball_loss_bps
from midas_ray.settings import NetworkSettings
from tests.dataset.synthetic import BUCKET_US, rebuilt, synthetic_panel, with_nulls
from tests.evaluate.markets import fit_linear, signal_panel

NETWORK = NetworkSettings(input_length=10, output_length=5, quantiles=(0.1, 0.5, 0.9))
NAMES = ("tft", "trailing", "ewma", "har", "linear", "lightgbm")


def judge_fold(panel: Panel, plan: FoldPlan, names: tuple[str, ...] = ("tft", "trailing", "ewma")) -> FoldResult:
    fitted = [fit_and_forecast(panel, plan, name, 0, NETWORK, fit_linear, "cpu") for name in names]
    return assemble(panel, plan, fitted, NETWORK.quantiles)


def test_no_outcome_used_in_fitting_lies_in_what_is_judged() -> None:
    panel = synthetic_panel(1000)
    plans = plan_folds(panel, 10, 5, 4)
    assert [plan.number for plan in plans] == [1, 2, 3, 4]
    for plan in plans:
        split = plan.split
        parts = (split.train, split.validation, split.calibration, split.test)
        for earlier, later in itertools.pairwise(parts):
            assert panel.ts_us[earlier].max() + 5 * BUCKET_US <= panel.ts_us[later].min()
    tested = np.concatenate([plan.split.test for plan in plans])
    assert len(np.unique(tested)) == len(tested)
    assert (np.diff(panel.ts_us[tested]) >= 0).all()


def test_columns_are_chosen_on_the_training_rows_of_each_fold_alone() -> None:
    panel = with_nulls(synthetic_panel(1000), "vpin", slice(0, 250), NullKind.UNDEFINED)
    plans = plan_folds(panel, 10, 5, 3)
    assert "vpin" in plans[0].choice.left_out
    assert "vpin" in plans[2].choice.columns
    spoilt = with_nulls(panel, "ofi", slice(400, 1000), NullKind.GAP)
    first = plan_folds(panel, 10, 5, 3)[0]
    assert first.choice == plans[0].choice
    with pytest.raises(TooFewRowsError, match=r"test part of fold 1, found none of 246 without gap"):
        plan_folds(with_nulls(spoilt, "ofi", slice(230, 400), NullKind.GAP), 10, 5, 3)


def test_too_few_rows_say_what_is_needed_and_found() -> None:
    with pytest.raises(TooFewRowsError, match="expected at least 220 windows of 10 \\+ 5 buckets, found 135"):
        plan_folds(synthetic_panel(149), 10, 5, 3)
    with pytest.raises(TooFewRowsError, match="expected 15 consecutive buckets"):
        plan_folds(synthetic_panel(12), 10, 5, 3)


def test_a_fold_is_judged_on_its_test_part_and_says_how() -> None:
    panel = signal_panel(900, strength_bps=4.0)
    plan = plan_folds(panel, 10, 5, 3)[1]
    result = judge_fold(panel, plan)
    np.testing.assert_array_equal(result.forecasts.origins, plan.split.test)
    assert result.record.train is not None
    assert result.record.train.windows == len(plan.split.train)
    assert result.record.test.windows == len(plan.split.test)
    assert (result.record.n_parameters, result.record.epochs) == (5 + 15, (1,))
    assert set(result.forecasts.raw_nHQ) == {"tft", "trailing", "ewma"}
    assert result.record.interpretation is not None
    assert result.without_baseline == 0


def test_the_future_changes_no_forecast_of_a_fold() -> None:
    """Of any forecaster, in any form: what is fitted, calibrated and adapted never reads on."""
    panel = signal_panel(1500, strength_bps=4.0)
    plan = plan_folds(panel, 10, 5, 3)[1]
    cut = int(plan.split.test[60])
    values = panel.values.copy()
    values[cut + 1 :] *= 1.5
    changed = rebuilt(panel, values)
    before = judge_fold(panel, plan, NAMES).forecasts
    after = judge_fold(changed, plan, NAMES).forecasts
    known = before.origins <= cut
    assert known.sum() == 61
    for made, remade in (
        (before.raw_nHQ, after.raw_nHQ),
        (before.calibrated_nHQ, after.calibrated_nHQ),
        (before.adaptive_nHQ, after.adaptive_nHQ),
    ):
        for name, forecast in made.items():
            np.testing.assert_array_equal(forecast[known], remade[name][known], err_msg=name)
            assert not np.array_equal(forecast[~known], remade[name][~known])
    np.testing.assert_array_equal(before.regime[known], after.regime[known])


def test_windows_at_which_a_baseline_is_silent_are_left_out_of_all_and_counted() -> None:
    panel = signal_panel(900, strength_bps=1.0)
    plan = plan_folds(panel, 10, 5, 3)[0]
    fitted = [fit_and_forecast(panel, plan, name, 0, NETWORK, fit_linear, "cpu") for name in ("tft", "trailing")]
    fitted[1].test_nHQ[:7, 0, 0] = np.nan
    judged = assemble(panel, plan, fitted, NETWORK.quantiles)
    assert judged.without_baseline == 7
    np.testing.assert_array_equal(judged.forecasts.origins, plan.split.test[7:])


def test_seeds_are_averaged_and_each_keeps_its_own_loss() -> None:
    panel = signal_panel(900, strength_bps=1.0)
    plan = plan_folds(panel, 10, 5, 3)[0]
    first = fit_and_forecast(panel, plan, "tft", 0, NETWORK, fit_linear, "cpu")
    second = replace(first, seed=1, test_nHQ=first.test_nHQ + 2, calibration_nHQ=first.calibration_nHQ + 2)
    judged = assemble(panel, plan, [first, second], NETWORK.quantiles)
    np.testing.assert_allclose(judged.forecasts.raw_nHQ["tft"], first.test_nHQ + 1, atol=1e-4)
    assert set(judged.record.seed_loss_bps) == {0, 1}
    for seed, alone in ((0, first), (1, second)):
        own = assemble(panel, plan, [replace(alone, seed=seed)], NETWORK.quantiles).forecasts
        loss = pinball_loss_bps(own.actual_nH, own.delivered("tft").astype(float), own.quantiles_Q).mean()
        assert judged.record.seed_loss_bps[seed] == pytest.approx(loss, rel=1e-5)


def test_the_final_period_is_read_by_no_fold_and_judged_alone_when_opened() -> None:
    panel = signal_panel(1500, strength_bps=1.0)
    final = final_period(panel, 0.2, None)
    assert final is not None
    ahead = 5 * BUCKET_US
    for plan in plan_folds(panel, 10, 5, 3, final):
        assert panel.ts_us[plan.split.test].max() + ahead <= final.first_us
    opened = plan_final(panel, 10, 5, final)
    assert panel.ts_us[opened.split.test].min() == final.first_us
    assert len(opened.split.test) == pytest.approx(300, abs=6)
    assert panel.ts_us[opened.split.calibration].max() + ahead <= final.first_us


@pytest.mark.parametrize("name", NAMES[1:])
def test_what_a_fold_fits_depends_on_its_own_past_alone(name: str) -> None:
    panel = signal_panel(1500, strength_bps=2.0)
    plan = plan_folds(panel, 10, 5, 3)[0]
    values = panel.values.copy()
    values[int(plan.split.test.min()) + 1 :] *= 3.0
    seen = fit_and_forecast(panel, plan, name, 0, NETWORK, fit_linear, "cpu")
    other = fit_and_forecast(rebuilt(panel, values), plan, name, 0, NETWORK, fit_linear, "cpu")
    assert seen.note == other.note
    np.testing.assert_array_equal(seen.calibration_nHQ, other.calibration_nHQ)
    np.testing.assert_array_equal(seen.test_nHQ[0], other.test_nHQ[0])
