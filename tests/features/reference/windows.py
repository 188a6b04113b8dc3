"""Reference of returns, volatility, impact, derivatives and the calendar."""

import itertools
import math
from datetime import UTC, datetime

import numpy as np
import polars as pl

from tests.features.reference.buckets import Buckets, divided, sample_sd
from tests.features.reference.clean import HOUR_US, SECOND_US, Cell, Column, Null

STALE_US = 10 * SECOND_US


def price_at(b: Buckets, us: int) -> Cell:
    """Twice the midprice of the grid row at a time, ticks (exact)."""
    row = b.row_at(us)
    if row is None or not b.clean.live[row]:
        return Null.GAP
    mid = float(b.clean.mid[row])
    return Null.UNDEFINED if math.isnan(mid) else mid


def log_return(now: float, before: float) -> float:
    return math.log1p((now - before) / before)


def changes(b: Buckets, n: int, log: bool) -> Column:
    """ln(P_t / P_(t - n D)), or the difference in quote units; P is needed at both ends, no gap may lie between."""
    price = b.each(lambda t: price_at(b, t))

    def one(t: int) -> Cell:
        null = b.whole(price, t, n + 1)
        if null:
            return null
        now, before = price[t], price[t - n * b.bucket_us]
        if isinstance(now, Null) or isinstance(before, Null):
            return Null.UNDEFINED
        return log_return(now, before) if log else (now - before) / (2 * b.clean.tick)

    return b.each(one)


def second_returns(b: Buckets, t: int) -> list[float] | Null:
    mids = [price_at(b, us) for us in range(t - b.bucket_us, t + 1, SECOND_US)]
    if Null.GAP in mids[1:]:
        return Null.GAP
    if mids[0] is Null.GAP:
        return Null.WARM_UP if t == b.times[0] else Null.GAP
    if Null.UNDEFINED in mids:
        return Null.UNDEFINED
    return [log_return(now, before) for before, now in itertools.pairwise(mids)]  # type: ignore[arg-type]


def of_bars(o: Cell, h: Cell, low: Cell, c: Cell) -> tuple[Cell, Cell]:
    """(Parkinson 1980, Garman and Klass 1980); null as the bar is."""
    if isinstance(o, Null) or isinstance(h, Null) or isinstance(low, Null) or isinstance(c, Null):
        return (o, o)
    squared_range, squared_body = math.log(h / low) ** 2, math.log(c / o) ** 2
    garman_klass = squared_range / 2 - (2 * math.log(2) - 1) * squared_body
    return math.sqrt(squared_range / (4 * math.log(2))), math.sqrt(max(0.0, garman_klass))


def volatility(b: Buckets, bars: dict[str, Column]) -> dict[str, Column]:
    returns = changes(b, 1, log=True)

    def covered(t: int) -> bool:
        return price_at(b, t) is not Null.GAP

    volatility_20 = b.estimate(covered, [returns], 20, 10, sample_sd)
    seconds = {t: second_returns(b, t) for t in b.times}
    ranges = {t: of_bars(*(bars[name][t] for name in ("open", "high", "low", "close"))) for t in b.times}

    def realized(t: int) -> Cell:
        r = seconds[t]
        return r if isinstance(r, Null) else math.sqrt(math.fsum(each * each for each in r))

    def bipower(t: int) -> Cell:
        r = seconds[t]
        if isinstance(r, Null):
            return r
        return math.pi / 2 * math.fsum(abs(x) * abs(y) for x, y in itertools.pairwise(r))

    return {
        "returns": returns,
        "returns_5": changes(b, 5, log=True),
        "volatility_20": volatility_20,
        "volatility_100": b.estimate(covered, [returns], 100, 30, sample_sd),
        "vol_of_vol": b.estimate(covered, [volatility_20], 50, 20, sample_sd),
        "realized_volatility": b.each(realized),
        "bipower_variation": b.each(bipower),
        "parkinson_volatility": b.each(lambda t: ranges[t][0]),
        "garman_klass_volatility": b.each(lambda t: ranges[t][1]),
    }


def slope(y: list[float], x: list[float]) -> Cell:
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    above = math.fsum((p - mean_x) * (q - mean_y) for p, q in zip(x, y, strict=True))
    return divided(above, math.fsum((p - mean_x) ** 2 for p in x))


def impact(b: Buckets, returns: Column, signed_volume: Column, quote_volume: Column) -> dict[str, Column]:
    def covered(t: int) -> bool:
        return price_at(b, t) is not Null.GAP and b.heard(t)

    def without_silence(t: int) -> Cell:
        return Null.UNDEFINED if quote_volume[t] == 0.0 else quote_volume[t]

    def mean_ratio(r: list[float], quote: list[float]) -> float:
        return math.fsum(abs(x) / q for x, q in zip(r, quote, strict=True)) / len(r)

    moves = changes(b, 1, log=False)
    return {
        "kyle_lambda": b.estimate(covered, [moves, signed_volume], 100, 30, slope),
        "amihud_illiquidity": b.estimate(covered, [returns, b.each(without_silence)], 20, 10, mean_ratio),
    }


def derivatives(b: Buckets) -> dict[str, Column]:
    mark, forced, c = b.clean.mark, b.clean.liquidations, b.clean
    us = mark["ts"].cast(pl.Int64).to_numpy() if len(mark) else np.zeros(0, np.int64)

    def last(t: int, name: str) -> float | None:
        """Of the last mark row before t, at most 10 s old."""
        at = int(np.searchsorted(us, t)) - 1
        return None if at < 0 or t - us[at] > STALE_US else mark[name][at]

    def funding(t: int) -> Cell:
        rate = last(t, "funding_rate")
        return Null.GAP if rate is None else rate

    def basis(t: int) -> Cell:
        index, price = last(t, "index_px"), last(t, "mark_px")
        return Null.GAP if index is None or price is None else divided(1e4 * (price - index), index)

    def delivering(t: int) -> bool:
        """From the last mark row before the bucket to t no 10 s pass without one: it is the same connection."""
        first, end = np.searchsorted(us, [t - b.bucket_us, t])
        times = [*us[max(0, first - 1) : end].tolist(), t]
        return bool(first > 0) and all(y - x <= STALE_US for x, y in itertools.pairwise(times))

    def liquidated(side: str, t: int) -> Cell:
        if "forceOrder" not in c.streams.get((t - 1) // HOUR_US, set()) or not delivering(t):
            return Null.GAP
        ts = pl.col("ts").cast(pl.Int64)
        inside = (ts >= t - b.bucket_us) & (ts < t) & (pl.col("side").cast(pl.String) == side)
        return math.fsum(forced.filter(inside)["qty"]) if len(forced) else 0.0

    return {
        "funding_rate": b.each(funding),
        "basis_bps": b.each(basis),
        "liquidation_buy_volume": b.each(lambda t: liquidated("buy", t)),
        "liquidation_sell_volume": b.each(lambda t: liquidated("sell", t)),
    }


def calendar(b: Buckets) -> dict[str, Column]:
    def angle(t: int) -> float:
        at = datetime.fromtimestamp(t // SECOND_US, UTC)
        return 2 * math.pi * (at.hour * 3600 + at.minute * 60 + at.second) / 86400

    return {"hour_sin": b.each(lambda t: math.sin(angle(t))), "hour_cos": b.each(lambda t: math.cos(angle(t)))}
