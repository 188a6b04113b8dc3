"""Scores of quantile forecasts: pinball loss, coverage, observed shares.

Legend: n origins, H horizons, Q quantiles. Returns and losses in bps of the price at the origin.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from midas_ray.setting_values import REPORTED_QUANTILES

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


def reported(quantiles: Sequence[float] | Float) -> tuple[int, int, int]:
    """Positions of P10, P50 and P90. Raises ValueError where one is not among the quantiles."""
    taus = np.asarray(quantiles)
    found = [np.flatnonzero(np.isclose(taus, tau)) for tau in REPORTED_QUANTILES]
    if not all(len(at) for at in found):
        raise ValueError(f"expected {REPORTED_QUANTILES} among the quantiles, got {taus.tolist()}")
    low, middle, high = (int(at[0]) for at in found)
    return low, middle, high


def pinball_loss_bps(actual_nH: Float, forecast_nHQ: Float, quantiles_Q: Float) -> Float:
    """Loss (n, H, Q): tau (y - q) above the forecast, (1 - tau) (q - y) below it (Koenker and Bassett 1978).

    Example: y = 3, q = 1, tau = 0.9 gives 1.8; y = 1, q = 3 gives 0.2.
    """
    error = actual_nH[:, :, None] - forecast_nHQ
    return np.maximum(quantiles_Q * error, (quantiles_Q - 1) * error)


def at_or_below(actual_nH: Float, forecast_nHQ: Float) -> Bool:
    """(n, H, Q) whether the outcome was at or below the forecast quantile: a share of tau where calibrated.

    A price that has not moved is at, not below, a quantile of zero return; with many such outcomes (an illiquid
    symbol) the share at the median exceeds 50 % for every honest forecast.
    """
    return actual_nH[:, :, None] <= forecast_nHQ


def inside(actual_nH: Float, forecast_nHQ: Float) -> Bool:
    """(n, H) whether the outcome lay within the lowest and the highest quantile, both included."""
    return (actual_nH >= forecast_nHQ[:, :, 0]) & (actual_nH <= forecast_nHQ[:, :, -1])


def weighted_interval_score_bps(actual_nH: Float, forecast_nHQ: Float, quantiles_Q: Float) -> Float:
    """(n, H) weighted interval score over the central intervals that the quantiles form (Bracher et al. 2021).

    Quantiles without their mirror image, and the median, stand alone; computed by `scoringrules`.
    """
    from scoringrules import weighted_interval_score

    mirrored = [k for k, tau in enumerate(quantiles_Q) if tau < 0.5 and np.isclose(quantiles_Q, 1 - tau).any()]
    lower = forecast_nHQ[:, :, mirrored]
    upper = forecast_nHQ[:, :, [int(np.argmin(np.abs(quantiles_Q - (1 - quantiles_Q[k])))) for k in mirrored]]
    median = forecast_nHQ[:, :, reported(quantiles_Q)[1]]
    result: Float = weighted_interval_score(actual_nH, median, lower, upper, 2 * quantiles_Q[mirrored])
    return result


def skill(loss: Float, baseline_loss: Float) -> Float:
    """1 - loss/baseline loss: 0 = as good as the baseline, 1 = perfect. NaN where the baseline loss is 0."""
    return 1 - np.divide(loss, baseline_loss, out=np.full_like(loss, np.nan), where=baseline_loss > 0)
