"""Combinatorial purged cross-validation: nothing of a test group is in what is trained, whatever gaps there are."""

import numpy as np
import pytest

from midas_ray.dataset.panel import IntArray
from midas_ray.dataset.splits import Split
from midas_ray.errors import TooFewRowsError, UsageError
from midas_ray.evaluate.cross_validation import embargo_buckets, plan_combinatorial
from midas_ray.features.nulls import NullKind
from tests.dataset.synthetic import BUCKET_US, rebuilt, synthetic_panel, take

INPUT, HORIZON = 10, 5


@pytest.mark.parametrize("seed", range(4))
def test_no_label_reaches_into_a_test_group_and_no_input_back_into_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    panel = synthetic_panel(20_000, seed=seed)
    kept = np.ones(len(panel), dtype=np.bool_)
    for start in rng.integers(0, len(panel), 20):
        kept[start : start + rng.integers(1, 60)] = False
    panel = take(panel, kept)
    plan = plan_combinatorial(panel, INPUT, HORIZON, 6, 2, None)
    assert len(plan.plans) == 15
    embargo = embargo_buckets(panel, INPUT, HORIZON)
    assert embargo >= INPUT + 2880  # the longest lookback: 172,800 s of one-minute buckets
    for fold, groups in zip(plan.plans, plan.groups_of, strict=True):
        split = fold.split
        for group in groups:
            first, last = panel.ts_us[group].min(), panel.ts_us[group].max()
            for part in (split.train, split.validation, split.calibration):
                ts_us = panel.ts_us[part]
                earlier, later = ts_us[ts_us < first], ts_us[ts_us >= first]
                assert (earlier + HORIZON * BUCKET_US <= first).all()
                assert (later - embargo * BUCKET_US >= last).all()
        for one, other in ((split.train, split.validation), (split.validation, split.calibration)):
            assert panel.ts_us[one].max() + HORIZON * BUCKET_US <= panel.ts_us[other].min()


def test_every_path_holds_each_group_once() -> None:
    panel = synthetic_panel(20_000)
    plan = plan_combinatorial(panel, INPUT, HORIZON, 6, 2, None)
    for path in range(5):
        tested = [
            plan.groups_of[split][position] for split, position in zip(*np.nonzero(plan.paths == path), strict=True)
        ]
        rows = np.concatenate(tested)
        assert len(tested) == 6
        assert len(np.unique(rows)) == len(rows) == len(panel) - INPUT + 1 - HORIZON


def test_columns_are_chosen_without_the_rows_of_the_test_groups() -> None:
    panel = synthetic_panel(20_000)
    plan = plan_combinatorial(panel, INPUT, HORIZON, 6, 2, None)
    inner = next(fold for fold in plan.plans if _between(panel.ts_us, fold.split))
    values, kinds = panel.values.copy(), panel.kinds.copy()
    position = panel.feature_names.index("vpin")
    # Constant wherever it is trained on, alive in the test groups alone.
    values[:, position] = np.where(np.isin(np.arange(len(panel)), inner.split.test), values[:, position], 0.5)
    kinds[:, position] = NullKind.VALUE
    again = plan_combinatorial(rebuilt(panel, values, kinds), INPUT, HORIZON, 6, 2, None).plans[inner.number - 1]
    assert again.choice.left_out["vpin"] == "constant in training"


def _between(ts_us: IntArray, split: Split) -> bool:
    train, test = ts_us[split.train], ts_us[split.test]
    return bool(((test > train.min()) & (test < train.max())).any())


def test_what_cannot_be_cut_is_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match="--test-groups 6: expected fewer than --groups, found 6"):
        plan_combinatorial(synthetic_panel(500), INPUT, HORIZON, 6, 6, None)
    with pytest.raises(TooFewRowsError, match=r"expected groups longer than the embargo of \d+ buckets, found 81"):
        plan_combinatorial(synthetic_panel(500), INPUT, HORIZON, 6, 2, None)
