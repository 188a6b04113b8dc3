"""Reference of the features that come from prints (and, for the effective spread, the mid before each)."""

import itertools
import math
from fractions import Fraction

import numpy as np

from tests.features.reference.buckets import Buckets, divided
from tests.features.reference.clean import DAY_US, HOUR_US, MINUTE_US, Cell, Column, Null, Print


def volume(prints: list[Print], sign: int = 0) -> Fraction:
    """Summed over all prints, or those of one taker side."""
    return sum((each.qty for each in prints if sign in (0, each.sign)), Fraction(0))


def signed_volume(prints: list[Print]) -> Fraction:
    return volume(prints, 1) - volume(prints, -1)


def quote_volume(prints: list[Print]) -> Fraction:
    return sum((each.notional for each in prints), Fraction(0))


def count(prints: list[Print]) -> int:
    return sum(each.count for each in prints)


def previous_closes(b: Buckets) -> Column:
    """Last price before each bucket: undefined before the first, a gap where a later print can have been missed."""
    column: Column = {}
    at = 0
    for t in b.times:
        start = t - b.bucket_us
        while at < len(b.clean.prints) and b.clean.prints[at].us < start:
            at += 1
        last = b.clean.prints[at - 1] if at else None
        missed = last is not None and any(begin < start and end > last.us + 1 for begin, end in b.unheard)
        column[t] = Null.UNDEFINED if last is None else Null.GAP if missed else float(last.px)
    return column


def bars(b: Buckets) -> dict[str, Column]:
    before = previous_closes(b)

    def price(pick: str, t: int) -> Cell:
        prices = [each.px for each in b.prints_of(t)]
        if not b.heard(t):
            return Null.GAP
        if not prices:
            return before[t]
        return float({"open": prices[0], "high": max(prices), "low": min(prices), "close": prices[-1]}[pick])

    prices = {name: {t: price(name, t) for t in b.times} for name in ("open", "high", "low", "close")}
    return prices | {
        "volume": b.of_prints(lambda prints: float(volume(prints))),
        "quote_volume": b.of_prints(lambda prints: float(quote_volume(prints))),
        "vwap": b.of_prints(lambda prints: divided(quote_volume(prints), volume(prints))),
        "number_of_trades": b.of_prints(lambda prints: float(count(prints))),
    }


def sign_autocorrelation(prints: list[Print]) -> Cell:
    """Pearson's correlation of neighbouring signs."""
    d = [each.sign for each in prints]
    if len(d) < 3:
        return Null.UNDEFINED
    x, y = d[:-1], d[1:]
    mean_x, mean_y = Fraction(sum(x), len(x)), Fraction(sum(y), len(y))
    above = sum(((p - mean_x) * (q - mean_y) for p, q in zip(x, y, strict=True)), Fraction(0))
    below = sum((p - mean_x) ** 2 for p in x) * sum((q - mean_y) ** 2 for q in y)
    return float(above) / math.sqrt(below) if below else Null.UNDEFINED


def notional_bin(notional: Fraction) -> int:
    """Of 64 bins an octave (2^(j/64), 2^((j+1)/64)]; exact, since x > 2^(j/64) where x^64 > 2^j."""
    guess = math.ceil(64 * math.log2(notional)) - 1
    for j in (guess + 1, guess, guess - 1):
        if notional**64 > Fraction(2) ** j:
            return j
    raise AssertionError("log2 is off by more than a bin")


def whales(b: Buckets) -> dict[str, Column]:
    prints = b.clean.prints
    us = np.array([each.us for each in prints], np.int64)
    bins = np.array([notional_bin(each.notional) for each in prints], np.int64)
    bucket = -(-(us + 1) // b.bucket_us) * b.bucket_us
    covered = np.array([t for t in b.times if b.heard(t)])
    counted = np.isin(bucket, covered)
    columns: dict[str, Column] = {"whale_volume": {}, "whale_signed_volume": {}}
    for t in b.times:
        start = t - b.bucket_us
        before = np.sort(bins[(us >= start - DAY_US) & (us < start) & counted])
        enough = ((covered > start - DAY_US) & (covered <= start)).sum() * b.bucket_us >= HOUR_US
        null = Null.GAP if not b.heard(t) else Null.WARM_UP if not enough else None if len(before) else Null.UNDEFINED
        if null is None:
            threshold = before[math.ceil(Fraction(99, 100) * len(before)) - 1]
            big = [prints[i] for i in np.flatnonzero((us >= start) & (us < t) & (bins > threshold)).tolist()]
        columns["whale_volume"][t] = null or float(volume(big))
        columns["whale_signed_volume"][t] = null or float(signed_volume(big))
    return columns


def trade_flow(b: Buckets) -> dict[str, Column]:
    return {
        "taker_buy_volume": b.of_prints(lambda prints: float(volume(prints, 1))),
        "taker_sell_volume": b.of_prints(lambda prints: float(volume(prints, -1))),
        "signed_volume": b.of_prints(lambda prints: float(signed_volume(prints))),
        "volume_imbalance": b.of_prints(lambda prints: divided(signed_volume(prints), volume(prints))),
        "mean_trade_size": b.of_prints(lambda prints: divided(volume(prints), count(prints))),
        "trade_sign_autocorr": b.of_prints(sign_autocorrelation),
        **whales(b),
    }


def roll(prints: list[Print]) -> Cell:
    """Roll (1984), with the sample covariance (n - 1)."""
    changes = [after.px - before.px for before, after in itertools.pairwise(prints)]
    x, y = changes[:-1], changes[1:]
    if len(x) < 2:
        return Null.UNDEFINED
    mean_x, mean_y = sum(x) / Fraction(len(x)), sum(y) / Fraction(len(y))
    covariance = sum((p - mean_x) * (q - mean_y) for p, q in zip(x, y, strict=True)) / (len(x) - 1)
    return 2 * math.sqrt(max(Fraction(0), -covariance))


def effective_spread(b: Buckets) -> Column:
    c = b.clean

    def mid_before(us: int) -> Cell:
        """Of the grid step at or before; quote units."""
        row = b.row_at(us // c.grid_us * c.grid_us)
        if row is None or not c.live[row]:
            return Null.GAP
        return Null.UNDEFINED if math.isnan(c.mid[row]) else float(c.mid[row])

    def one(t: int) -> Cell:
        prints = b.prints_of(t)
        mids = [mid_before(each.us) for each in prints]
        if not b.heard(t) or Null.GAP in mids:
            return Null.GAP
        if not prints or Null.UNDEFINED in mids:
            return Null.UNDEFINED
        terms = Fraction(0)
        for each, cell in zip(prints, mids, strict=True):
            middle = Fraction(int(cell), 2 * c.tick)  # type: ignore[arg-type]
            terms += Fraction(float(each.notional * 2 * each.sign * (each.px - middle) / middle))
        return float(10**4 * terms / quote_volume(prints))

    return b.each(one)


def filled_buckets(b: Buckets, day: int) -> tuple[list[tuple[int, Fraction]], int | None, bool]:
    """Complete volume buckets of a UTC day as (time, share); t from which their size is known; whether it is 0."""
    lot = b.clean.lot
    heard = [t for t in b.times if b.heard(t)]
    before = [t for t in heard if day - DAY_US < t <= day]
    first = [t for t in heard if day < t <= day + DAY_US][: b.for_an_hour]
    sample = before if len(before) >= b.for_an_hour else first
    if len(sample) < b.for_an_hour:
        return [], None, False
    known_from = day if sample is before else first[-1]
    total = float(sum((volume(b.prints_of(t)) for t in sample), Fraction(0)))
    if not total:
        return [], known_from, True
    # Floats in this order: a twelfth of 60 minutes is half a lot often enough, and then their last bit decides.
    per_minute = total / (len(sample) * b.bucket_us / MINUTE_US)
    sample_lot = max(b.clean.trade_lot[(t - 1) // HOUR_US] for t in sample)
    size = max(1, round(b.vpin_share * 1440 * per_minute * sample_lot)) * (lot // sample_lot)
    done: list[tuple[int, Fraction]] = []
    filled = imbalance = 0
    last = day
    for each in b.clean.prints:
        if not day <= each.us < day + DAY_US:
            continue
        if any(last < start <= each.us for start, _ in b.unheard):
            filled = imbalance = 0
        last = each.us
        left = int(each.qty * lot)
        while left:
            part = min(left, size - filled)
            filled, left, imbalance = filled + part, left - part, imbalance + each.sign * part
            if filled == size:
                done.append((each.us, Fraction(abs(imbalance), size)))
                filled = imbalance = 0
    return done, known_from, False


def vpin(b: Buckets) -> Column:
    """Complete buckets stay in the window across midnight and gaps; only the one being filled is dropped."""
    days = sorted({(t - 1) // DAY_US * DAY_US for t in b.times})
    of_day = {day: filled_buckets(b, day) for day in days}
    column: Column = {}
    for t in b.times:
        day = (t - 1) // DAY_US * DAY_US
        done, known_from, empty = of_day[day]
        earlier = of_day.get(day - DAY_US, ([], None, False))[0]
        recent = [share for us, share in [*earlier[-50:], *done] if us < t][-50:]
        if not b.heard(t):
            column[t] = Null.GAP
        elif known_from is None or t < known_from or (len(recent) < 10 and not empty):
            column[t] = Null.WARM_UP
        else:
            column[t] = Null.UNDEFINED if empty else math.fsum(map(float, recent)) / len(recent)
    return column
