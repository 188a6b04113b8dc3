"""Gradient-boosted quantiles on the inputs at the origin, by LightGBM (Ke et al. 2017).

One model a quantile, with the horizon as an input, trained on a few horizons of returns in units of the HAR volatility
and interpolated between them; the number of trees is that of the least loss on the validation part. Legend: n origins,
V inputs, H horizons, Q quantiles.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.forecast.baselines.inputs import OriginInputs
from midas_ray.forecast.baselines.task import Task

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MOST_TREES = 300
PATIENCE = 20
MOST_ROWS = 40_000
"""Training windows used; of more, as many are drawn with the task's seed."""


def trained_horizons(output_length: int) -> tuple[int, ...]:
    """1, the middle and the last: 1, 5, 10 of ten."""
    return tuple(sorted({1, max(1, output_length // 2), output_length}))


@dataclass(frozen=True, slots=True)
class BoostedQuantiles:
    """The trained models."""

    inputs: OriginInputs
    models: tuple[str, ...]
    """One a quantile, in LightGBM's text form."""
    trees: int
    """Of all models together."""
    output_length: int

    @classmethod
    def fit(cls, task: Task) -> Self:
        """Fit on the training part, stopped early on the validation part. The same task gives the same models."""
        import lightgbm

        rng = np.random.default_rng(task.seed)
        train = task.train
        if len(train) > MOST_ROWS:
            train = train[np.sort(rng.choice(len(train), MOST_ROWS, replace=False))]
        inputs = OriginInputs.fit(task)
        horizons = trained_horizons(task.output_length)
        data = {}
        for name, origins in (("train", train), ("validation", task.validation)):
            y = task.actual_bps(origins) / inputs.scale_bps(task.panel, origins)
            x = _design(inputs, task.panel, origins, horizons)
            data[name] = x, y[:, np.array(horizons) - 1].T.ravel()
        models, trees = [], 0
        for tau in task.quantiles:
            options: dict[str, Any] = {
                "objective": "quantile", "alpha": tau, "learning_rate": 0.05, "num_leaves": 15,
                "min_data_in_leaf": max(20, len(data["train"][1]) // 200), "feature_fraction": 0.8, "verbosity": -1,
                "seed": task.seed, "deterministic": True, "force_row_wise": True, "num_threads": task.threads,
            }  # fmt: skip
            train_set = lightgbm.Dataset(*data["train"], categorical_feature=[0], free_raw_data=False)
            booster = lightgbm.train(
                options,
                train_set,
                num_boost_round=MOST_TREES,
                valid_sets=[lightgbm.Dataset(*data["validation"], reference=train_set)],
                callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
            )
            trees += booster.best_iteration
            models.append(booster.model_to_string(num_iteration=booster.best_iteration))
        return cls(inputs, tuple(models), trees, task.output_length)

    @property
    def note(self) -> str:
        return f"{self.trees} trees"

    def predict(self, panel: Panel, origins: Int) -> Float:
        """(n, H, Q), bps, sorted."""
        import lightgbm

        horizons = trained_horizons(self.output_length)
        x = _design(self.inputs, panel, origins, horizons)
        scaled = np.empty((len(origins), self.output_length, len(self.models)))
        for k, model in enumerate(self.models):
            predicted = np.asarray(lightgbm.Booster(model_str=model).predict(x, num_threads=1))
            at = predicted.reshape(len(horizons), len(origins))
            scaled[:, :, k] = _between(horizons, at, self.output_length)
        return np.sort(scaled * self.inputs.scale_bps(panel, origins)[:, :, None], axis=2)


def _between(horizons: tuple[int, ...], at_kn: Float, output_length: int) -> Float:
    """(n, H) linear interpolation between the trained horizons."""
    wanted = np.arange(1, output_length + 1)
    after = np.clip(np.searchsorted(horizons, wanted), 1, max(len(horizons) - 1, 1))
    if len(horizons) == 1:
        return np.repeat(at_kn[0][:, None], output_length, axis=1)
    low, high = np.array(horizons)[after - 1], np.array(horizons)[after]
    share = ((wanted - low) / (high - low))[:, None]
    result: Float = ((1 - share) * at_kn[after - 1] + share * at_kn[after]).T
    return result


def _design(inputs: OriginInputs, panel: Panel, origins: Int, horizons: tuple[int, ...]) -> Float:
    """Rows of all origins at the first horizon, then at the second, ...: symbol, horizon, inputs."""
    x = inputs.at(panel, origins)
    symbol = inputs.symbol(panel, origins)
    return np.concatenate([np.column_stack([symbol, np.full(len(origins), float(horizon)), x]) for horizon in horizons])
