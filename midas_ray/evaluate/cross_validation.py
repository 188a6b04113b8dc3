"""Combinatorial purged cross-validation (López de Prado 2018, chapter 12), by `skfolio`.

The moments are cut into groups; every choice of `test_groups` of them is judged by models trained on all others, less a
purge of the horizon on both sides and, after each test group, an embargo of the input length plus the longest lookback:
no label of the training part reaches into a test group, and no input of it reaches back into one. (The trailing
baseline's longest window, up to 10,080 returns, may: it decides nothing but that window's choice.) Later data train for
earlier tests, so this says how a model does over many histories, not what it would have earned.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.final_period import FinalPeriod, require_before
from midas_ray.dataset.panel import IntArray, Panel
from midas_ray.dataset.splits import Split
from midas_ray.dataset.volatility import HAR_WINDOWS
from midas_ray.dataset.windows import require_windows, window_origins
from midas_ray.errors import TooFewRowsError, UsageError
from midas_ray.evaluate.folds import CALIBRATION_SHARE, VALIDATION_SHARE, FoldPlan, plan_fold
from midas_ray.evaluate.judge import Forecasts
from midas_ray.features.registry import FEATURES


@dataclass(frozen=True, slots=True)
class CombinatorialPlan:
    """One plan a split, and which paths its test groups belong to."""

    plans: list[FoldPlan]
    groups_of: list[list[IntArray]]
    """For each split, the origins of each of its test groups."""
    paths: NDArray[np.int64]
    """(splits, test_groups) number of the path that each test group belongs to."""

    def path(self, number: int, forecasts: list[Forecasts]) -> Forecasts:
        """The forecasts of one path: every group once. `forecasts` in order of the plans."""
        parts = []
        for split, own in enumerate(forecasts):
            for position in np.flatnonzero(self.paths[split] == number):
                parts.append(own.select(np.isin(own.origins, self.groups_of[split][position])))
        return Forecasts.join(parts)


def embargo_buckets(panel: Panel, input_length: int, horizon: int) -> int:
    """Buckets after a test group whose windows could have seen it: input length plus the longest lookback."""
    lookback_us = max(f.lookback * panel.bucket_us + f.lookback_s * 1_000_000 for f in FEATURES if f.model_input)
    longest = max(-(-lookback_us // panel.bucket_us), max(HAR_WINDOWS))
    return input_length + int(longest) + horizon


def plan_combinatorial(
    panel: Panel,
    input_length: int,
    output_length: int,
    groups: int,
    test_groups: int,
    final: FinalPeriod | None,
) -> CombinatorialPlan:
    """All splits. Raises UsageError where test groups leave nothing to train on, TooFewRowsError for too few rows."""
    from skfolio.model_selection import CombinatorialPurgedCV

    if test_groups >= groups:
        raise UsageError(f"--test-groups {test_groups}: expected fewer than --groups, found {groups}")
    origins = window_origins(panel, input_length, output_length, ())
    require_windows(panel, origins, input_length, output_length, ())
    if final is not None:
        origins = final.before(panel, origins, output_length)
        require_before(origins)
    # skfolio counts observations: moments on the calendar grid, also those without a window.
    first_us = int(panel.ts_us[origins].min())
    slot = (panel.ts_us[origins] - first_us) // panel.bucket_us
    slots = int(slot.max()) + 1
    embargo = embargo_buckets(panel, input_length, output_length)
    if slots // groups <= embargo + output_length:
        raise TooFewRowsError(
            f"too few rows for {groups} groups: expected groups longer than the embargo of {embargo} buckets, found "
            f"{slots // groups}; collect more, or lower --groups"
        )
    splitter = CombinatorialPurgedCV(groups, test_groups, purged_size=output_length, embargo_size=embargo)
    plans, groups_of = [], []
    for number, (train, tests) in enumerate(splitter.split(np.zeros((slots, 1))), start=1):
        blocks = [origins[np.isin(slot, block)] for block in tests]
        split = _with_parts(panel, origins[np.isin(slot, train)], np.concatenate(blocks), output_length)
        plans.append(plan_fold(panel, number, split, input_length, output_length))
        groups_of.append(blocks)
    return CombinatorialPlan(plans, groups_of, np.asarray(splitter.get_path_ids(), dtype=np.int64))


def _with_parts(panel: Panel, train: IntArray, test: IntArray, horizon: int) -> Split:
    """The last tenth of the training moments validates, what lies before it and after calibrates; both purged."""
    train = train[np.argsort(panel.ts_us[train], kind="stable")]
    ts_us = panel.ts_us[train]
    moments = np.unique(ts_us)
    if len(moments) < 4:
        raise TooFewRowsError("too few rows: expected training windows beside the test groups; collect more")
    calibration = moments[-max(1, int(len(moments) * CALIBRATION_SHARE))]
    validation = moments[-max(2, int(len(moments) * (CALIBRATION_SHARE + VALIDATION_SHARE)))]
    purge_us = (horizon - 1) * panel.bucket_us
    return Split(
        train[ts_us < validation - purge_us],
        train[(ts_us >= validation) & (ts_us < calibration - purge_us)],
        train[ts_us >= calibration],
        test[np.lexsort((panel.symbol_index[test], panel.ts_us[test]))],
    )
