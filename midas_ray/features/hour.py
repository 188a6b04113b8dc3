"""The heavy pass, pure: one symbol-hour of clean rows to the statistics of its buckets.

Bucket b of the hour that starts at H is [H + b D, H + (b + 1) D); grid rows belong to it with ts in (start, end], since
a row is the state at its ts, prints and forced orders with time in [start, end). r grid rows, p prints, n buckets.
"""

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from midas_ray.errors import DataError
from midas_ray.features import kernels
from midas_ray.features.coverage import lost_per_bucket
from midas_ray.features.hour_rows import HOUR_US, SECOND_US, GridRows, Hour, Prints, TopRow, row_buckets, to_ints
from midas_ray.features.statistics import (
    BookStatistics,
    DerivativeStatistics,
    FloatArray,
    Histogram,
    IntArray,
    Statistics,
    TradeStatistics,
)

LEVELS = 10
NEVER = np.iinfo(np.int64).max

BIN_EDGES: FloatArray = np.array([float(Decimal(2) ** (Decimal(j) / 64) / 2) for j in range(64)])
"""Lower edges of an octave's 64 bins, as mantissas in [1/2, 1); by decimal arithmetic, the same on every machine."""


def _check_sums_fit(hour: Hour, book: GridRows) -> None:
    """Raises DataError where summed sizes could leave 63 bits: the file's decimals are then wrong."""
    largest = max(float(np.fmax.reduce(sz, axis=None, initial=0.0)) for sz in book.sz) * book.sz_scale
    if largest * LEVELS * 2 * (hour.bucket_us / book.grid_us) >= 2.0**62:
        raise DataError(
            f"clean/book: a size of {largest / book.sz_scale:g} with {math.log10(book.sz_scale):.0f} decimals is out "
            "of range, expected sums below 2^62 lots; rerun midas reconstruct"
        )


def _mids(book: GridRows, scale: float) -> IntArray:
    """(r,) bid + ask as integers, or MID_UNKNOWN, MID_UNDEFINED."""
    bid, ask = book.px[0][:, 0], book.px[1][:, 0]
    both = ~(np.isnan(bid) | np.isnan(ask))
    total = to_ints(np.where(both, bid, 0.0), scale) + to_ints(np.where(both, ask, 0.0), scale)
    return np.where(book.live, np.where(both, total, kernels.MID_UNDEFINED), kernels.MID_UNKNOWN)


def _mid_before(before: TopRow | None, scale: float) -> int:
    if before is None or not before.live:
        return kernels.MID_UNKNOWN
    if math.isnan(before.bid) or math.isnan(before.ask):
        return kernels.MID_UNDEFINED
    return round(before.bid * scale) + round(before.ask * scale)


@dataclass(frozen=True, slots=True)
class _MidRows:
    """Mids of the grid rows of the hour, the row at its start first, at a price scale that prints share."""

    ts_us: IntArray
    mid: IntArray
    scale: float


def _mid_rows(hour: Hour, book: GridRows) -> _MidRows:
    scales = [book.px_scale]
    scales += [hour.before.px_scale] if hour.before is not None else []
    scales += [hour.prints.px_scale] if hour.prints is not None else []
    scale = max(scales)
    ts_us = np.concatenate([[hour.start_us], book.ts_us])
    return _MidRows(ts_us, np.concatenate([[_mid_before(hour.before, scale)], _mids(book, scale)]), scale)


def _end_rows(hour: Hour, book: GridRows, statistics: BookStatistics) -> None:
    """The ten levels at each bucket's end, into `statistics`."""
    at = np.searchsorted(book.ts_us, hour.ends_us)
    at = np.minimum(at, len(book.ts_us) - 1)
    there = (book.ts_us[at] == hour.ends_us) & book.live[at]
    statistics.end_live[:] = there
    for side in (0, 1):
        px, sz = book.px[side][at], book.sz[side][at]
        known = np.logical_and.accumulate(~np.isnan(px), axis=1) & there[:, None]
        statistics.end_levels[:, side] = known.sum(axis=1)
        statistics.end_px[:, side] = to_ints(np.where(known, px, 0.0), book.px_scale)
        statistics.end_lots[:, side] = to_ints(np.where(known, sz, 0.0), book.sz_scale)


def _empty_flow_rows(hour: Hour, book: GridRows, mids: _MidRows) -> IntArray:
    """Live rows per bucket without a best-level flow, since a side was empty at their interval's start or end."""
    empty = mids.mid == kernels.MID_UNDEFINED
    begins_empty = empty[:-1] & (np.diff(mids.ts_us) == book.grid_us)
    unknown = book.live & np.isnan(book.ofi[:, 0]) & (empty[1:] | begins_empty)
    return np.bincount(row_buckets(hour, book)[unknown], minlength=hour.n)


def _second_mids(hour: Hour, mids: _MidRows) -> IntArray:
    """The mid at each whole second of the hour, its start included."""
    at_second = (mids.ts_us - hour.start_us) % SECOND_US == 0
    second_mid = np.full(HOUR_US // SECOND_US + 1, kernels.MID_UNKNOWN, dtype=np.int64)
    second_mid[(mids.ts_us[at_second] - hour.start_us) // SECOND_US] = mids.mid[at_second]
    return second_mid


def _book_statistics(hour: Hour, book: GridRows, mids: _MidRows) -> BookStatistics:
    _check_sums_fit(hour, book)
    n = hour.n
    (
        rows, live, spread_rows, spread_bps_sum, side_rows, side_lots, imbalance_rows, imbalance_sum, ofi_rows,
        ofi_lots, notional,
    ) = kernels.book_pass(
        row_buckets(hour, book), book.live, book.px, book.sz, book.ofi, book.px_scale, book.sz_scale, n
    )  # fmt: skip
    status, variance, bipower = kernels.second_pass(_second_mids(hour, mids), hour.bucket_us // SECOND_US, n)
    levels, px, lots = (getattr(BookStatistics.absent(n), name) for name in ("end_levels", "end_px", "end_lots"))
    statistics = BookStatistics(
        expected=np.full(n, hour.bucket_us // book.grid_us, dtype=np.int64),
        rows=rows,
        live=live,
        spread_rows=spread_rows,
        spread_bps_sum=spread_bps_sum,
        side_rows=side_rows,
        side_lots=side_lots,
        imbalance_rows=imbalance_rows,
        imbalance_sum=imbalance_sum,
        ofi_rows=ofi_rows,
        ofi_empty_rows=_empty_flow_rows(hour, book, mids),
        ofi_lots=ofi_lots,
        notional=notional,
        px_scale=np.full(n, book.px_scale),
        sz_scale=np.full(n, book.sz_scale),
        end_live=np.zeros(n, dtype=np.bool_),
        end_levels=levels,
        end_px=px,
        end_lots=lots,
        second_status=status,
        second_variance=variance,
        second_bipower=bipower,
    )
    _end_rows(hour, book, statistics)
    return statistics


def _effective_spreads(
    hour: Hour, prints: Prints, bucket: IntArray, lots: IntArray, mids: _MidRows | None
) -> tuple[FloatArray, FloatArray, IntArray, IntArray]:
    """(weighted sum, weight, prints without a live row, prints without a mid) per bucket."""
    n = hour.n
    if mids is None or hour.book is None:
        return np.zeros(n), np.zeros(n), np.bincount(bucket, minlength=n), np.zeros(n, dtype=np.int64)
    px = to_ints(prints.px, mids.scale)
    weighted, weight, unknown, undefined = kernels.effective_spread_pass(
        bucket, prints.ts_us, px, lots, prints.buy, mids.ts_us, mids.mid, hour.book.grid_us, n
    )
    return weighted, weight, unknown, undefined


def _trade_statistics(hour: Hour, prints: Prints, mids: _MidRows | None) -> tuple[TradeStatistics, Histogram]:
    n = hour.n
    bucket = (prints.ts_us - hour.start_us) // hour.bucket_us
    px, lots = to_ints(prints.px, prints.px_scale), to_ints(prints.qty, prints.sz_scale)
    (
        rows, count, prices, last_us, volume, buy_volume, notional, sign_sums, change_sums, change_products,
    ) = kernels.trade_pass(bucket, px, lots, prints.buy, prints.count, prints.ts_us, n)  # fmt: skip
    notional_scale = prints.px_scale * prints.sz_scale
    histogram = kernels.histogram_pass(bucket, px, lots, prints.buy, notional_scale, BIN_EDGES, n)
    effective_sum, effective_weight, unknown, undefined = _effective_spreads(hour, prints, bucket, lots, mids)
    lost, settled = lost_per_bucket(hour.uncovered, hour.start_us, hour.bucket_us, n)
    statistics = TradeStatistics(
        lost_us=lost,
        settled_us=settled,
        px_scale=np.full(n, prints.px_scale),
        sz_scale=np.full(n, prints.sz_scale),
        rows=rows,
        count=count,
        prices=prices,
        last_us=last_us,
        lots=volume,
        buy_lots=buy_volume,
        notional=notional,
        sign_sums=sign_sums,
        change_sums=change_sums,
        change_products=change_products,
        effective_sum=effective_sum,
        effective_weight=effective_weight,
        effective_unknown=unknown,
        effective_undefined=undefined,
    )
    return statistics, Histogram(*histogram)


def _no_trades(hour: Hour) -> TradeStatistics:
    absent = TradeStatistics.absent(hour.n)
    absent.lost_us[:] = hour.bucket_us
    absent.settled_us[:] = hour.ends_us
    return absent


def _longest_hole(ts_us: IntArray, start_us: int, end_us: int) -> int:
    """Longest time between neighbouring rows (or the end) that reaches into [start, end)."""
    first, last = np.searchsorted(ts_us, [start_us, end_us])
    if first == 0:
        return NEVER
    return int(np.diff(np.concatenate([ts_us[first - 1 : last], [end_us]])).max())


def _derivative_statistics(hour: Hour) -> DerivativeStatistics:
    statistics = DerivativeStatistics.absent(hour.n)
    ends = hour.ends_us
    if hour.marks is not None and len(hour.marks.ts_us):
        marks = hour.marks
        at = np.searchsorted(marks.ts_us, ends) - 1
        known = at >= 0
        statistics.mark_age_us[known] = (ends - marks.ts_us[at])[known]
        for name in ("mark_px", "index_px", "funding_rate"):
            getattr(statistics, name)[known] = getattr(marks, name)[at][known]
        statistics.mark_hole_us[:] = [_longest_hole(marks.ts_us, end - hour.bucket_us, end) for end in ends.tolist()]
    if hour.forced is not None:
        statistics.liquidations_on[:] = True
        edges = np.searchsorted(hour.forced.ts_us, np.concatenate([[hour.start_us], ends]))
        for bucket in range(hour.n):
            rows = slice(edges[bucket], edges[bucket + 1])
            qty, buy = hour.forced.qty[rows], hour.forced.buy[rows]
            statistics.liquidation_buy[bucket] = math.fsum(qty[buy])
            statistics.liquidation_sell[bucket] = math.fsum(qty[~buy])
    return statistics


def hour_statistics(hour: Hour) -> Statistics:
    """Statistics of every bucket of the hour. Raises DataError where sizes are out of range."""
    book = hour.book if hour.book is not None and len(hour.book.ts_us) else None
    mids = None if book is None else _mid_rows(hour, book)
    book_statistics = BookStatistics.absent(hour.n)
    if book is not None and mids is not None:
        book_statistics = _book_statistics(hour, book, mids)
    trades, histogram = _no_trades(hour), Histogram.empty(hour.n)
    if hour.prints is not None:
        trades, histogram = _trade_statistics(hour, hour.prints, mids)
    return Statistics(hour.ends_us, book_statistics, trades, _derivative_statistics(hour), histogram, hour.uncovered)
