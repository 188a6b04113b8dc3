"""Linear quantile regression on the inputs at the origin (Koenker and Bassett 1978), by statsmodels.

One regression a horizon and quantile, of returns in units of the HAR volatility, with an intercept a symbol. Legend: n
origins, V inputs, H horizons, Q quantiles.
"""

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from midas_ray.dataset.panel import Panel
from midas_ray.forecast.baselines.inputs import OriginInputs
from midas_ray.forecast.baselines.task import Task

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MOST_ROWS = 20_000
"""Training windows used; of more, as many are drawn with the task's seed."""
LEAST_ROWS_A_COEFFICIENT = 5
"""With fewer training windows only the volatilities are inputs, and the note says so."""
_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class LinearQuantiles:
    """The fitted regressions."""

    inputs: OriginInputs
    coefficients_HQV: Float
    """The first places are the symbols' intercepts."""
    volatilities_only: bool

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
        x = _design(inputs, task.panel, train, False)
        few = len(x) < LEAST_ROWS_A_COEFFICIENT * x.shape[1]
        if few:
            x = _design(inputs, task.panel, train, True)
        y = task.actual_bps(train) / inputs.scale_bps(task.panel, train)
        result = np.empty((task.output_length, len(task.quantiles), x.shape[1]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a solver that stops at its limit of iterations is judged like any other
            for h in range(task.output_length):
                for k, tau in enumerate(task.quantiles):
                    fitted = QuantReg(y[:, h], x).fit(q=tau, vcov="iid", max_iter=200, p_tol=_TOLERANCE)
                    result[h, k] = fitted.params
        return cls(inputs, result, few)

    @property
    def note(self) -> str:
        only = ", volatilities only: too few windows for more" if self.volatilities_only else ""
        return f"{self.coefficients_HQV.shape[2]} coefficients a horizon and quantile{only}"

    def predict(self, panel: Panel, origins: Int) -> Float:
        """(n, H, Q), bps, sorted."""
        x = _design(self.inputs, panel, origins, self.volatilities_only)
        scaled = np.einsum("nv,hqv->nhq", x, self.coefficients_HQV)
        return np.sort(scaled * self.inputs.scale_bps(panel, origins)[:, :, None], axis=2)


def _design(inputs: OriginInputs, panel: Panel, origins: Int, volatilities_only: bool) -> Float:
    intercepts = np.eye(len(inputs.normalizer.symbols))[inputs.symbol(panel, origins)]
    x = inputs.at(panel, origins)
    if volatilities_only:
        names = [column.name for column in inputs.normalizer.volatility_columns]
        x = x[:, [inputs.normalizer.row_inputs.index(name) for name in names]]
    return np.concatenate([intercepts, x], axis=1)
