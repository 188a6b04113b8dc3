"""Conformal calibration of quantile forecasts: fitted on a stretch that training never saw.

Each quantile is moved on its own (the asymmetric form of Romano, Patterson and Candès 2019, "Conformalized quantile
regression"), per horizon, by an offset in units of the forecast's own width, so that a quiet and a wild market share
one calibration. On exchangeable data the moved quantile tau holds at least a share tau (above the median; at most,
below it) whatever the forecast. Returns of overlapping windows are not exchangeable and markets change: the guarantee
becomes an approximation, which is why coverage is always reported with its interval, and why there is an adaptive form
(Gibbs and Candès 2021, "Adaptive conformal inference under distribution shift") whose level follows the outcomes as
they become known.

Few windows say little about an outer quantile, and windows that overlap, or symbols that move together, say it again:
offsets are shrunk towards 0 by N / (N + PRIOR_WINDOWS), N the windows that share no outcome. (Measured: on 5 such
windows of a simulated market the plain offsets turned a coverage of 82 % into one of 95 %.)

Legend: n origins, H horizons, Q quantiles, G levels of the table of scores, S symbols. Returns in bps.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from midas_ray.errors import TooFewRowsError
from midas_ray.forecast.scores import reported

Float = NDArray[np.float64]
Int = NDArray[np.int64]

LEAST_WINDOWS = 3
PRIOR_WINDOWS = 100.0
"""Independent windows that weigh as much as the belief that the forecast is right as it is: the sampling error of a P10
is 0.67 / sqrt(N) of the width, true errors are some 0.07 of it."""
_LEVELS = 501
_LEAST_WIDTH_BPS = 1e-3
_LEAST_SHARE = 0.1
STEP = 0.002
"""How far one outcome moves the level of the adaptive form at horizon 1; at h, where outcomes overlap, 1/h of it.
The paper's 0.005 at every horizon cost 2 % of the pinball loss on 30 days of bars: levels wander with the noise."""


def width_bps(forecast_nHQ: Float, quantiles_Q: Float) -> Float:
    """(n, H) P10 to P90 of a forecast, never 0."""
    low, _, high = reported(quantiles_Q)
    return np.maximum(forecast_nHQ[:, :, high] - forecast_nHQ[:, :, low], _LEAST_WIDTH_BPS)


def _order(n: int, tau: float) -> int:
    """Position among n sorted scores: the finite-sample correction lies on the outer side of the quantile.

    Example: of 99 scores the 90th stands for 0.9 and the 10th for 0.1; of 20 scores the 19th and the 2nd.
    """
    from_below = int(np.ceil((n + 1) * tau - 1e-9))
    from_above = n + 1 - int(np.ceil((n + 1) * (1 - tau) - 1e-9))
    position = from_below if tau > 0.5 else from_above if tau < 0.5 else (n + 1) // 2
    return min(max(position, 1), n) - 1


def independent_windows(ts_us: Int, bucket_us: int, horizons: int) -> float:
    """How many windows with origins `ts_us` (n,) share no outcome: moments over H, as symbols move together."""
    return max(len(np.unique(ts_us // bucket_us)) / horizons, 1.0)


@dataclass(frozen=True, slots=True)
class Conformal:
    """Offsets of every quantile and horizon, in widths of the forecast."""

    quantiles: tuple[float, ...]
    offsets: Float
    """(H, Q)"""
    least_width_bps: Float
    """(H,) a tenth of the median width of the calibration part: a narrower forecast is moved as if it were so wide. In
    a market that stands still for minutes trailing quantiles have no width at all."""
    scores: Float
    """(H, Q, G) quantiles of the calibration's scores at G even levels from 0 to 1: what the adaptive form reads."""

    @classmethod
    def fit(cls, actual_nH: Float, raw_nHQ: Float, quantiles: tuple[float, ...], independent: float = math.inf) -> Self:
        """Fit on forecasts of the calibration part and their outcomes.

        `independent`: how many of the windows share no outcome with another, see `independent_windows`; without it the
        offsets are those of the paper. Raises TooFewRowsError with fewer than LEAST_WINDOWS windows.
        """
        n = len(actual_nH)
        if n < LEAST_WINDOWS:
            raise TooFewRowsError(
                f"too few rows to calibrate: expected {LEAST_WINDOWS} windows in the calibration part, found {n}; "
                "collect more"
            )
        width = width_bps(raw_nHQ, np.array(quantiles))
        least = np.maximum(_LEAST_SHARE * np.median(width, axis=0), _LEAST_WIDTH_BPS)
        scores = np.sort((actual_nH[:, :, None] - raw_nHQ) / np.maximum(width, least)[:, :, None], axis=0)
        offsets = np.stack([scores[_order(n, tau), :, k] for k, tau in enumerate(quantiles)], axis=1)
        weight = 1.0 if math.isinf(independent) else independent / (independent + PRIOR_WINDOWS)
        offsets *= weight
        table = np.quantile(scores, np.linspace(0, 1, _LEVELS), axis=0)
        return cls(tuple(quantiles), offsets, least, np.ascontiguousarray(np.moveaxis(table, 0, -1)))

    def unit_bps(self, raw_nHQ: Float) -> Float:
        """(n, H, 1) unit of the offsets and scores."""
        return np.maximum(width_bps(raw_nHQ, np.array(self.quantiles)), self.least_width_bps)[:, :, None]

    def apply(self, raw_nHQ: Float) -> Float:
        """(n, H, Q) moved quantiles, sorted. NaN stays NaN."""
        return np.sort(raw_nHQ + self.offsets * self.unit_bps(raw_nHQ), axis=2)

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, for a model folder."""
        return {
            "quantiles": list(self.quantiles),
            "offsets": self.offsets.tolist(),
            "least_width_bps": self.least_width_bps.tolist(),
            "scores": self.scores.tolist(),
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        arrays = (np.array(stored[name]) for name in ("offsets", "least_width_bps", "scores"))
        return cls(tuple(stored["quantiles"]), *arrays)


@dataclass(slots=True)
class _Levels:
    """The running levels of the adaptive form."""

    conformal: Conformal
    level_SHQ: Float

    def moved(self, raw_SHQ: Float) -> Float:
        """The quantiles of one moment, moved by the offsets and by how far the levels have gone since."""
        taus = np.array(self.conformal.quantiles)
        gone = self._scores_at(self.level_SHQ) - self._scores_at(np.broadcast_to(taus, self.level_SHQ.shape))
        return raw_SHQ + (self.conformal.offsets + gone) * self.conformal.unit_bps(raw_SHQ)

    def _scores_at(self, level_SHQ: Float) -> Float:
        position = np.clip(level_SHQ, 0, 1) * (_LEVELS - 1)
        below = np.minimum(position.astype(np.int64), _LEVELS - 2)
        h, q = np.ogrid[: level_SHQ.shape[1], : level_SHQ.shape[2]]
        scores = self.conformal.scores
        low, high = scores[h, q, below], scores[h, q, below + 1]
        return low + (position - below) * (high - low)


def adapt(
    conformal: Conformal, ts_us: Int, bucket_us: int, symbol: Int, actual_nH: Float, raw_nHQ: Float, step: float = STEP
) -> Float:
    """(n, H, Q) adaptively calibrated quantiles of consecutive forecasts, sorted along the last axis.

    The level of each (symbol, horizon, quantile) begins at tau and, once an outcome is known, moves by
    step / h x (tau - [outcome at or below the quantile]). An outcome of horizon h is used from ts + h buckets on, never
    before. `ts_us` and `symbol` (n,), in any order; rows with NaN forecasts are passed through.
    """
    taus = np.array(conformal.quantiles)
    horizons = raw_nHQ.shape[1]
    moments, moment_of = np.unique(ts_us, return_inverse=True)
    symbols, symbol_of = np.unique(symbol, return_inverse=True)
    row_of = np.full((len(moments), len(symbols)), -1)
    row_of[moment_of, symbol_of] = np.arange(len(ts_us))
    start = np.broadcast_to(taus, (len(symbols), horizons, len(taus))).copy()
    levels = _Levels(conformal, start)
    below = np.full(raw_nHQ.shape, np.nan)
    result = np.full(raw_nHQ.shape, np.nan)
    known_until = np.zeros(horizons, dtype=np.int64)
    for now, moment_us in enumerate(moments):
        for h in range(horizons):
            while moments[known_until[h]] + (h + 1) * bucket_us <= moment_us:
                rows = row_of[known_until[h]]
                seen = below[rows, h]
                error = np.where((rows >= 0)[:, None] & np.isfinite(seen), taus - seen, 0.0)
                levels.level_SHQ[:, h] += step / (h + 1) * error
                known_until[h] += 1
        rows = row_of[now]
        here = rows >= 0
        moved = levels.moved(raw_nHQ[rows])[here]
        result[rows[here]] = np.sort(moved, axis=2)
        known = np.isfinite(moved)
        below[rows[here]] = np.where(known, actual_nH[rows[here]][:, :, None] <= moved, np.nan)
    return result
