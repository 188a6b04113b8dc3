from dataclasses import replace

import numpy as np
import pytest

from midas_ray.errors import TooFewRowsError
from midas_ray.evaluate.folds import FoldPlan, judge_fold, leave_out_unknown, plan_folds
from midas_ray.evaluate.judge import EWMA, MODEL, TRAILING
from midas_ray.features.nulls import NullKind
from midas_ray.settings import NetworkSettings
from tests.dataset.synthetic import BUCKET_US, rebuilt, synthetic_panel, with_nulls
from tests.evaluate.markets import fit_linear, signal_panel

NETWORK = NetworkSettings(input_length=10, output_length=5)


def _ends(plan: FoldPlan) -> tuple[int, int, int]:
    return int(plan.split.train.max()), int(plan.split.validation.min()), int(plan.split.test.min())


def test_no_outcome_used_in_fitting_lies_in_what_is_judged() -> None:
    panel = synthetic_panel(1000)
    plans = plan_folds(panel, 10, 5, 4)
    assert [plan.number for plan in plans] == [1, 2, 3, 4]
    for plan in plans:
        split = plan.split
        for earlier, later in ((split.train, split.validation), (split.validation, split.test)):
            assert panel.ts_us[earlier].max() + 5 * BUCKET_US <= panel.ts_us[later].min()
    tested = np.concatenate([plan.split.test for plan in plans])
    assert len(np.unique(tested)) == len(tested)
    assert (np.diff(panel.ts_us[tested]) >= 0).all()


def test_columns_are_chosen_on_the_training_rows_of_each_fold_alone() -> None:
    panel = with_nulls(synthetic_panel(1000), "vpin", slice(0, 300), NullKind.UNDEFINED)
    plans = plan_folds(panel, 10, 5, 3)
    assert "vpin" in plans[0].choice.left_out
    assert "vpin" in plans[2].choice.columns
    spoilt = with_nulls(panel, "ofi", slice(400, 1000), NullKind.GAP)
    first = plan_folds(panel, 10, 5, 3)[0]
    assert first.choice == plans[0].choice
    with pytest.raises(TooFewRowsError, match=r"test part of fold 1, found .*, 0 without gap"):
        plan_folds(with_nulls(spoilt, "ofi", slice(230, 400), NullKind.GAP), 10, 5, 3)


def test_too_few_rows_say_what_is_needed_and_found() -> None:
    with pytest.raises(TooFewRowsError, match="expected at least 156 windows of 10 \\+ 5 buckets, found 135"):
        plan_folds(synthetic_panel(149), 10, 5, 3)
    with pytest.raises(TooFewRowsError, match="expected 15 consecutive buckets"):
        plan_folds(synthetic_panel(12), 10, 5, 3)


def test_a_fold_is_judged_on_its_test_part_and_says_how() -> None:
    panel = signal_panel(900, strength_bps=4.0)
    plan = plan_folds(panel, 10, 5, 3)[1]
    result = judge_fold(panel, plan, NETWORK, fit_linear, "cpu")
    np.testing.assert_array_equal(result.forecasts.origins, plan.split.test)
    assert result.record.train is not None
    assert result.record.train.windows == len(plan.split.train)
    assert result.record.test.windows == len(plan.split.test)
    assert (result.record.n_parameters, result.record.epochs) == (5 + 15, 1)
    assert set(result.forecasts.forecast_nHQ) == {MODEL, TRAILING, EWMA}
    assert result.without_baseline == 0


def test_the_future_changes_no_forecast_of_a_fold() -> None:
    panel = signal_panel(900, strength_bps=4.0)
    plan = plan_folds(panel, 10, 5, 3)[1]
    cut = int(plan.split.test[60])
    values = panel.values.copy()
    values[cut + 1 :] *= 1.5
    changed = rebuilt(panel, values)
    before = judge_fold(panel, plan, NETWORK, fit_linear, "cpu").forecasts
    after = judge_fold(changed, plan, NETWORK, fit_linear, "cpu").forecasts
    known = before.origins <= cut
    assert known.sum() == 61
    for name, forecast in before.forecast_nHQ.items():
        np.testing.assert_array_equal(forecast[known], after.forecast_nHQ[name][known])
        assert not np.array_equal(forecast[~known], after.forecast_nHQ[name][~known])


def test_windows_without_a_baseline_are_left_out_and_counted() -> None:
    panel = signal_panel(900, strength_bps=1.0)
    forecasts = judge_fold(panel, plan_folds(panel, 10, 5, 3)[0], NETWORK, fit_linear, "cpu").forecasts
    trailing = forecasts.forecast_nHQ[TRAILING].copy()
    trailing[:7, 0, 0] = np.nan
    partly = replace(forecasts, forecast_nHQ={**forecasts.forecast_nHQ, TRAILING: trailing})
    judged, without = leave_out_unknown(partly)
    assert without == 7
    np.testing.assert_array_equal(judged.origins, forecasts.origins[7:])
