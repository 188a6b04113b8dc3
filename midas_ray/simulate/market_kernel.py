"""The market model's event loop, compiled: limit orders, cancels and market orders on one true book of a symbol.

A queue-reactive book (Huang, Lehalle and Rosenbaum 2015) met by Hawkes market orders (Bacry and Muzy 2014). Limit
orders and cancels at the two best prices come with intensities that depend on the size of the queue there. When a
queue is used up, the reference price moves by a number of ticks, perhaps none, the levels on its way are pulled, and
both sides follow: the price has no other mover, so that order flow explains returns (Cont, Kukanov and Stoikov 2014).
As in the captures, a queue that has just retreated is often too thin to hold and the one that followed is long, so
that moves come in bursts. Market orders excite further ones, mostly of their own sign. Behind the best prices, orders
arrive, change and leave per level with intensities that depend on the distance (Cont, Stoikov and Talreja 2010). A
clustered, daily-cycled volatility is the clock of the queues and, less, the scale of the moves. Everything a client
sees (depth, trades, tickers, bars) comes from the one sequence of changes made here.

`benchmarks.market` compares it with real captures. R^2 of the mid's change on the best level's order flow, in sixteen
simulated hours of btcusdt and ethusdt futures (four seeds and hours of the day each, 20 and 105 level changes): 0.45 to
0.53 at 1 s and 0.59 to 0.69 at 10 s; in the captures of the two, 0.46 and 0.51, 0.58 and 0.67.

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
LOWEST_BID = 200
"""Ticks below which the reference price never moves: every price stays positive."""
MAX_JUMP_TICKS = 400
"""Most ticks of one move of the reference price, which bounds the rows that it adds to the log."""
EDGE_TICKS = 256
"""Most ticks that an edge moves a step, which bounds the rows a step adds to the log."""
STEP_US = 100_000
"""Grid on which volatility and flow move and the depth stream is flushed."""
TOP_LEVELS = 10

# Slots of State.ints. REFERENCE: the bid at which the spread closes. STEP_REFERENCE: that of the last step.
# EMPTIED: price of a best queue that is used up, until the reference price follows; 0 = none. RETREATED: its side.
NEXT_STEP_US, NEXT_EVENT_US, LAST_ID, NEXT_ID, LAST_CHANGE_US, TRADE_ID, ORDER_ID = range(7)
BEST_BID, BEST_ASK, LOW_EDGE, HIGH_EDGE, LAST_FORCED_US, OPEN_INTEREST, REFERENCE, STEP_REFERENCE = range(7, 15)
EMPTIED, RETREATED = 15, 16
INTS = 17

# Slots of State.floats. Rates a second: BACKGROUND, QUEUES, TAKERS (market orders that nothing excited),
# EXCITED + 2 x (0 fast, 1 slow) + (0 buys, 1 sells). JUMP: mean ticks of a move of the reference price.
FLOW, SLOW_VOL, FAST_VOL, BASIS, MARK, JUMP, BACKGROUND, QUEUES, TAKERS, EXCITED = range(10)
FLOATS = EXCITED + 4

# Slots of State.parameters. Rates a second at the median volatility; P_JUMP: share of the price.
P_BACKGROUND, P_QUEUES, P_TAKERS, P_TAKER_LOTS, P_BEST_LOTS, P_LEVEL_LOTS = range(6)
P_JUMP, P_NEAR, P_DEPTH, P_OCCUPANCY, P_ID_GAP, P_FORCED = range(6, 12)
PARAMETERS = 12

CLOCK_POWER, JUMP_POWER, BACKGROUND_POWER = 1.5, 0.25, 0.3
"""How queues and market orders, moves and the orders behind the best follow the volatility: half the first and the
second make one."""
FAST_DECAY, SLOW_DECAY = math.exp(-0.1 / 0.15), math.exp(-0.1 / 10.0)
"""Share of the excitation that a step of 100 ms leaves: time constants of 0.15 s and 10 s."""
FAST_SAME, FAST_OTHER, SLOW_SAME, SLOW_OTHER = 0.50, 0.08, 0.14, 0.03
"""Market orders that one excites directly, of its own sign and of the other; in all 0.75, the branching ratio."""
UNEXCITED = 1.0 - FAST_SAME - FAST_OTHER - SLOW_SAME - SLOW_OTHER
FAST_RATE = 1.0 / (0.1 * (0.5 + FAST_DECAY / (1.0 - FAST_DECAY)))
SLOW_RATE = 1.0 / (0.1 * (0.5 + SLOW_DECAY / (1.0 - SLOW_DECAY)))
"""Rate a second that adds one order in all: it holds to the step's end, by half a step in the mean, then decays."""
CANCEL_AT = 0.8
"""Queue size, in mean ones, at which cancels are as frequent as new orders."""
ORDER_SHARE = 0.135
"""Mean size of an order in the best queue, in mean queues."""
REFILL = 0.8
"""How much more often the queue that market orders have been hitting is refilled, for each multiple of their rate."""
THIN, PULL = 0.15, 0.2
"""A queue under THIN of the mean is pulled as a whole by this share of the events there."""
TAKER_SPREAD = 2.3
"""Standard deviation of the logarithm of a market order's size."""
PRINTED_WHOLE = 0.4
"""Chance that what is left of an order meets one resting order only."""
CANCELLED, WALK_TICKS = 0.4, 16
"""Share of the events at a level in use behind the best that end it; how far an event that finds none looks on."""
GOES_ON, THIN_QUEUE, FOLLOWING_QUEUE = 0.7, 0.12, 2.2
"""Share of retreats behind which the new queue is thin, and its mean then, in mean queues: moves come in bursts."""
SWEEP = 0.3
"""Share of market orders that go on behind the best price, as far as five levels."""

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

ROOM = 1024
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
def _new_queue(state: State, retreats: bool) -> int:
    """Size of a new best queue: gamma of shape 2; one that has just retreated may be too thin to hold."""
    random, mean = state.random, state.parameters[P_BEST_LOTS]
    if not retreats:
        mean *= FOLLOWING_QUEUE
    elif _uniform(random) < GOES_ON:
        mean *= THIN_QUEUE
    return 1 + int(-0.5 * math.log(_uniform(random) * _uniform(random)) * mean)


@compiled
def _move_reference(state: State, log: Log, t_us: int) -> None:
    """A best queue is used up: the reference price moves on from there and the levels on its way are pulled."""
    ints, random = state.ints, state.random
    side, first = ints[RETREATED], ints[EMPTIED]
    ints[EMPTIED] = 0
    size = (0.1 - 0.9 * math.log(_uniform(random))) * state.floats[JUMP]
    # Rounded at random: where a mean move is less than a tick, most queues are filled again at their price.
    jump = min(int(size + _uniform(random)), MAX_JUMP_TICKS)
    if side == BID and first - jump < LOWEST_BID:
        jump = 0
    direction = -1 if side == BID else 1
    target = first + direction * jump
    while direction * (target - ints[BEST_BID + side]) > 0:
        if not _set_level(state, log, side, ints[BEST_BID + side], 0, t_us):
            break
    if ints[BEST_BID + side] == target:
        _set_level(state, log, side, target, _new_queue(state, True), t_us)
    ints[REFERENCE] = target if side == BID else target - 1


@compiled
def _market_order(state: State, log: Log, taker_sells: int, lots: int, limit: int, t_us: int) -> tuple[int, int]:
    """Take `lots` from the other side as far as `limit` (ticks) and five levels; gives lots and sum of tick x lots."""
    ints, random = state.ints, state.random
    side = BID if taker_sells else ASK
    first = ints[BEST_BID + side]
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
            part = take if take < 3 or _uniform(random) < PRINTED_WHOLE else 1 + int(_uniform(random) * (take - 1))
            _record_trade(state, log, tick, part, taker_sells, MARKET, t_us)
            take -= part
    ints[OPEN_INTEREST] += int(filled * (_uniform(random) - 0.5))
    if state.parameters[P_FORCED] > 0.0 and _uniform(random) < 0.002:
        _record_trade(state, log, 0, 0, taker_sells, NA, t_us)
    if ints[BEST_BID + side] != first:
        ints[EMPTIED], ints[RETREATED] = first, side
    return filled, value


@compiled
def _empty_best(state: State, log: Log, side: int, t_us: int) -> None:
    """The best queue of a side is cancelled away."""
    ints = state.ints
    first = ints[BEST_BID + side]
    if _set_level(state, log, side, first, 0, t_us):
        ints[EMPTIED], ints[RETREATED] = first, side


@compiled
def _narrow_spread(state: State, log: Log, t_us: int) -> None:
    """A new best queue at the reference price; orders follow it, from the old one too."""
    ints, random, parameters = state.ints, state.random, state.parameters
    bid, ask = ints[BEST_BID], ints[BEST_ASK]
    reference = min(max(ints[REFERENCE], bid), ask - 1)
    side, old, new = (BID, bid, reference) if reference > bid else (ASK, ask, reference + 1)
    _set_level(state, log, side, new, _new_queue(state, ints[RETREATED] == side), t_us)
    direction = 1 if side == BID else -1
    for distance in range(1, min(direction * (new - old), MAX_JUMP_TICKS)):
        if _uniform(random) < parameters[P_OCCUPANCY]:
            tick = new - direction * distance
            _set_level(state, log, side, tick, _lots(random, parameters[P_LEVEL_LOTS]), t_us)
    if state.book[side, old & MASK] > 2.0 * parameters[P_LEVEL_LOTS]:
        stays = _uniform(random) < parameters[P_OCCUPANCY]
        _set_level(state, log, side, old, _lots(random, parameters[P_LEVEL_LOTS]) if stays else 0, t_us)


@compiled
def _queue_order(state: State, log: Log, t_us: int) -> None:
    """A limit order or a cancel in one of the two best queues: the longer it is, the likelier a cancel."""
    ints, random = state.ints, state.random
    side = BID if _uniform(random) < 0.5 else ASK
    tick = ints[BEST_BID + side]
    lots = state.book[side, tick & MASK]
    mean = state.parameters[P_BEST_LOTS]
    share = lots / mean
    # Resting orders meet persistent flow: where buyers have been coming, the ask is refilled sooner.
    floats = state.floats
    flow = (floats[EXCITED + 2] - floats[EXCITED + 3]) / floats[TAKERS]
    refill = CANCEL_AT * max(1.0 + (REFILL if side == ASK else -REFILL) * flow, 0.2)
    if share < THIN and _uniform(random) < PULL:
        _empty_best(state, log, side, t_us)
        return
    size = _lots(random, ORDER_SHARE * mean)
    if _uniform(random) * (math.sqrt(share) + refill) >= math.sqrt(share):
        _set_level(state, log, side, tick, lots + size, t_us)
    elif size < lots:
        _set_level(state, log, side, tick, lots - size, t_us)
    else:
        _empty_best(state, log, side, t_us)


@compiled
def _background_order(state: State, log: Log, t_us: int) -> None:
    """A limit order, a change or a cancel behind the best prices: per level a birth and death process."""
    ints, random, parameters = state.ints, state.random, state.parameters
    side = BID if _uniform(random) < 0.5 else ASK
    direction = -1 if side == BID else 1
    distance = 1 + _distance(random, parameters[P_NEAR], parameters[P_DEPTH])
    tick = ints[BEST_BID + side] + direction * distance
    if tick <= ints[LOW_EDGE] + WALK_TICKS or tick >= ints[HIGH_EDGE] - WALK_TICKS:
        return
    tilt = math.tanh(state.floats[FLOW]) * (0.3 if side == BID else -0.3)
    mean = parameters[P_LEVEL_LOTS] * math.exp(tilt)
    if state.book[side, tick & MASK] > 0:
        if _uniform(random) < CANCELLED:
            _set_level(state, log, side, tick, 0, t_us)
            return
    else:
        occupancy = parameters[P_OCCUPANCY] * parameters[P_DEPTH] / (parameters[P_DEPTH] + distance)
        if _uniform(random) < CANCELLED * occupancy / (1.0 - occupancy):
            _set_level(state, log, side, tick, _lots(random, mean), t_us)
            return
        for _ in range(WALK_TICKS):
            tick += direction
            if state.book[side, tick & MASK] > 0:
                break
    size = state.book[side, tick & MASK]
    if size > 0 and _uniform(random) < 0.5:
        _set_level(state, log, side, tick, size + _lots(random, 0.5 * mean), t_us)
    elif size > 1:
        _set_level(state, log, side, tick, 1 + int(_uniform(random) * (size - 1)), t_us)


@compiled
def _rate(floats: Floats) -> float:
    """Events a second of all kinds."""
    orders = floats[EXCITED] + floats[EXCITED + 1] + floats[EXCITED + 2] + floats[EXCITED + 3]
    return floats[BACKGROUND] + floats[QUEUES] + floats[TAKERS] + orders


@compiled
def _taker(state: State, log: Log, t_us: int) -> None:
    """A market order, of the sign of what excited it, and what it excites itself."""
    ints, floats, random, parameters = state.ints, state.floats, state.random, state.parameters
    buys = 0.5 * (1.0 + 0.5 * math.tanh(floats[FLOW])) * floats[TAKERS] + floats[EXCITED] + floats[EXCITED + 2]
    orders = floats[TAKERS] + floats[EXCITED] + floats[EXCITED + 1] + floats[EXCITED + 2] + floats[EXCITED + 3]
    sells = 0 if _uniform(random) * orders < buys else 1
    floats[EXCITED + sells] += FAST_SAME * FAST_RATE
    floats[EXCITED + 1 - sells] += FAST_OTHER * FAST_RATE
    floats[EXCITED + 2 + sells] += SLOW_SAME * SLOW_RATE
    floats[EXCITED + 3 - sells] += SLOW_OTHER * SLOW_RATE
    size = math.exp(TAKER_SPREAD * _normal(random) - 0.5 * TAKER_SPREAD * TAKER_SPREAD)
    limit = ints[BEST_BID] if sells else ints[BEST_ASK]
    if _uniform(random) < SWEEP:
        limit = ints[LOW_EDGE] if sells else ints[HIGH_EDGE]
    _market_order(state, log, sells, 1 + int(size * parameters[P_TAKER_LOTS]), limit, t_us)


@compiled
def _one_event(state: State, log: Log, t_us: int) -> None:
    ints, floats, random = state.ints, state.floats, state.random
    if ints[EMPTIED] > 0:
        _move_reference(state, log, t_us)
        return
    if ints[BEST_ASK] - ints[BEST_BID] > 1 and _uniform(random) < 0.7:
        _narrow_spread(state, log, t_us)
        return
    kind = _uniform(random) * _rate(floats)
    if kind < floats[BACKGROUND]:
        _background_order(state, log, t_us)
    elif kind < floats[BACKGROUND] + floats[QUEUES]:
        _queue_order(state, log, t_us)
    else:
        _taker(state, log, t_us)


@compiled
def _forced_order(state: State, log: Log, t_us: int) -> None:
    """Liquidations hit those whom the step's move hurt: sells after a fall. At most one a second."""
    ints, random, parameters = state.ints, state.random, state.parameters
    move = ints[REFERENCE] - ints[STEP_REFERENCE]
    ints[STEP_REFERENCE] = ints[REFERENCE]
    chance = parameters[P_FORCED] * abs(move) / (parameters[P_JUMP] * ints[BEST_BID])
    if move == 0 or t_us - ints[LAST_FORCED_US] < 1_000_000 or _uniform(random) > chance:
        return
    sells = 1 if move < 0 else 0
    slip = 200 + int(5 * state.floats[JUMP])
    limit = ints[BEST_BID] - slip if sells else ints[BEST_ASK] + slip
    filled, value = _market_order(state, log, sells, _lots(random, 0.3 * parameters[P_BEST_LOTS]), limit, t_us)
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
    """Record the grid time, then move volatility, flow and the rates of events to the next."""
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
    clock = math.exp(CLOCK_POWER * log_vol)
    floats[BACKGROUND] = parameters[P_BACKGROUND] * math.exp(BACKGROUND_POWER * log_vol)
    floats[QUEUES] = parameters[P_QUEUES] * clock
    floats[TAKERS] = parameters[P_TAKERS] * UNEXCITED * clock
    floats[JUMP] = parameters[P_JUMP] * ints[BEST_BID] * math.exp(JUMP_POWER * log_vol)
    floats[EXCITED] *= FAST_DECAY
    floats[EXCITED + 1] *= FAST_DECAY
    floats[EXCITED + 2] *= SLOW_DECAY
    floats[EXCITED + 3] *= SLOW_DECAY
    _forced_order(state, log, step_us)
    _move_edges(state, log, step_us)
    ints[NEXT_STEP_US] = step_us + STEP_US
    # Arrivals have no memory, so the next one may be drawn anew at the new rate.
    ints[NEXT_EVENT_US] = step_us + 1 + int(-math.log(_uniform(random)) / _rate(floats) * 1e6)


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
            ints[NEXT_EVENT_US] = t_us + 1 + int(-math.log(_uniform(state.random)) / _rate(state.floats) * 1e6)


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
            mean = parameters[P_BEST_LOTS] if distance == 0 else parameters[P_LEVEL_LOTS]
            state.book[side, tick & MASK] = _lots(random, mean)
