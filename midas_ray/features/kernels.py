"""All compiled kernels of the features: bucket statistics in row order, and windows recomputed from their own rows.

They stand in one file because numba's disk cache is keyed by the file a kernel is in: a change in a callee elsewhere
would go unnoticed. No fastmath: a sum has one order, so that any sharding gives the same bits.

Units: prices and sizes are integers at the file's decimal scale (`px` = price x px_scale, `lots` = size x sz_scale),
times microseconds. Shapes: r grid rows, p prints, n buckets, L levels a side. Sides: 0 bid, 1 ask.
"""

import math

import numpy as np
from numba import njit

LIMB_BITS = 27
LIMB_MASK = (1 << LIMB_BITS) - 1
LEVELS = 10
OFI_LEVELS = 10
DEPTHS = 3
"""Depths of liquidity and imbalance: 1, 5 and 10 levels."""

# Values of the mid at a second: the sum bid + ask where both are known.
MID_UNKNOWN, MID_UNDEFINED = -1, 0

# Bits of `second_status`.
SECOND_INNER_MISSING, SECOND_FIRST_MISSING, SECOND_UNDEFINED = 1, 2, 4

BINS_PER_OCTAVE = 64
BIN_OFFSET = 64 * 512
BIN_COUNT = 64 * 1024


@njit(cache=True)
def _to_int(value, scale):
    """The integer behind a non-negative decimal: value = integer / scale, correctly rounded."""
    return np.int64(math.floor(value * scale + 0.5))


@njit(cache=True)
def _add_product(limbs, row, a, b):
    """Add a x b to the exact sum in limbs[row] = [low, middle, high], each of 27 bits but the last; |a|, |b| < 2^53."""
    a_high = a >> LIMB_BITS
    a_low = a & LIMB_MASK
    b_high = b >> LIMB_BITS
    b_low = b & LIMB_MASK
    low = limbs[row, 0] + a_low * b_low
    middle = limbs[row, 1] + a_high * b_low + a_low * b_high + (low >> LIMB_BITS)
    limbs[row, 0] = low & LIMB_MASK
    limbs[row, 1] = middle & LIMB_MASK
    limbs[row, 2] += a_high * b_high + (middle >> LIMB_BITS)


@njit(cache=True)
def _known_levels(px, row):
    count = 0
    while count < LEVELS and px[row, count] == px[row, count]:
        count += 1
    return count


@njit(cache=True)
def book_pass(bucket, live, px, sz, ofi, px_scale, sz_scale, n):
    """Statistics of grid rows per bucket, in row order.

    bucket: (r,) index of the row's bucket. live: (r,). px, sz: pairs (bid, ask) of (r, L) float64, NaN where null.
    ofi: (r, 10) float64 in base units, NaN where null. Only live rows count, but for `rows`.
    Gives the arrays of `BookStatistics` in its order.
    """
    rows = np.zeros(n, np.int64)
    live_rows = np.zeros(n, np.int64)
    spread_rows = np.zeros(n, np.int64)
    spread_bps_sum = np.zeros(n)
    side_rows = np.zeros((n, 2, DEPTHS), np.int64)
    side_lots = np.zeros((n, 2, DEPTHS), np.int64)
    imbalance_rows = np.zeros((n, DEPTHS), np.int64)
    imbalance_sum = np.zeros((n, DEPTHS))
    ofi_rows = np.zeros((n, OFI_LEVELS), np.int64)
    ofi_lots = np.zeros((n, OFI_LEVELS), np.int64)
    notional = np.zeros((n, 3), np.int64)
    lots_to = np.zeros((2, DEPTHS), np.int64)
    for row in range(len(bucket)):
        b = bucket[row]
        rows[b] += 1
        if not live[row]:
            continue
        live_rows[b] += 1
        for side in range(2):
            side_px, side_sz = px[side], sz[side]
            known = _known_levels(side_px, row)
            total = 0
            depth = 0
            for level in range(known):
                lots = _to_int(side_sz[row, level], sz_scale)
                total += lots
                _add_product(notional, b, _to_int(side_px[row, level], px_scale), lots)
                if level == 0 or level == 4 or level == 9:
                    lots_to[side, depth] = total
                    side_rows[b, side, depth] += 1
                    side_lots[b, side, depth] += total
                    depth += 1
            for rest in range(depth, DEPTHS):
                lots_to[side, rest] = -1
        for depth in range(DEPTHS):
            bid_lots, ask_lots = lots_to[0, depth], lots_to[1, depth]
            if bid_lots >= 0 and ask_lots >= 0 and bid_lots + ask_lots > 0:
                imbalance_rows[b, depth] += 1
                imbalance_sum[b, depth] += (bid_lots - ask_lots) / (bid_lots + ask_lots)
        if lots_to[0, 0] >= 0 and lots_to[1, 0] >= 0:
            bid, ask = _to_int(px[0][row, 0], px_scale), _to_int(px[1][row, 0], px_scale)
            spread_rows[b] += 1
            spread_bps_sum[b] += 2e4 * (ask - bid) / (ask + bid)
        for level in range(OFI_LEVELS):
            flow = ofi[row, level]
            if flow == flow:
                ofi_rows[b, level] += 1
                ofi_lots[b, level] += np.int64(math.floor(flow * sz_scale + 0.5))
    return (
        rows, live_rows, spread_rows, spread_bps_sum, side_rows, side_lots, imbalance_rows, imbalance_sum, ofi_rows,
        ofi_lots, notional,
    )  # fmt: skip


@njit(cache=True)
def second_pass(mid, seconds, n):
    """Realised variance and bipower variation of 1 s log returns of the mid.

    mid: (n * seconds + 1,) bid + ask at each whole second from the hour's start, or MID_UNKNOWN, MID_UNDEFINED.
    Gives (status bits, sum of squared returns, (pi/2) sum of |r_i| |r_(i-1)|), each (n,).
    """
    status = np.zeros(n, np.int64)
    variance = np.zeros(n)
    bipower = np.zeros(n)
    for b in range(n):
        first = b * seconds
        if mid[first] == MID_UNKNOWN:
            status[b] |= SECOND_FIRST_MISSING
        elif mid[first] == MID_UNDEFINED:
            status[b] |= SECOND_UNDEFINED
        for second in range(first + 1, first + seconds + 1):
            if mid[second] == MID_UNKNOWN:
                status[b] |= SECOND_INNER_MISSING
            elif mid[second] == MID_UNDEFINED:
                status[b] |= SECOND_UNDEFINED
        if status[b] != 0:
            continue
        before = 0.0
        products = 0.0
        for second in range(first + 1, first + seconds + 1):
            change = math.log(mid[second] / mid[second - 1])
            variance[b] += change * change
            products += abs(change) * before
            before = abs(change)
        bipower[b] = 0.5 * math.pi * products
    return status, variance, bipower


@njit(cache=True)
def _notional_bin(notional, edges):
    """Bin of a positive notional: bins are (lower, upper], 64 an octave; edges: (64,) 2^(j/64) / 2."""
    mantissa, exponent = math.frexp(notional)
    below = 0
    size = 64
    while size > 0:  # how many edges lie strictly below the mantissa
        half = size // 2
        if edges[below + half] < mantissa:
            below += half + 1
            size -= half + 1
        else:
            size = half
    return BINS_PER_OCTAVE * exponent + below


@njit(cache=True)
def trade_pass(bucket, px, lots, buy, count, ts_us, n):
    """Statistics of prints per bucket, in the order (ts, trade_id).

    bucket, px, lots, count, ts_us: (p,) int64; buy: (p,) bool. Gives the arrays of `TradeStatistics` in its order.
    """
    rows = np.zeros(n, np.int64)
    counts = np.zeros(n, np.int64)
    prices = np.zeros((n, 4), np.int64)
    last_us = np.zeros(n, np.int64)
    volume = np.zeros(n, np.int64)
    buy_volume = np.zeros(n, np.int64)
    notional = np.zeros((n, 3), np.int64)
    sign_sums = np.zeros((n, 3), np.int64)
    change_sums = np.zeros((n, 2), np.int64)
    change_products = np.zeros((n, 3), np.int64)
    sign_before = 0
    change_before = 0
    for i in range(len(bucket)):
        b = bucket[i]
        sign = 1 if buy[i] else -1
        if rows[b] == 0:
            prices[b, :] = px[i]
        else:
            sign_sums[b, 0] += sign_before
            sign_sums[b, 1] += sign
            sign_sums[b, 2] += sign_before * sign
            change = px[i] - prices[b, 3]
            if rows[b] > 1:
                change_sums[b, 0] += change_before
                change_sums[b, 1] += change
                _add_product(change_products, b, change_before, change)
            change_before = change
            prices[b, 1] = max(prices[b, 1], px[i])
            prices[b, 2] = min(prices[b, 2], px[i])
            prices[b, 3] = px[i]
        sign_before = sign
        rows[b] += 1
        counts[b] += count[i]
        last_us[b] = ts_us[i]
        volume[b] += lots[i]
        if buy[i]:
            buy_volume[b] += lots[i]
        _add_product(notional, b, px[i], lots[i])
    return (
        rows, counts, prices, last_us, volume, buy_volume, notional, sign_sums, change_sums, change_products,
    )  # fmt: skip


@njit(cache=True)
def histogram_pass(bucket, px, lots, buy, scale, edges, n):
    """Sparse histogram of print notionals per bucket: 64 bins an octave of px x lots / scale.

    Gives (ends (n,), bin, prints, lots, signed lots): the entries of bucket b stand before ends[b], from ends[b - 1]
    on.
    """
    ends = np.zeros(n, np.int64)
    bins = np.zeros(len(bucket), np.int64)
    prints = np.zeros(len(bucket), np.int64)
    volume = np.zeros(len(bucket), np.int64)
    signed = np.zeros(len(bucket), np.int64)
    slot = np.full(BIN_COUNT, -1, np.int64)
    used = 0
    first = 0
    current = 0
    for i in range(len(bucket)):
        while current < bucket[i]:
            ends[current] = used
            for entry in range(first, used):
                slot[bins[entry] + BIN_OFFSET] = -1
            first = used
            current += 1
        notional = (float(px[i]) * float(lots[i])) / scale
        if notional <= 0.0:
            continue
        position = _notional_bin(notional, edges) + BIN_OFFSET
        if slot[position] < 0:
            slot[position] = used
            bins[used] = position - BIN_OFFSET
            used += 1
        entry = slot[position]
        prints[entry] += 1
        volume[entry] += lots[i]
        signed[entry] += lots[i] if buy[i] else -lots[i]
    ends[current:] = used
    return ends, bins[:used], prints[:used], volume[:used], signed[:used]


@njit(cache=True)
def effective_spread_pass(bucket, ts_us, px, lots, buy, row_us, row_mid, grid_us, n):
    """Sums of 2 d (px - M) / M weighted by notional; M from the grid row at the last grid step at or before each print.

    px: (p,) and row_mid: (r,) at one price scale, row_mid = bid + ask, MID_UNKNOWN or MID_UNDEFINED. row_us: (r,)
    rising. Gives (weighted sum, weight, prints without a live row, prints without a mid), each (n,).
    """
    weighted = np.zeros(n)
    weight = np.zeros(n)
    unknown = np.zeros(n, np.int64)
    undefined = np.zeros(n, np.int64)
    row = -1
    for i in range(len(bucket)):
        b = bucket[i]
        while row + 1 < len(row_us) and row_us[row + 1] <= ts_us[i]:
            row += 1
        if row < 0 or ts_us[i] - row_us[row] >= grid_us or row_mid[row] == MID_UNKNOWN:
            unknown[b] += 1
        elif row_mid[row] == MID_UNDEFINED:
            undefined[b] += 1
        else:
            double_mid = row_mid[row]
            share = 2.0 * (2 * px[i] - double_mid) / double_mid
            notional = float(px[i]) * float(lots[i])
            weighted[b] += notional * (share if buy[i] else -share)
            weight[b] += notional
    return weighted, weight, unknown, undefined


@njit(cache=True)
def _walk(px, sz, row, notional):
    """Average price of taking `notional` quote units from the levels of one side; NaN where they hold less."""
    left = notional
    taken = 0.0
    for level in range(LEVELS):
        price = px[row, level]
        if price != price:
            break
        value = price * sz[row, level]
        if value >= left:
            return notional / (taken + left / price)
        taken += sz[row, level]
        left -= value
    return math.nan


@njit(cache=True)
def cost_pass(bucket, live, px, sz, notional, n):
    """Cost against the mid of taking `notional` quote units, per bucket over its live rows.

    px, sz: pairs (bid, ask) of (r, L) float64. Gives (rows (n, 2), sum_bps (n, 2)): column 0 buys (walks the asks), 1
    sells; `rows` counts the live rows whose ten levels held enough.
    """
    rows = np.zeros((n, 2), np.int64)
    sum_bps = np.zeros((n, 2))
    for row in range(len(bucket)):
        bid, ask = px[0][row, 0], px[1][row, 0]
        if not live[row] or bid != bid or ask != ask:
            continue
        b = bucket[row]
        mid = 0.5 * (bid + ask)
        paid = _walk(px[1], sz[1], row, notional)
        if paid == paid:
            rows[b, 0] += 1
            sum_bps[b, 0] += 1e4 * (paid / mid - 1.0)
        received = _walk(px[0], sz[0], row, notional)
        if received == received:
            rows[b, 1] += 1
            sum_bps[b, 1] += 1e4 * (1.0 - received / mid)
    return rows, sum_bps


@njit(cache=True)
def window_std(x, known, length):
    """(std with n - 1, number of known ones) over the last `length` entries at each position; NaN under two."""
    out = np.full(len(x), math.nan)
    count = np.zeros(len(x), np.int64)
    for i in range(len(x)):
        total = 0.0
        for j in range(max(0, i - length + 1), i + 1):
            if known[j]:
                count[i] += 1
                total += x[j]
        if count[i] < 2:
            continue
        mean = total / count[i]
        squares = 0.0
        for j in range(max(0, i - length + 1), i + 1):
            if known[j]:
                squares += (x[j] - mean) * (x[j] - mean)
        out[i] = math.sqrt(squares / (count[i] - 1))
    return out, count


@njit(cache=True)
def window_mean(x, known, length):
    """(mean, number of known ones) over the last `length` entries at each position; NaN where none is known."""
    out = np.full(len(x), math.nan)
    count = np.zeros(len(x), np.int64)
    for i in range(len(x)):
        total = 0.0
        for j in range(max(0, i - length + 1), i + 1):
            if known[j]:
                count[i] += 1
                total += x[j]
        if count[i] > 0:
            out[i] = total / count[i]
    return out, count


@njit(cache=True)
def window_slope(x, y, known, length):
    """(OLS slope of y on x with intercept, number of known pairs) over the last `length`; NaN where x is constant."""
    out = np.full(len(x), math.nan)
    count = np.zeros(len(x), np.int64)
    for i in range(len(x)):
        first = max(0, i - length + 1)
        x_total = 0.0
        y_total = 0.0
        for j in range(first, i + 1):
            if known[j]:
                count[i] += 1
                x_total += x[j]
                y_total += y[j]
        if count[i] < 2:
            continue
        x_mean = x_total / count[i]
        y_mean = y_total / count[i]
        xx = 0.0
        xy = 0.0
        for j in range(first, i + 1):
            if known[j]:
                xx += (x[j] - x_mean) * (x[j] - x_mean)
                xy += (x[j] - x_mean) * (y[j] - y_mean)
        if xx > 0.0:
            out[i] = xy / xx
    return out, count


@njit(cache=True)
def window_count(flags, length):
    """How many of the last `length` entries are true, at each position."""
    count = np.zeros(len(flags), np.int64)
    for i in range(len(flags)):
        for j in range(max(0, i - length + 1), i + 1):
            if flags[j]:
                count[i] += 1
    return count


@njit(cache=True)
def window_sum(x, length):
    """Sum of the last `length` (or fewer) integers at each position."""
    out = np.zeros(len(x), np.int64)
    for i in range(len(x)):
        for j in range(max(0, i - length + 1), i + 1):
            out[i] += x[j]
    return out


@njit(cache=True)
def sum_since(x, starts, skipped):
    """Sum of the integers since the last position in `starts`, itself included; those in `skipped` count 0."""
    out = np.zeros(len(x), np.int64)
    total = 0
    for i in range(len(x)):
        if starts[i]:
            total = 0
        if not skipped[i]:
            total += x[i]
        out[i] = total
    return out


@njit(cache=True)
def whale_pass(ends, bins, prints, volume, signed, covered, length, min_covered, first):
    """Volume of prints above the 99 % quantile of the notionals of the `length` buckets before each bucket.

    ends, bins, prints, volume, signed: as from `histogram_pass`; covered: (n,). Only covered buckets give to the
    quantile; its bin is the lowest one that has 99 % of all prints at or below it. Buckets before `first` are left at
    0. Gives (lots (n,), signed lots (n,), covered buckets (n,), prints in the window (n,)).
    """
    n = len(ends)
    whale = np.zeros(n, np.int64)
    whale_signed = np.zeros(n, np.int64)
    covered_count = np.zeros(n, np.int64)
    total = np.zeros(n, np.int64)
    covered_before = np.zeros(n + 1, np.int64)
    counted = np.zeros(len(bins), np.int64)  # prints that may give to a quantile
    for i in range(n):
        covered_before[i + 1] = covered_before[i] + covered[i]
        if covered[i]:
            for entry in range(ends[i - 1] if i > 0 else 0, ends[i]):
                counted[entry] = prints[entry]
    lowest = bins.min() if len(bins) else 0
    span = (bins.max() - lowest + 1) if len(bins) else 1
    histogram = np.zeros(span, np.int64)
    for i in range(first, n):
        begin = max(0, i - length)
        covered_count[i] = covered_before[i] - covered_before[begin]
        if covered_count[i] < min_covered:
            continue
        own = ends[i - 1] if i > 0 else 0
        histogram[:] = 0
        for entry in range(ends[begin - 1] if begin > 0 else 0, own):
            histogram[bins[entry] - lowest] += counted[entry]
            total[i] += counted[entry]
        rank = (99 * total[i] + 99) // 100
        below = 0
        threshold = 0
        while threshold < span and below + histogram[threshold] < rank:
            below += histogram[threshold]
            threshold += 1
        for entry in range(own, ends[i]):
            if bins[entry] - lowest > threshold:
                whale[i] += volume[entry]
                whale_signed[i] += signed[entry]
    return whale, whale_signed, covered_count, total


@njit(cache=True)
def volume_clock(ts_us, lots, buy, segment, size):
    """The complete volume buckets of one day's prints: (completion times, |buy - sell| lots), in order.

    A bucket holds `size` lots; a print that crosses its end is split; where `segment` changes the clock restarts and
    the unfinished bucket is dropped.
    """
    total = 0
    for i in range(len(lots)):
        total += lots[i]
    done_us = np.zeros(total // size, np.int64)
    imbalance = np.zeros(total // size, np.int64)
    done = 0
    filled = 0
    signed = 0
    for i in range(len(lots)):
        if i > 0 and segment[i] != segment[i - 1]:
            filled = 0
            signed = 0
        left = lots[i]
        while left > 0:
            part = min(left, size - filled)
            filled += part
            signed += part if buy[i] else -part
            left -= part
            if filled == size:
                done_us[done] = ts_us[i]
                imbalance[done] = abs(signed)
                done += 1
                filled = 0
                signed = 0
    return done_us[:done], imbalance[:done]


@njit(cache=True)
def volume_window(ts_us, done_us, share, length):
    """(mean of the last `length` or fewer shares completed before each ts, how many they were)."""
    out = np.full(len(ts_us), math.nan)
    count = np.zeros(len(ts_us), np.int64)
    end = 0
    for i in range(len(ts_us)):
        while end < len(done_us) and done_us[end] < ts_us[i]:
            end += 1
        total = 0.0
        for j in range(max(0, end - length), end):
            total += share[j]
        count[i] = end - max(0, end - length)
        if count[i] > 0:
            out[i] = total / count[i]
    return out, count
