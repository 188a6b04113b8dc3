"""From a quantile forecast to a decision: which side, and how much of a sleeve's stake.

The rule `distribution` reads the whole forecast at the last horizon: it trades where the mean of the forecast
distribution beats the round trip's cost (plus a threshold) and the probability of earning more than that cost is at
least `--min-probability`; the size is the edge over half the distance from P10 to P90, at most the whole sleeve. The
rule `median` trades a whole sleeve where the median alone beats the cost. Nothing here is fitted.

Legend: n origins, Q quantiles. Returns in bps.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.forecast.scores import reported
from midas_ray.settings import TradingSettings

Float = NDArray[np.float64]
Int = NDArray[np.int64]


_ROUNDING_BPS = 1e-6
"""Less than this is no edge, but rounding."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Decisions at every origin, arrays (n,)."""

    side: Int
    """+1 long, -1 short, 0 nothing."""
    size: Float
    """Share of a sleeve's stake, 0 to 1."""
    expected_bps: Float
    """The move that the decision rests on."""


def mean_bps(forecast_nQ: Float, quantiles_Q: Float) -> Float:
    """(n,) mean of the distribution whose quantile function runs straight between the forecast quantiles.

    Beyond the outermost ones it is flat: what cannot be known is not counted.
    """
    edges = np.concatenate([[0.0], quantiles_Q, [1.0]])
    values = np.concatenate([forecast_nQ[:, :1], forecast_nQ, forecast_nQ[:, -1:]], axis=1)
    result: Float = ((values[:, 1:] + values[:, :-1]) / 2 * np.diff(edges)).sum(axis=1)
    return result


def probability_above(forecast_nQ: Float, quantiles_Q: Float, level_n: Float) -> Float:
    """(n,) probability that the outcome exceeds `level_n`, between the forecast quantiles by straight lines.

    Beyond the outermost quantiles their own probability stands: below P2 98 %, above P98 2 %.
    """
    rows, last = np.arange(len(forecast_nQ)), len(quantiles_Q) - 1
    passed = (forecast_nQ <= level_n[:, None]).sum(axis=1)
    left, right = np.maximum(passed - 1, 0), np.minimum(passed, last)
    distance = forecast_nQ[rows, right] - forecast_nQ[rows, left]
    share = np.divide(level_n - forecast_nQ[rows, left], distance, out=np.zeros(len(rows)), where=distance > 0)
    result: Float = 1 - quantiles_Q[left] - share * (quantiles_Q[right] - quantiles_Q[left])
    return result


def decide(forecast_nQ: Float, quantiles_Q: Float, cost_n: Float, settings: TradingSettings) -> Signals:
    """Decisions on forecasts of the last horizon, given each round trip's cost; none where the cost is NaN."""
    hurdle = cost_n + settings.threshold_bps + _ROUNDING_BPS
    low, middle, high = reported(quantiles_Q)
    if settings.rule == "median":
        expected = forecast_nQ[:, middle]
        wanted = np.abs(expected) > hurdle
        return Signals(np.where(wanted, np.sign(expected), 0).astype(np.int64), np.where(wanted, 1.0, 0.0), expected)
    expected = mean_bps(forecast_nQ, quantiles_Q)
    wanted = np.abs(expected) > hurdle
    side = np.where(wanted, np.sign(expected), 0).astype(np.int64)
    at = np.flatnonzero(wanted)
    likely = np.zeros(len(side), dtype=np.bool_)
    up = probability_above(forecast_nQ[at], quantiles_Q, hurdle[at])
    down = 1 - probability_above(forecast_nQ[at], quantiles_Q, -hurdle[at])
    likely[at] = np.where(side[at] > 0, up, down) >= settings.min_probability
    half_width = np.maximum((forecast_nQ[:, high] - forecast_nQ[:, low]) / 2, 1e-9)
    size = np.clip((np.abs(expected) - hurdle) / half_width, 0, 1)
    return Signals(np.where(likely, side, 0), np.where(likely, size, 0.0), expected)
