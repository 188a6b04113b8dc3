"""Linear quantile regression on the inputs at the origin (Koenker and Bassett 1978), by statsmodels.

One regression a horizon and quantile, of returns in units of the HAR volatility, with an intercept a symbol. Dozens of
microstructure inputs say nearly the same, and a regression on all of them falls apart on the next day (measured on
NEXOUSDT: five times the loss of the volatility baselines): the inputs are the volatilities and the first principal
components of the others, fitted on the training part. Legend: n origins, V inputs, H horizons, Q quantiles.
"""

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from midas_ray.dataset.panel import Panel
from midas_ray.forecast.baselines.inputs import OriginInputs
from midas_ray.forecast.baselines.task import Task

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MOST_ROWS = 20_000
"""Training windows used; of more, as many are drawn with the task's seed."""
COMPONENTS = 12
"""Most principal components."""
ROWS_A_COMPONENT = 100
"""Training windows that each component needs: with fewer there are fewer components, down to none."""
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class LinearQuantiles:
    """The fitted regressions."""

    inputs: OriginInputs
    coefficients_HQV: Float
    """The first places are the symbols' intercepts."""
    bounds_H2: Float
    """(H, 2) lowest and highest target of the training part: no quantile is put beyond what was seen."""
    reduction: PCA | None
    """None where only the volatilities are inputs."""

    @classmethod
    def fit(cls, task: Task) -> Self:
        """Fit on the training part."""
        from statsmodels.regression.quantile_regression import QuantReg

        rng = np.random.default_rng(task.seed)
        train = task.train
        if len(train) > MOST_ROWS:
            train = np.sort(rng.choice(len(train), MOST_ROWS, replace=False))
            train = task.train[train]
        inputs = OriginInputs.fit(task)
        others = _others(inputs, task.panel, train)
        components = min(COMPONENTS, len(train) // ROWS_A_COMPONENT, others.shape[1])
        reduction = PCA(components, random_state=task.seed).fit(others) if components else None
        x = _design(inputs, task.panel, train, reduction)
        y = task.actual_bps(train) / inputs.scale_bps(task.panel, train)
        result = np.empty((task.output_length, len(task.quantiles), x.shape[1]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a solver that stops at its limit of iterations is judged like any other
            for h in range(task.output_length):
                for k, tau in enumerate(task.quantiles):
                    fitted = QuantReg(y[:, h], x).fit(q=tau, vcov="iid", max_iter=200, p_tol=_TOLERANCE)
                    result[h, k] = fitted.params
        return cls(inputs, result, np.stack([y.min(axis=0), y.max(axis=0)], axis=1), reduction)

    @property
    def note(self) -> str:
        components = 0 if self.reduction is None else self.reduction.n_components_
        return f"volatilities and {components} principal component{'' if components == 1 else 's'}"

    def predict(self, panel: Panel, origins: Int) -> Float:
        """(n, H, Q), bps, sorted."""
        x = _design(self.inputs, panel, origins, self.reduction)
        scaled = np.einsum("nv,hqv->nhq", x, self.coefficients_HQV)
        scaled = np.clip(scaled, self.bounds_H2[:, :1], self.bounds_H2[:, 1:])
        return np.sort(scaled * self.inputs.scale_bps(panel, origins)[:, :, None], axis=2)


def _volatilities(inputs: OriginInputs) -> Int:
    """Positions of the volatilities among the inputs."""
    names = [column.name for column in inputs.normalizer.volatility_columns]
    return np.array([inputs.normalizer.row_inputs.index(name) for name in names])


def _others(inputs: OriginInputs, panel: Panel, origins: Int) -> Float:
    """(n, V - K) all inputs but the volatilities."""
    return np.delete(inputs.at(panel, origins), _volatilities(inputs), axis=1)


def _design(inputs: OriginInputs, panel: Panel, origins: Int, reduction: PCA | None) -> Float:
    """An intercept a symbol, the volatilities, the principal components."""
    intercepts = np.eye(len(inputs.normalizer.symbols))[inputs.symbol(panel, origins)]
    parts = [intercepts, inputs.at(panel, origins)[:, _volatilities(inputs)]]
    if reduction is not None:
        scores = reduction.transform(_others(inputs, panel, origins))
        parts.append(scores / np.sqrt(np.maximum(reduction.explained_variance_, 1e-12)))
    return np.concatenate(parts, axis=1)
