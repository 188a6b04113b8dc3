"""Judged forecasts: model and baselines on the same origins, with the uncertainty of every score.

Legend: n origins, H horizons, Q quantiles. Losses in bps; shares and skills as fractions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from midas_ray.errors import DataError, TooFewRowsError
from midas_ray.evaluate import significance
from midas_ray.evaluate.significance import Estimates
from midas_ray.forecast.scores import at_or_below, inside, pinball_loss_bps, skill

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MODEL, TRAILING, EWMA = "model", "trailing", "ewma"
FORECASTERS = (MODEL, TRAILING, EWMA)
BASELINES = (TRAILING, EWMA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """Out-of-sample forecasts of the model and the baselines, sorted by (ts, symbol)."""

    quantiles_Q: Float
    origins: Int
    """(n,) rows of the panel."""
    ts_us: Int
    symbol_index: Int
    fold: Int
    """(n,) number of the fold, from 1."""
    actual_nH: Float
    forecast_nHQ: dict[str, Float]
    """By forecaster: model, trailing, ewma."""

    @classmethod
    def join(cls, parts: "list[Forecasts]") -> "Forecasts":
        """Folds in order of time, as one."""
        return cls(
            quantiles_Q=parts[0].quantiles_Q,
            origins=np.concatenate([part.origins for part in parts]),
            ts_us=np.concatenate([part.ts_us for part in parts]),
            symbol_index=np.concatenate([part.symbol_index for part in parts]),
            fold=np.concatenate([part.fold for part in parts]),
            actual_nH=np.concatenate([part.actual_nH for part in parts]),
            forecast_nHQ={name: np.concatenate([part.forecast_nHQ[name] for part in parts]) for name in FORECASTERS},
        )

    def select(self, mask: NDArray[np.bool_]) -> "Forecasts":
        """The origins where `mask` is true."""
        return Forecasts(
            quantiles_Q=self.quantiles_Q,
            origins=self.origins[mask],
            ts_us=self.ts_us[mask],
            symbol_index=self.symbol_index[mask],
            fold=self.fold[mask],
            actual_nH=self.actual_nH[mask],
            forecast_nHQ={name: forecast[mask] for name, forecast in self.forecast_nHQ.items()},
        )


@dataclass(frozen=True, slots=True)
class SkillOver:
    """Skill of the model over one baseline, 1 - loss/baseline loss."""

    pooled: Estimates
    by_horizon: Estimates
    """(H,)"""
    by_quantile: Estimates
    """(Q,)"""
    by_cell: Estimates
    """(H, Q)"""


@dataclass(frozen=True, slots=True)
class Calibration:
    """How often outcomes fell where a forecaster said they would."""

    below: Estimates
    """(Q,) share at or below each quantile, all horizons."""
    coverage: Estimates
    """Share between the lowest and the highest quantile, all horizons."""
    coverage_by_horizon: Estimates
    """(H,)"""


@dataclass(frozen=True, slots=True)
class Scores:
    """All scores of one set of forecasts, from one bootstrap."""

    n_origins: int
    n_moments: int
    block_length: int
    loss_HQ: dict[str, Float]
    skill: dict[str, SkillOver]
    """By baseline."""
    calibration: dict[str, Calibration]
    """By forecaster."""


@dataclass(frozen=True, slots=True)
class _Totals:
    """Sums over origins: the data's own in row 0, then those of each resample."""

    count: Float
    """(1 + B, 1)"""
    loss: dict[str, Float]
    """(1 + B, H, Q)"""
    below: dict[str, Float]
    """(1 + B, H, Q)"""
    inside: dict[str, Float]
    """(1 + B, H)"""
    n_blocks: float


def _totals(forecasts: Forecasts, length: int) -> _Totals:
    n, horizons = forecasts.actual_nH.shape
    n_quantiles = len(forecasts.quantiles_Q)
    actual = forecasts.actual_nH
    parts = [np.ones((n, 1))]
    for name in FORECASTERS:
        forecast = forecasts.forecast_nHQ[name]
        parts.append(pinball_loss_bps(actual, forecast, forecasts.quantiles_Q).reshape(n, -1))
        parts.append(at_or_below(actual, forecast).reshape(n, -1).astype(np.float64))
        parts.append(inside(actual, forecast).astype(np.float64))
    sums = significance.sum_by_moment(forecasts.ts_us, np.concatenate(parts, axis=1))
    totals = np.concatenate([sums.sum(axis=0)[None], significance.resampled_sums(sums, length)])
    cell = horizons * n_quantiles
    stride = 2 * cell + horizons
    loss, below, within = {}, {}, {}
    for k, name in enumerate(FORECASTERS):
        block = totals[:, 1 + k * stride : 1 + (k + 1) * stride]
        loss[name] = block[:, :cell].reshape(-1, horizons, n_quantiles)
        below[name] = block[:, cell : 2 * cell].reshape(-1, horizons, n_quantiles)
        within[name] = block[:, 2 * cell :]
    return _Totals(totals[:, :1], loss, below, within, len(sums) / length)


def _estimates(samples: Float, n_blocks: float) -> Estimates:
    """The first row is the estimate, the others are resamples."""
    return Estimates(samples[0], *significance.interval(samples[0], samples[1:], n_blocks))


def _shares(samples: Float, n_blocks: float) -> Estimates:
    """Estimates of shares: the interval ends at 0 and 1."""
    found = _estimates(samples, n_blocks)
    return Estimates(found.value, np.clip(found.lower, 0, 1), np.clip(found.upper, 0, 1))


def _skill_over(totals: _Totals, baseline: str) -> SkillOver:
    loss, reference = totals.loss[MODEL], totals.loss[baseline]
    return SkillOver(
        pooled=_estimates(skill(loss.sum(axis=(1, 2)), reference.sum(axis=(1, 2))), totals.n_blocks),
        by_horizon=_estimates(skill(loss.sum(axis=2), reference.sum(axis=2)), totals.n_blocks),
        by_quantile=_estimates(skill(loss.sum(axis=1), reference.sum(axis=1)), totals.n_blocks),
        by_cell=_estimates(skill(loss, reference), totals.n_blocks),
    )


def _calibration(totals: _Totals, name: str) -> Calibration:
    return Calibration(
        below=_shares(totals.below[name].mean(axis=1) / totals.count, totals.n_blocks),
        coverage=_shares(totals.inside[name].mean(axis=1) / totals.count[:, 0], totals.n_blocks),
        coverage_by_horizon=_shares(totals.inside[name] / totals.count, totals.n_blocks),
    )


def score(forecasts: Forecasts) -> Scores:
    """Losses, skills and calibration with block-bootstrap intervals.

    Raises TooFewRowsError where the moments do not fill enough blocks for an interval, DataError where no price moved.
    """
    n_moments = len(np.unique(forecasts.ts_us))
    least = significance.least_moments(forecasts.actual_nH.shape[1])
    if n_moments < least:
        raise TooFewRowsError(
            f"too few rows to judge: expected windows at {least} moments or more for an interval, found {n_moments}; "
            "collect more, or lower --output-length"
        )
    length = significance.block_length(n_moments, forecasts.actual_nH.shape[1])
    totals = _totals(forecasts, length)
    if not forecasts.actual_nH.any():
        raise DataError(f"expected a price that moves, found {len(forecasts.origins)} windows in which it stands still")
    return Scores(
        n_origins=len(forecasts.origins),
        n_moments=n_moments,
        block_length=length,
        loss_HQ={name: loss[0] / totals.count[0] for name, loss in totals.loss.items()},
        skill={name: _skill_over(totals, name) for name in BASELINES},
        calibration={name: _calibration(totals, name) for name in FORECASTERS},
    )


def mean_per_trade(forecasts: Forecasts, origin: Int, net_bps: Float) -> Estimates:
    """Mean net result of a round trip, bps, with the interval of the same block bootstrap over moments of decision."""
    columns = np.zeros((len(forecasts.origins), 2))
    columns[origin, 0] = net_bps
    columns[origin, 1] = 1
    sums = significance.sum_by_moment(forecasts.ts_us, columns)
    length = significance.block_length(len(sums), forecasts.actual_nH.shape[1])
    totals = np.concatenate([sums.sum(axis=0)[None], significance.resampled_sums(sums, length)])
    traded = totals[totals[:, 1] > 0]
    return _estimates(traded[:, 0] / traded[:, 1], len(sums) / length)
