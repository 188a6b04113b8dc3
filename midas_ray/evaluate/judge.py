"""Judged forecasts: all forecasters on the same origins, with the uncertainty of every score.

Legend: n origins, H horizons, Q quantiles, T moments. Losses in bps; shares and skills as fractions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from midas_ray.errors import DataError, TooFewRowsError
from midas_ray.evaluate import significance
from midas_ray.evaluate.significance import DieboldMariano, Estimates
from midas_ray.forecast.baselines import LEARNED
from midas_ray.forecast.scores import (
    at_or_below,
    inside,
    pinball_loss_bps,
    reported,
    skill,
    weighted_interval_score_bps,
)

Float = NDArray[np.float64]
Float32 = NDArray[np.float32]
Int = NDArray[np.int64]

RAW, CALIBRATED, ADAPTIVE = "raw", "calibrated", "adaptive"
FORMS = (RAW, CALIBRATED, ADAPTIVE)
REGIMES = ("calm", "normal", "wild")
"""Thirds of the training part by the HAR volatility at the origin."""
HOURS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """Out-of-sample forecasts of all forecasters, sorted by (ts, symbol)."""

    judged: str
    """Name of the forecaster under judgement; the others are its baselines."""
    quantiles_Q: Float
    origins: Int
    """(n,) rows of the panel."""
    ts_us: Int
    symbol_index: Int
    fold: Int
    """(n,) number of the fold, from 1."""
    regime: Int
    """(n,) position in REGIMES, by thresholds of the fold's training part."""
    actual_nH: Float
    raw_nHQ: dict[str, Float32]
    """As fitted, by forecaster."""
    calibrated_nHQ: dict[str, Float32]
    """Moved by the conformal offsets of the fold's calibration part, by forecaster."""
    adaptive_nHQ: dict[str, Float32]
    """Moved by levels that follow the outcomes; of the judged forecaster alone."""

    @property
    def baselines(self) -> tuple[str, ...]:
        return tuple(name for name in self.raw_nHQ if name != self.judged)

    def form(self, name: str, form: str) -> Float32:
        """(n, H, Q) quantiles of one forecaster in one form. Raises KeyError where that form was not made."""
        return {RAW: self.raw_nHQ, CALIBRATED: self.calibrated_nHQ, ADAPTIVE: self.adaptive_nHQ}[form][name]

    def delivered(self, name: str) -> Float32:
        """(n, H, Q) what the forecaster delivers: calibrated where it learns from features, as fitted otherwise."""
        return self.form(name, delivered_form(name))

    def variants(self) -> list[tuple[str, str]]:
        """Every (name, form) there is."""
        made = {RAW: self.raw_nHQ, CALIBRATED: self.calibrated_nHQ, ADAPTIVE: self.adaptive_nHQ}
        return [(name, form) for name in self.raw_nHQ for form in FORMS if name in made[form]]

    @classmethod
    def join(cls, parts: "Sequence[Forecasts]") -> "Forecasts":
        """Folds as one, sorted by (ts, symbol)."""
        ts_us = np.concatenate([part.ts_us for part in parts])
        symbol_index = np.concatenate([part.symbol_index for part in parts])
        order = np.lexsort((symbol_index, ts_us))

        def joined(name: str) -> object:
            values = [getattr(part, name) for part in parts]
            if isinstance(values[0], dict):
                return {key: np.concatenate([value[key] for value in values])[order] for key in values[0]}
            return np.concatenate(values)[order]

        same = {"judged": parts[0].judged, "quantiles_Q": parts[0].quantiles_Q}
        others = {field.name: joined(field.name) for field in fields(cls) if field.name not in same}
        return cls(**same, **others)  # type: ignore[arg-type]

    def select(self, mask: NDArray[np.bool_]) -> "Forecasts":
        """The origins where `mask` is true."""
        changed: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, dict):
                changed[field.name] = {key: array[mask] for key, array in value.items()}
            elif field.name not in {"judged", "quantiles_Q"}:
                changed[field.name] = value[mask]
        return replace(self, **changed)  # type: ignore[arg-type]


def delivered_form(name: str) -> str:
    """The form that stands for a forecaster wherever only one is shown."""
    return CALIBRATED if name in LEARNED else RAW


@dataclass(frozen=True, slots=True)
class SkillOver:
    """Skill of the judged forecaster over one baseline, 1 - loss/baseline loss, both as delivered."""

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
    """Share from P10 to P90, all horizons."""
    coverage_by_horizon: Estimates
    """(H,)"""
    outer_coverage: Estimates
    """Share from the lowest to the highest quantile, all horizons."""


@dataclass(frozen=True, slots=True)
class VariantScores:
    """One forecaster in one form."""

    loss_HQ: Float
    """Mean pinball loss, bps."""
    mean_pinball: Estimates
    """Over horizons and quantiles, bps."""
    weighted_interval_score: Estimates
    """Mean over horizons, bps (Bracher et al. 2021)."""
    width_bps: float
    """Mean distance from P10 to P90."""
    calibration: Calibration


@dataclass(frozen=True, slots=True)
class Scores:
    """All scores of one set of forecasts, from one bootstrap."""

    n_origins: int
    n_moments: int
    block_length: int
    variants: dict[tuple[str, str], VariantScores]
    """By (name, form)."""
    skill: dict[str, SkillOver]
    """By baseline."""
    coverage_by_regime: Estimates
    """(3,) P10 to P90 of the judged forecaster as delivered; NaN where a regime did not occur."""
    coverage_by_hour: Estimates
    """(24,) the same by UTC hour of the origin."""
    diebold_mariano: dict[str, DieboldMariano]
    """Judged against each baseline, mean pinball loss of a moment; a negative statistic favours the judged one."""
    any_beats_trailing: float | None
    """SPA p-value that no forecaster beats `trailing`; None without it."""
    any_beats_judged: float | None
    """SPA p-value that no baseline beats the judged forecaster; None without baselines."""

    def delivered(self, name: str) -> VariantScores:
        return self.variants[name, delivered_form(name)]


@dataclass(frozen=True, slots=True)
class _Totals:
    """Sums over origins of one variant: the data's own in row 0, then those of each resample."""

    loss: Float
    """(1 + B, H, Q)"""
    below: Float
    """(1 + B, H, Q)"""
    inside: Float
    """(1 + B, H)"""
    inside_outermost: Float
    """(1 + B, H)"""
    interval_score: Float
    """(1 + B, H)"""
    width: float


@dataclass(frozen=True, slots=True)
class _Sampler:
    """Totals of any columns over the same resamples."""

    ts_us: Int
    length: int
    n_moments: int

    @property
    def n_blocks(self) -> float:
        return self.n_moments / self.length

    def totals(self, columns_nK: Float) -> Float:
        """(1 + B, K)"""
        sums = significance.sum_by_moment(self.ts_us, columns_nK)
        return np.concatenate([sums.sum(axis=0)[None], significance.resampled_sums(sums, self.length)])

    def estimates(self, samples: Float) -> Estimates:
        """The first row is the estimate, the others are resamples."""
        return Estimates(samples[0], *significance.interval(samples[0], samples[1:], self.n_blocks))

    def shares(self, samples: Float) -> Estimates:
        """Estimates of shares: the interval ends at 0 and 1."""
        found = self.estimates(samples)
        return Estimates(found.value, np.clip(found.lower, 0, 1), np.clip(found.upper, 0, 1))


def _variant_totals(forecasts: Forecasts, sampler: _Sampler, forecast_nHQ: Float32) -> _Totals:
    n, horizons = forecasts.actual_nH.shape
    quantiles = forecasts.quantiles_Q
    forecast = forecast_nHQ.astype(np.float64)
    low, _, high = reported(quantiles)
    totals = sampler.totals(
        np.concatenate(
            [
                pinball_loss_bps(forecasts.actual_nH, forecast, quantiles).reshape(n, -1),
                at_or_below(forecasts.actual_nH, forecast).reshape(n, -1).astype(np.float64),
                inside(forecasts.actual_nH, forecast[:, :, [low, high]]).astype(np.float64),
                inside(forecasts.actual_nH, forecast).astype(np.float64),
                weighted_interval_score_bps(forecasts.actual_nH, forecast, quantiles),
            ],
            axis=1,
        )
    )
    cell = horizons * len(quantiles)
    ends = np.cumsum([cell, cell, horizons, horizons])
    loss, below, within, outer, score = np.split(totals, ends, axis=1)
    shape = (-1, horizons, len(quantiles))
    return _Totals(
        loss.reshape(shape), below.reshape(shape), within, outer, score,
        float((forecast[:, :, high] - forecast[:, :, low]).mean()),
    )  # fmt: skip


def _variant_scores(totals: _Totals, sampler: _Sampler, count: Float) -> VariantScores:
    """`count` (1 + B, 1): origins of each resample."""
    horizons = totals.inside.shape[1]
    return VariantScores(
        loss_HQ=totals.loss[0] / count[0],
        mean_pinball=sampler.estimates(totals.loss.mean(axis=(1, 2)) / count[:, 0]),
        weighted_interval_score=sampler.estimates(totals.interval_score.sum(axis=1) / horizons / count[:, 0]),
        width_bps=totals.width,
        calibration=Calibration(
            below=sampler.shares(totals.below.mean(axis=1) / count),
            coverage=sampler.shares(totals.inside.mean(axis=1) / count[:, 0]),
            coverage_by_horizon=sampler.shares(totals.inside / count),
            outer_coverage=sampler.shares(totals.inside_outermost.mean(axis=1) / count[:, 0]),
        ),
    )


def _skill_over(loss: Float, reference: Float, sampler: _Sampler) -> SkillOver:
    return SkillOver(
        pooled=sampler.estimates(skill(loss.sum(axis=(1, 2)), reference.sum(axis=(1, 2)))),
        by_horizon=sampler.estimates(skill(loss.sum(axis=2), reference.sum(axis=2))),
        by_quantile=sampler.estimates(skill(loss.sum(axis=1), reference.sum(axis=1))),
        by_cell=sampler.estimates(skill(loss, reference)),
    )


def _coverage_by(forecasts: Forecasts, sampler: _Sampler, group_n: Int, groups: int) -> Estimates:
    """(groups,) P10 to P90 coverage of the judged forecaster by group; NaN where a group is empty in the data."""
    low, _, high = reported(forecasts.quantiles_Q)
    delivered = forecasts.delivered(forecasts.judged)[:, :, [low, high]].astype(np.float64)
    covered = inside(forecasts.actual_nH, delivered).mean(axis=1)
    member = group_n[:, None] == np.arange(groups)
    totals = sampler.totals(np.concatenate([member * covered[:, None], member.astype(np.float64)], axis=1))
    hits, count = totals[:, :groups], totals[:, groups:]
    with np.errstate(invalid="ignore", divide="ignore"):
        found = hits / count
    found = np.where(np.isnan(found) & ~np.isnan(found[0]), found[0], found)  # a resample without the group
    return sampler.shares(found)


def _moment_losses(forecasts: Forecasts, names: Sequence[str]) -> dict[str, Float]:
    """(T,) mean pinball loss of each moment, by forecaster as delivered."""
    starts = np.flatnonzero(np.r_[True, forecasts.ts_us[1:] != forecasts.ts_us[:-1]])
    count = np.diff(np.r_[starts, len(forecasts.ts_us)])
    losses = {}
    for name in names:
        delivered = forecasts.delivered(name).astype(np.float64)
        each = pinball_loss_bps(forecasts.actual_nH, delivered, forecasts.quantiles_Q).mean(axis=(1, 2))
        losses[name] = np.add.reduceat(each, starts) / count
    return losses


def _superiority(losses: dict[str, Float], benchmark: str, length: int) -> float | None:
    others = [name for name in losses if name != benchmark]
    if benchmark not in losses or not others:
        return None
    return significance.superior_predictive_ability(
        losses[benchmark], np.column_stack([losses[name] for name in others]), length
    )


def score(forecasts: Forecasts, *, every_form: bool = True) -> Scores:
    """Losses, skills, calibration and tests, with block-bootstrap intervals.

    `every_form`: raw, calibrated and adaptive of all; otherwise each forecaster as delivered. Raises TooFewRowsError
    where the moments do not fill enough blocks for an interval, DataError where no price moved.
    """
    horizon = forecasts.actual_nH.shape[1]
    n_moments = len(np.unique(forecasts.ts_us))
    least = significance.least_moments(horizon)
    if n_moments < least:
        raise TooFewRowsError(
            f"too few rows to judge: expected windows at {least} moments or more for an interval, found {n_moments}; "
            "collect more, or lower --output-length"
        )
    if not forecasts.actual_nH.any():
        raise DataError(f"expected a price that moves, found {len(forecasts.origins)} windows in which it stands still")
    names = (forecasts.judged, *forecasts.baselines)
    losses = _moment_losses(forecasts, names)
    differences = [losses[name] - losses[forecasts.judged] for name in forecasts.baselines]
    lengths = [significance.block_length(n_moments, horizon, d) for d in (differences or [losses[forecasts.judged]])]
    sampler = _Sampler(forecasts.ts_us, max(lengths), n_moments)
    count = sampler.totals(np.ones((len(forecasts.origins), 1)))
    variants = forecasts.variants() if every_form else [(name, delivered_form(name)) for name in names]
    totals = {key: _variant_totals(forecasts, sampler, forecasts.form(*key)) for key in variants}
    delivered = {name: totals[name, delivered_form(name)].loss for name in names}
    hour = (forecasts.ts_us // 3_600_000_000) % HOURS
    return Scores(
        n_origins=len(forecasts.origins),
        n_moments=n_moments,
        block_length=sampler.length,
        variants={key: _variant_scores(total, sampler, count) for key, total in totals.items()},
        skill={
            name: _skill_over(delivered[forecasts.judged], delivered[name], sampler) for name in forecasts.baselines
        },
        coverage_by_regime=_coverage_by(forecasts, sampler, forecasts.regime, len(REGIMES)),
        coverage_by_hour=_coverage_by(forecasts, sampler, hour, HOURS),
        diebold_mariano={
            name: significance.diebold_mariano(losses[forecasts.judged], losses[name], horizon)
            for name in forecasts.baselines
        },
        any_beats_trailing=_superiority(losses, "trailing", sampler.length),
        any_beats_judged=_superiority(losses, forecasts.judged, sampler.length),
    )


def mean_per_trade(forecasts: Forecasts, origin: Int, net_bps: Float, size: Float) -> Estimates:
    """Mean net result of a round trip, bps, weighted by size: what each unit of notional earned.

    The interval is of the same block bootstrap over moments of decision.
    """
    columns = np.zeros((len(forecasts.origins), 2))
    np.add.at(columns, origin, np.column_stack([size * net_bps, size]))
    n_moments = len(np.unique(forecasts.ts_us))
    length = significance.block_length(n_moments, forecasts.actual_nH.shape[1])
    sampler = _Sampler(forecasts.ts_us, length, n_moments)
    totals = sampler.totals(columns)
    traded = totals[totals[:, 1] > 0]
    return sampler.estimates(traded[:, 0] / traded[:, 1])
