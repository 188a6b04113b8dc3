"""The market model's event loop, compiled: limit orders, cancels and market orders on one true book of a symbol.

A zero-intelligence book in the sense of Cont, Stoikov and Talreja (2010): orders arrive, change and leave per price
level with intensities that depend on the distance from the best price. It is pulled along by an efficient price that
diffuses with a clustered, daily-cycled volatility and is pushed by market orders, whose sign is persistent. Everything
a client sees (depth, trades, tickers, bars) comes from the one sequence of changes made here.

Times are microseconds since the epoch, prices ticks, sizes lots. State lives in plain arrays, so that a run can stop at
any time and go on: how it is cut changes nothing. Random numbers come from splitmix64, whose state is part of it.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Words = NDArray[np.uint64]

compiled = njit(cache=True, nogil=True, _nrt=False)
"""Without reference counts (`_nrt`), which took four fifths of the time: nothing here allocates, all arrays are the
caller's. The arrays are the caller's alone while a kernel runs, so that it may run without the interpreter's lock."""

BID, ASK = 0, 1
WIDTH = 1 << 16
"""Ticks of the ring that holds each side; a level lies at `tick & MASK`."""
MASK = WIDTH - 1
REACH = 30_000
"""Ticks from the best price beyond which levels are cancelled; under half of WIDTH: the ring never folds."""
LOWEST_EFFICIENT = 1000.0
"""Ticks below which the efficient price never falls: every price stays positive."""
EDGE_TICKS = 256
"""Most ticks that an edge moves a step, which bounds the rows a step adds to the log."""
STEP_US = 100_000
"""Grid on which volatility and flow move and the depth stream is flushed."""
TOP_LEVELS = 10

# Slots of State.ints.
NEXT_STEP_US, NEXT_EVENT_US, LAST_ID, NEXT_ID, LAST_CHANGE_US, TRADE_ID, ORDER_ID = range(7)
BEST_BID, BEST_ASK, LOW_EDGE, HIGH_EDGE, LAST_FORCED_US, OPEN_INTEREST = range(7, 13)
INTS = 13

# Slots of State.floats.
EFFICIENT, FLOW, SLOW_VOL, FAST_VOL, STEP_VOL, MEAN_GAP_US, MARK, BASIS = range(8)
FLOATS = 8

# Slots of State.parameters.
P_EVENTS, P_VOL, P_LEVEL_LOTS, P_NEAR, P_DEPTH, P_OCCUPANCY, P_ID_GAP, P_FORCED = range(8)
PARAMETERS = 8

# Columns of the log of changes: one row per level change, in the order of ids, with the best prices after it.
C_ID, C_US, C_SIDE, C_TICK, C_LOTS, C_BID, C_BID_LOTS, C_ASK, C_ASK_LOTS = range(9)
CHANGE_COLUMNS = 9
# Columns of the log of trades. T_SIDE: 0 the taker bought, 1 sold. T_KIND: 0 MARKET, 1 NA, 2 INSURANCE_FUND.
T_ID, T_US, T_TICK, T_LOTS, T_SIDE, T_KIND, T_ORDER = range(7)
TRADE_COLUMNS = 7
MARKET, NA, INSURANCE_FUND = 0, 1, 2
# Columns of the log of forced orders. F_VALUE: sum of tick x lots.
F_US, F_SIDE, F_LIMIT, F_LOTS, F_VALUE = range(5)
FORCED_COLUMNS = 5
# Columns of the log of steps: the true state at each grid time, after every event before it.
S_US, S_CHANGES, S_TRADES, S_FORCED, S_LAST_ID, S_LAST_CHANGE_US, S_MARK, S_INDEX, S_FUNDING, S_INTEREST = range(10)
S_TOP = 10
S_TOP_ASK = S_TOP + 2 * TOP_LEVELS
STEP_COLUMNS = S_TOP + 4 * TOP_LEVELS
PRICE_SCALE = 1000
"""S_MARK and S_INDEX are ticks x PRICE_SCALE."""
FUNDING_SCALE = 10**8

ROOM = 512
"""Free rows that one event or step may need in a log."""


class State(NamedTuple):
    """All of a symbol's market: `book` (2, WIDTH) lots, scalars, parameters and the random state."""

    book: Ints
    ints: Ints
    floats: Floats
    parameters: Floats
    random: Words


class Log(NamedTuple):
    """What happened, row by row; `counts` = rows in use of (changes, trades, forced, steps)."""

    changes: Ints
    trades: Ints
    forced: Ints
    steps: Ints
    counts: Ints


@compiled
def _uniform(random: Words) -> float:
    """A number in (0, 1): the next of splitmix64 (Steele, Lea and Flood 2014)."""
    random[0] += np.uint64(0x9E3779B97F4A7C15)
    z = random[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (float(z >> np.uint64(11)) + 0.5) * 2.0**-53


@compiled
def _normal(random: Words) -> float:
    return math.sqrt(-2.0 * math.log(_uniform(random))) * math.cos(2.0 * math.pi * _uniform(random))


@compiled
def _lots(random: Words, mean: float) -> int:
    """A heavy-tailed order size of at least one lot: Weibull of shape 1/2 with this mean."""
    e = -math.log(_uniform(random))
    return 1 + int(0.5 * e * e * mean)


@compiled
def _distance(random: Words, near: float, depth: float) -> int:
    """Ticks from the best price at which an order acts: mostly near, with a tail as heavy as 1/d."""
    if _uniform(random) < 0.75:
        return int(-math.log(_uniform(random)) * near)
    return int(depth * (1.0 / _uniform(random) - 1.0) * 0.3)


@compiled
def _record_change(state: State, log: Log, side: int, tick: int, t_us: int) -> None:
    ints = state.ints
    ints[LAST_ID] = ints[NEXT_ID]
    mean_gap = state.parameters[P_ID_GAP]
    gap = 1 if mean_gap <= 1.0 else 1 + int(-math.log(_uniform(state.random)) * (mean_gap - 1.0))
    ints[NEXT_ID] = ints[LAST_ID] + gap
    ints[LAST_CHANGE_US] = t_us
    row = log.counts[0]
    log.counts[0] = row + 1
    changes = log.changes
    changes[row, C_ID] = ints[LAST_ID]
    changes[row, C_US] = t_us
    changes[row, C_SIDE] = side
    changes[row, C_TICK] = tick
    changes[row, C_LOTS] = state.book[side, tick & MASK]
    changes[row, C_BID] = ints[BEST_BID]
    changes[row, C_BID_LOTS] = state.book[BID, ints[BEST_BID] & MASK]
    changes[row, C_ASK] = ints[BEST_ASK]
    changes[row, C_ASK_LOTS] = state.book[ASK, ints[BEST_ASK] & MASK]


@compiled
def _next_level(state: State, side: int) -> int:
    """Tick of the level behind the best one of `side`; the best one itself where there is none."""
    if side == BID:
        best = state.ints[BEST_BID]
        for tick in range(best - 1, state.ints[LOW_EDGE], -1):
            if state.book[BID, tick & MASK] > 0:
                return tick
        return best
    best = state.ints[BEST_ASK]
    for tick in range(best + 1, state.ints[HIGH_EDGE]):
        if state.book[ASK, tick & MASK] > 0:
            return tick
    return best


@compiled
def _set_level(state: State, log: Log, side: int, tick: int, lots: int, t_us: int) -> bool:
    """Give a level its size; false where that would empty the side, which is left as it is."""
    ints = state.ints
    best = ints[BEST_BID + side]
    if lots == 0 and tick == best:
        behind = _next_level(state, side)
        if behind == best:
            return False
        ints[BEST_BID + side] = behind
    elif lots > 0 and ((side == BID and tick > best) or (side == ASK and tick < best)):
        ints[BEST_BID + side] = tick
    state.book[side, tick & MASK] = lots
    _record_change(state, log, side, tick, t_us)
    return True


@compiled
def _record_trade(state: State, log: Log, tick: int, lots: int, side: int, kind: int, t_us: int) -> None:
    ints = state.ints
    row = log.counts[1]
    log.counts[1] = row + 1
    trades = log.trades
    trades[row, T_ID] = ints[TRADE_ID]
    trades[row, T_US] = t_us
    trades[row, T_TICK] = tick
    trades[row, T_LOTS] = lots
    trades[row, T_SIDE] = side
    trades[row, T_KIND] = kind
    trades[row, T_ORDER] = ints[ORDER_ID]
    ints[TRADE_ID] += 1


@compiled
def _market_order(state: State, log: Log, taker_sells: int, lots: int, limit: int, t_us: int) -> tuple[int, int]:
    """Take `lots` from the other side as far as `limit` (ticks) and five levels; gives lots and sum of tick x lots."""
    ints, random = state.ints, state.random
    side = BID if taker_sells else ASK
    ints[ORDER_ID] += 1
    filled, value = 0, 0
    for _ in range(5):
        tick = ints[BEST_BID + side]
        if lots <= 0 or (side == ASK and tick > limit) or (side == BID and tick < limit):
            break
        available = state.book[side, tick & MASK]
        take = min(lots, available)
        if not _set_level(state, log, side, tick, available - take, t_us):
            break
        filled += take
        value += take * tick
        lots -= take
        # A level is a queue of resting orders: each that is met prints.
        while take > 0:
            part = take if take < 3 or _uniform(random) < 0.6 else 1 + int(_uniform(random) * (take - 1))
            _record_trade(state, log, tick, part, taker_sells, MARKET, t_us)
            take -= part
    ints[OPEN_INTEREST] += int(filled * (_uniform(random) - 0.5))
    if state.parameters[P_FORCED] > 0.0 and _uniform(random) < 0.002:
        _record_trade(state, log, 0, 0, taker_sells, NA, t_us)
    return filled, value


@compiled
def _follow_efficient_price(state: State, log: Log, t_us: int) -> bool:
    """Where the efficient price is through a best price, that side's stale levels are taken or pulled away."""
    ints, random = state.ints, state.random
    efficient = state.floats[EFFICIENT]
    for side in range(2):
        through = efficient - ints[BEST_ASK] if side == ASK else ints[BEST_BID] - efficient
        if through < 0.5:
            continue
        if _uniform(random) < 0.02:
            limit = math.floor(efficient) if side == ASK else math.ceil(efficient)
            lots = _lots(random, 2.0 * state.parameters[P_LEVEL_LOTS])
            _market_order(state, log, 1 - side, lots, limit, t_us)
        else:
            _set_level(state, log, side, ints[BEST_BID + side], 0, t_us)
        return True
    return False


@compiled
def _narrow_spread(state: State, log: Log, t_us: int) -> None:
    """A quote inside the spread, next to the efficient price."""
    ints, random = state.ints, state.random
    bid, ask = ints[BEST_BID], ints[BEST_ASK]
    inner_bid = min(max(math.floor(state.floats[EFFICIENT]), bid), ask - 1)
    flow = math.tanh(state.floats[FLOW])
    mean = 2.0 * state.parameters[P_LEVEL_LOTS]
    if inner_bid > bid and (inner_bid + 1 == ask or _uniform(random) < 0.5):
        _set_level(state, log, BID, inner_bid, _lots(random, mean * math.exp(0.3 * flow)), t_us)
    else:
        _set_level(state, log, ASK, inner_bid + 1, _lots(random, mean * math.exp(-0.3 * flow)), t_us)


@compiled
def _background_order(state: State, log: Log, t_us: int) -> None:
    """A limit order, a change or a cancel somewhere in the book: per level a birth and death process."""
    ints, random, parameters = state.ints, state.random, state.parameters
    side = BID if _uniform(random) < 0.5 else ASK
    distance = _distance(random, parameters[P_NEAR], parameters[P_DEPTH])
    tick = ints[BEST_BID] - distance if side == BID else ints[BEST_ASK] + distance
    if tick <= ints[LOW_EDGE] or tick >= ints[HIGH_EDGE]:
        return
    size = state.book[side, tick & MASK]
    tilt = math.tanh(state.floats[FLOW]) * (0.3 if side == BID else -0.3)
    mean = parameters[P_LEVEL_LOTS] * (2.0 if distance == 0 else 1.0) * math.exp(tilt)
    u = _uniform(random)
    if size > 0:
        if u < 0.4:
            _set_level(state, log, side, tick, 0, t_us)
        elif u < 0.7:
            _set_level(state, log, side, tick, size + _lots(random, 0.3 * mean), t_us)
        elif size > 1:
            _set_level(state, log, side, tick, 1 + int(_uniform(random) * (size - 1)), t_us)
        return
    occupancy = parameters[P_OCCUPANCY] * parameters[P_DEPTH] / (parameters[P_DEPTH] + distance)
    if u < 0.4 * occupancy / (1.0 - occupancy):
        _set_level(state, log, side, tick, _lots(random, mean), t_us)


@compiled
def _one_event(state: State, log: Log, t_us: int) -> None:
    ints, floats, random = state.ints, state.floats, state.random
    if _uniform(random) < 0.6 and _follow_efficient_price(state, log, t_us):
        return
    if ints[BEST_ASK] - ints[BEST_BID] > 1 and _uniform(random) < 0.7:
        _narrow_spread(state, log, t_us)
        return
    if _uniform(random) < 0.002:
        sign = 1.0 if _uniform(random) < 0.5 + 0.35 * math.tanh(floats[FLOW]) else -1.0
        limit = ints[HIGH_EDGE] if sign > 0 else ints[LOW_EDGE]
        lots = _lots(random, 0.5 * state.parameters[P_LEVEL_LOTS])
        _market_order(state, log, 0 if sign > 0 else 1, lots, limit, t_us)
        # Permanent impact in proportion to the volatility: what makes persistent flow move the price.
        floats[EFFICIENT] += sign * 0.15 * floats[STEP_VOL]
        return
    _background_order(state, log, t_us)


@compiled
def _forced_order(state: State, log: Log, move: float, t_us: int) -> None:
    """Liquidations hit those whom the last move hurt: sells after a fall. At most one a second."""
    ints, floats, random = state.ints, state.floats, state.random
    chance = state.parameters[P_FORCED] * floats[STEP_VOL] / state.parameters[P_VOL]
    if t_us - ints[LAST_FORCED_US] < 1_000_000 or _uniform(random) > chance:
        return
    sells = 1 if move < 0 else 0
    slip = 200 + int(20 * floats[STEP_VOL])
    limit = ints[BEST_BID] - slip if sells else ints[BEST_ASK] + slip
    filled, value = _market_order(state, log, sells, _lots(random, 1.5 * state.parameters[P_LEVEL_LOTS]), limit, t_us)
    if filled == 0:
        return
    if _uniform(random) < 0.1:
        _record_trade(state, log, value // filled, 1 + filled // 10, sells, INSURANCE_FUND, t_us)
    row = log.counts[2]
    log.counts[2] = row + 1
    log.forced[row, F_US] = t_us
    log.forced[row, F_SIDE] = sells
    log.forced[row, F_LIMIT] = limit
    log.forced[row, F_LOTS] = filled
    log.forced[row, F_VALUE] = value
    ints[LAST_FORCED_US] = t_us


@compiled
def _move_edges(state: State, log: Log, t_us: int) -> None:
    """Cancel what has come to lie too far from the best price for the ring to hold."""
    ints, book = state.ints, state.book
    for side in range(2):
        direction = 1 if side == BID else -1
        edge, target = ints[LOW_EDGE + side], max(ints[BEST_BID + side] - direction * REACH, 0)
        for _ in range(EDGE_TICKS):
            if direction * (target - edge) <= 0:
                break
            if book[side, edge & MASK] > 0:
                _set_level(state, log, side, edge, 0, t_us)
            edge += direction
        # Where the best price has come closer, the edge falls back at once: nothing lies there.
        ints[LOW_EDGE + side] = min(edge, target) if side == BID else max(edge, target)


@compiled
def _record_step(state: State, log: Log, step_us: int) -> None:
    ints, floats = state.ints, state.floats
    row = log.steps[log.counts[3]]
    log.counts[3] += 1
    row[S_US] = step_us
    row[S_CHANGES], row[S_TRADES], row[S_FORCED] = log.counts[0], log.counts[1], log.counts[2]
    row[S_LAST_ID], row[S_LAST_CHANGE_US] = ints[LAST_ID], ints[LAST_CHANGE_US]
    row[S_MARK] = int(floats[MARK] * PRICE_SCALE)
    row[S_INDEX] = int(floats[MARK] / (1.0 + floats[BASIS]) * PRICE_SCALE)
    row[S_FUNDING] = int((1e-4 + 0.5 * floats[BASIS]) * FUNDING_SCALE)
    row[S_INTEREST] = ints[OPEN_INTEREST]
    for side in range(2):
        tick = ints[BEST_BID + side]
        edge = ints[LOW_EDGE + side]
        direction = -1 if side == BID else 1
        for level in range(TOP_LEVELS):
            while tick != edge and state.book[side, tick & MASK] == 0:
                tick += direction
            row[S_TOP + 2 * side * TOP_LEVELS + level] = tick
            row[S_TOP + (2 * side + 1) * TOP_LEVELS + level] = state.book[side, tick & MASK] if tick != edge else 0
            if tick != edge:
                tick += direction


@compiled
def _one_step(state: State, log: Log, step_us: int) -> None:
    """Record the grid time, then move volatility, flow and efficient price to the next."""
    ints, floats, random, parameters = state.ints, state.floats, state.random, state.parameters
    floats[MARK] += 0.02 * (0.5 * (ints[BEST_BID] + ints[BEST_ASK]) - floats[MARK])
    _record_step(state, log, step_us)
    # Half-lives in steps of 100 ms: slow volatility 30 min, fast 2 min, flow 3 min, basis 4 h.
    for slot, half_life, deviation in (
        (SLOW_VOL, 18000.0, 0.4),
        (FAST_VOL, 1200.0, 0.3),
        (FLOW, 1800.0, 1.0),
        (BASIS, 144000.0, 2e-4),
    ):
        keep = 0.5 ** (1.0 / half_life)
        floats[slot] = keep * floats[slot] + deviation * math.sqrt(1.0 - keep * keep) * _normal(random)
    hour = (step_us % 86_400_000_000) / 3.6e9
    log_vol = 0.5 * math.cos((hour - 14.0) * math.pi / 12.0) + floats[SLOW_VOL] + floats[FAST_VOL]
    floats[STEP_VOL] = parameters[P_VOL] * math.exp(log_vol)
    floats[MEAN_GAP_US] = STEP_US / (parameters[P_EVENTS] * math.exp(0.35 * log_vol))
    move = floats[STEP_VOL] * _normal(random)
    floats[EFFICIENT] = max(floats[EFFICIENT] + move, LOWEST_EFFICIENT)
    _forced_order(state, log, move, step_us)
    _move_edges(state, log, step_us)
    ints[NEXT_STEP_US] = step_us + STEP_US
    # Arrivals have no memory, so the next one may be drawn anew at the new rate.
    ints[NEXT_EVENT_US] = step_us + 1 + int(-math.log(_uniform(random)) * floats[MEAN_GAP_US])


@compiled
def advance(state: State, log: Log, until_us: int) -> bool:
    """Everything that happens before `until_us`, added to the log; false where a log is full first: empty it, go on."""
    ints = state.ints
    while True:
        if (
            log.counts[0] + ROOM > len(log.changes)
            or log.counts[1] + ROOM > len(log.trades)
            or log.counts[2] + 1 > len(log.forced)
            or log.counts[3] + 1 > len(log.steps)
        ):
            return False
        if ints[NEXT_STEP_US] <= ints[NEXT_EVENT_US]:
            if ints[NEXT_STEP_US] >= until_us:
                return True
            _one_step(state, log, ints[NEXT_STEP_US])
        else:
            if ints[NEXT_EVENT_US] >= until_us:
                return True
            t_us = ints[NEXT_EVENT_US]
            _one_event(state, log, t_us)
            ints[NEXT_EVENT_US] = t_us + 1 + int(-math.log(_uniform(state.random)) * state.floats[MEAN_GAP_US])


@compiled
def fill_book(state: State) -> None:
    """The first book: levels in use with the stationary share of each distance."""
    ints, random, parameters = state.ints, state.random, state.parameters
    for side in range(2):
        best = ints[BEST_BID + side]
        for distance in range(REACH):
            occupancy = parameters[P_OCCUPANCY] * parameters[P_DEPTH] / (parameters[P_DEPTH] + distance)
            if distance > 0 and _uniform(random) >= occupancy:
                continue
            tick = best - distance if side == BID else best + distance
            if tick <= 0:
                break
            state.book[side, tick & MASK] = _lots(random, parameters[P_LEVEL_LOTS])
