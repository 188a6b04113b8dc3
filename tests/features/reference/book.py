"""Reference of the features that come from the book alone: top, liquidity, imbalance, shape, cost, order flow."""

import math

import numpy as np

from tests.features.reference.buckets import Buckets, divided, first_null
from tests.features.reference.clean import DAY_US, HOUR_US, Cell, Column, Floats, Null

LEVELS = 10


def top_of_book(b: Buckets) -> dict[str, Column]:
    c = b.clean
    bid, ask, bid_sz, ask_sz = (side[:, 0] for side in (c.bid_px, c.ask_px, c.bid_sz, c.ask_sz))
    mid = (bid + ask) / 2
    spread_bps = 1e4 * (ask - bid) / mid
    # Both as exact integers: the offset is a small difference of prices.
    weight = bid_sz + ask_sz
    micro = (bid_sz * ask + ask_sz * bid) / weight
    offset = (2 * (bid_sz * (ask - bid)) - weight * (ask - bid)) / (2 * weight)
    return {
        "midprice": b.end(mid / c.tick),
        "microprice": b.end(micro / c.tick),
        "microprice_offset_bps": b.end(1e4 * offset / mid),
        "spread": b.end((ask - bid) / c.tick),
        "spread_bps": b.end(spread_bps),
        "spread_bps_mean": b.mean(spread_bps),
    }


def down_to(levels: Floats, k: int) -> Floats:
    """(r,) lots summed over k levels; NaN where one of them is missing."""
    return np.asarray(levels[:, :k].sum(axis=1))


def plus(one: Cell, other: Cell) -> Cell:
    null = first_null(one, other)
    return null or one + other  # type: ignore[operator]


def liquidity(b: Buckets) -> dict[str, Column]:
    columns = {}
    for k in (1, 5, 10):
        bid = columns[f"liquidity_bid_{k}"] = b.mean(down_to(b.clean.bid_sz, k) / b.clean.lot)
        ask = columns[f"liquidity_ask_{k}"] = b.mean(down_to(b.clean.ask_sz, k) / b.clean.lot)
        columns[f"liquidity_{k}"] = {t: plus(bid[t], ask[t]) for t in b.times}
    return columns


def imbalance(b: Buckets) -> dict[str, Column]:
    c = b.clean
    columns = {}
    for k in (1, 5, 10):
        bids, asks = down_to(c.bid_sz, k), down_to(c.ask_sz, k)
        columns[f"imbalance_{k}"] = b.end((bids - asks) / (bids + asks))
        columns[f"imbalance_{k}_mean"] = b.mean((bids - asks) / (bids + asks))
    for m in range(2, 6):
        bid, ask = c.bid_sz[:, m - 1], c.ask_sz[:, m - 1]
        columns[f"queue_imb_{m}"] = b.end((bid - ask) / (bid + ask))
    return columns


def ladder_slope(px: list[float], lots: list[float], mid: float) -> Cell:
    """Naes and Skjeltorp (2006). px: ten levels, best first, in the unit of `mid`."""
    if any(math.isnan(each) for each in (*px, mid)) or px[0] == mid:
        return Null.UNDEFINED
    v = [math.log(1 + sum(lots[: k + 1])) for k in range(LEVELS)]
    terms = [v[0] / abs((px[0] - mid) / mid)]
    terms += [(v[k + 1] - v[k]) / v[k] / abs((px[k + 1] - px[k]) / px[k]) for k in range(LEVELS - 1)]
    return math.fsum(terms) / LEVELS


def book_shape(b: Buckets) -> dict[str, Column]:
    c = b.clean

    def slope(px: Floats, sz: Floats, t: int) -> Cell:
        row = b.end_row(t)
        if row is None:
            return Null.GAP
        lots = sz[row] / (c.lot // c.book_lot[(t - 1) // HOUR_US])
        return ladder_slope(px[row].tolist(), lots.tolist(), float(c.mid[row]) / 2)

    columns = {}
    for side, px, sz in (("bid", c.bid_px, c.bid_sz), ("ask", c.ask_px, c.ask_sz)):
        columns[f"{side}_ladder_slope"] = {t: slope(px, sz, t) for t in b.times}
        columns[f"{side}_slope_ratio"] = b.end(np.log(sz[:, 0] / sz[:, 1:5].mean(axis=1)))
    return columns


def average_price(px: list[float], sz: list[float], notional: float) -> float:
    """Paid for `notional` quote units walking the levels; NaN where they hold less."""
    left, base = notional, 0.0
    for price, size in zip(px, sz, strict=True):
        if math.isnan(price):
            break
        if left <= price * size:
            return notional / (base + left / price)
        base, left = base + size, left - price * size
    return math.nan


def default_notional(b: Buckets, day: int) -> tuple[float | None, int]:
    """(quote notional, t from which it is known) for the buckets with ts in (day, day + 24 h]."""
    c = b.clean
    ten_levels = (np.nansum(c.bid_px * c.bid_sz, axis=1) + np.nansum(c.ask_px * c.ask_sz, axis=1)) / (c.tick * c.lot)

    def tenth(buckets: list[int]) -> float:
        values = np.concatenate([ten_levels[b.rows_of(t)] for t in buckets]).tolist()
        return math.fsum(values) / len(values) / 2 / 10  # a side of the two, a tenth

    covered = [t for t in b.times if b.coverage[t] == 1.0]
    before = [t for t in covered if day - DAY_US < t <= day]
    if len(before) >= b.for_an_hour:
        return tenth(before), 0
    first = [t for t in covered if day < t <= day + DAY_US][: b.for_an_hour]
    return (tenth(first), first[-1]) if len(first) == b.for_an_hour else (None, 0)


def cost(b: Buckets, side: str, wanted: set[int]) -> Column:
    """cost_to_buy_bps or cost_to_sell_bps of the buckets `wanted`."""
    c = b.clean
    px, sz, sign = (c.ask_px, c.ask_sz, 1) if side == "buy" else (c.bid_px, c.bid_sz, -1)
    notionals: dict[int, tuple[float | None, int]] = {}
    per_row = np.full(len(c.us), np.nan)

    def known(t: int) -> float | None:
        day = (t - 1) // DAY_US * DAY_US
        if day not in notionals:
            notionals[day] = (b.cost_notional, 0) if b.cost_notional is not None else default_notional(b, day)
        notional, known_from = notionals[day]
        return notional if t >= known_from else None

    for t in wanted:
        notional = known(t)
        rows = range(*b.rows_of(t).indices(len(c.us))) if notional is not None else ()
        for row in rows:
            middle = c.mid[row] / 2
            paid = average_price(px[row].tolist(), sz[row].tolist(), (notional or 0.0) * c.tick * c.lot)
            per_row[row] = 1e4 * sign * (paid - middle) / middle
    means = b.mean(per_row)
    return {t: Null.WARM_UP if known(t) is None and means[t] is not Null.GAP else means[t] for t in wanted}


def flow(b: Buckets, level: int) -> Column:
    """Order flow imbalance at a level, lots, summed over a bucket; it needs each of its intervals.

    An interval's flow is undefined where a side of the book was empty at its start or end; else, if it is missing, a
    gap.
    """
    c = b.clean
    one_sided = c.live & np.isnan(c.mid)

    def reason(row: int) -> Null:
        follows = row > 0 and c.us[row] - c.us[row - 1] == c.grid_us
        if one_sided[row] or (follows and one_sided[row - 1]) or not np.isnan(c.ofi[row, 0]):
            return Null.UNDEFINED
        return Null.GAP

    def one(t: int) -> Cell:
        rows = b.rows_of(t)
        if b.coverage[t] < 1.0:
            return Null.GAP
        values = c.ofi[rows, level - 1]
        missing = (rows.start + np.flatnonzero(np.isnan(values))).tolist()
        return first_null(*(reason(row) for row in missing)) or float(values.sum())

    return b.each(one)


def cumulated(b: Buckets, ofi: Column) -> Column:
    """Since 00:00 UTC, or since the last bucket without a sum."""
    column: Column = {}
    for t in b.times:
        before = column.get(t - b.bucket_us, 0.0)
        begins = (t - b.bucket_us) % DAY_US == 0 or isinstance(before, Null)
        column[t] = ofi[t] if begins else plus(before, ofi[t])
    return column


def order_flow(b: Buckets) -> dict[str, Column]:
    c = b.clean
    levels = [flow(b, m) for m in range(1, LEVELS + 1)]
    ofi = levels[0]
    best, deep = ([b.mean(down_to(sz, k)) for sz in (c.bid_sz, c.ask_sz)] for k in (1, LEVELS))  # one level, ten levels

    def scaled(flows: list[Cell], sides: list[Column], t: int) -> Cell:
        """The mean of the flows over the mean size of a level."""
        sizes = [side[t] for side in sides]
        null = first_null(*flows, *sizes)
        if null:
            return null
        return divided(math.fsum(flows) / len(flows), math.fsum(sizes) / (2 * len(flows)))  # type: ignore[arg-type]

    def ten(t: int) -> Cell:
        cells = b.window(ofi, t, 10)
        return b.whole(ofi, t, 10) or first_null(*cells) or math.fsum(cells)  # type: ignore[arg-type]

    def in_base(column: Column) -> Column:
        return {t: cell if isinstance(cell, Null) else cell / c.lot for t, cell in column.items()}

    return {
        "ofi": in_base(ofi),
        "ofi_10": in_base(b.each(ten)),
        "ofi_cumulative": in_base(cumulated(b, ofi)),
        "ofi_normalized": b.each(lambda t: scaled([ofi[t]], best, t)),
        "ofi_multilevel": b.each(lambda t: scaled([level[t] for level in levels], deep, t)),
    }
