"""A feature as values and the reason for each null, and the rules that windows of buckets share.

n consecutive calendar buckets. Where two reasons meet, the order is: this bucket's own gap, a window that begins before
the data (warm-up), a gap further back, undefined.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas_ray.features import kernels
from midas_ray.features.nulls import NullKind
from midas_ray.features.statistics import BoolArray, FloatArray, IntArray

KindArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Column:
    """One feature. values: (n,) float64, NaN exactly where kinds: (n,) is not NullKind.VALUE."""

    values: FloatArray
    kinds: KindArray

    @property
    def known(self) -> BoolArray:
        return self.kinds == NullKind.VALUE

    @property
    def gap(self) -> BoolArray:
        return self.kinds == NullKind.GAP

    @property
    def warming_up(self) -> BoolArray:
        return self.kinds == NullKind.WARM_UP

    @property
    def covered(self) -> BoolArray:
        """A value, or undefined while covered."""
        return (self.kinds == NullKind.VALUE) | (self.kinds == NullKind.UNDEFINED)


def column(
    values: FloatArray,
    *,
    gap: BoolArray | None = None,
    warm_up: BoolArray | None = None,
    undefined: BoolArray | None = None,
) -> Column:
    """`values` with nulls where a mask says so; a gap goes before warm-up, warm-up before undefined."""
    kinds = np.zeros(len(values), dtype=np.uint8)
    for mask, kind in ((undefined, NullKind.UNDEFINED), (warm_up, NullKind.WARM_UP), (gap, NullKind.GAP)):
        if mask is not None:
            kinds[mask] = kind
    return Column(np.where(kinds == NullKind.VALUE, values, np.nan), kinds)


def divide(numerator: FloatArray | IntArray, denominator: FloatArray | IntArray) -> FloatArray:
    """The quotient, NaN where the denominator is 0."""
    result = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator != 0)
    return result


def _lagged(values: FloatArray, buckets: int) -> FloatArray:
    """values of `buckets` earlier, NaN before the first."""
    lag = min(buckets, len(values))
    return np.concatenate([np.full(lag, np.nan), values[: len(values) - lag]])


def _window_kinds(part: Column, buckets: int, began: BoolArray) -> KindArray:
    """Why a window of so many buckets, all of them needed, is not covered; VALUE where it is."""
    kinds = np.zeros(len(part.kinds), dtype=np.uint8)
    kinds[kernels.window_count(part.gap & began, buckets) > 0] = NullKind.GAP
    kinds[kernels.window_count(began, buckets) < buckets] = NullKind.WARM_UP
    kinds[part.gap] = NullKind.GAP
    return kinds


def change(level: Column, buckets: int, began: BoolArray, log: bool) -> Column:
    """Difference (of logs) of a level over so many buckets; a gap at either end or in between is a gap.

    began: (n,) the data had begun by the end of the bucket: what lies before is warm-up, not a gap.
    """
    earlier = _lagged(level.values, buckets)
    kinds = _window_kinds(level, buckets + 1, began)
    kinds[(kinds == NullKind.VALUE) & (np.isnan(earlier) | ~level.known)] = NullKind.UNDEFINED
    known = kinds == NullKind.VALUE
    values = np.full(len(earlier), np.nan)
    if log:
        values[known] = np.log(level.values[known] / earlier[known])
    else:
        values[known] = level.values[known] - earlier[known]
    return Column(values, kinds)


def window_total(values: FloatArray, part: Column, buckets: int, began: BoolArray) -> Column:
    """`values`, sums of `part` over so many buckets, where all of them are known."""
    kinds = _window_kinds(part, buckets, began)
    undefined = kernels.window_count(part.known, buckets) < buckets
    kinds[(kinds == NullKind.VALUE) & undefined] = NullKind.UNDEFINED
    return Column(np.where(kinds == NullKind.VALUE, values, np.nan), kinds)


def estimate(
    values: FloatArray, used: IntArray, observations: Column, buckets: int, min_obs: int, gap: BoolArray
) -> Column:
    """An estimator over the last `buckets` that used `used` known observations.

    gap: (n,) this bucket's own streams were not covered. Fewer than min_obs covered buckets: warm-up. Enough of them,
    but too few known observations, or no number although there are enough (0/0): undefined.
    """
    covered = kernels.window_count(observations.covered, buckets)
    undefined = (used < min_obs) | np.isnan(values)
    return column(values, gap=gap, warm_up=covered < min_obs, undefined=undefined)
