"""One symbol's simulated market: a seeded true book that runs as far as it is told, and the log of what happened."""

import hashlib
from dataclasses import dataclass

import numpy as np

from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.symbols import SymbolSpec

VOLATILITY_BPS_PER_MINUTE = 3.5
"""Median volatility of the price; it swings by the hour and clusters."""
QUEUE_ORDERS_PER_S, QUEUE_ORDERS_SHARE = 40.0, 0.2
"""Limit orders and cancels in the best queues a second at the median volatility: so many, or this share of the level
changes where that is less. They are the clock of the price: a busier book behind the best does not change it."""
TAKERS_SHARE = 0.009
"""Market orders for each level change."""
TAKEN_QUEUES = 0.015
"""Queue units that market orders ask for, for each order in the best queues."""
MOVES = 0.06
"""Moves of the reference price for each order in the best queues, as measured: the volatility gives their size."""
MOVE_SQUARE = 1.8
"""Mean square of a move over the square of its mean."""
QUEUE_SCALE = 0.62
"""The kernel's unit of a queue, in mean queues, as measured: orders and new queues are scaled by it."""
FIRST_ID_SPAN = 10**12
MEAN_ID_GAP = 60.0
"""Ids that the whole exchange gives out per change of this symbol (futures; spot ids are the symbol's own)."""

FORCED_ORDERS_PER_MOVE = 3e-3
"""Liquidations for each mean move of the reference price."""


@dataclass(frozen=True, slots=True)
class EventLog:
    """What happened in a span, as rows of integers; the kernel's C_, T_, F_ and S_ constants name the columns."""

    changes: kernel.Ints
    trades: kernel.Ints
    forced: kernel.Ints
    steps: kernel.Ints


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """The true book at a moment, best level first: arrays (n, 2) of ticks and lots."""

    last_update_id: int
    last_change_us: int
    bids: kernel.Ints
    asks: kernel.Ints


def seed_of(seed: int, symbol: str, purpose: str) -> int:
    """A 64-bit seed that depends on nothing but its arguments, so that symbols never disturb each other."""
    digest = hashlib.blake2b(f"{seed}:{symbol}:{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


class Market:
    """A symbol's market from `start_us` on (microseconds since the epoch, UTC).

    futures: update ids are shared with the rest of the exchange, so most are not this symbol's, and there are
    liquidations and trade rows that are no prints; otherwise (spot) each change takes the next id.
    level_changes: mean distinct level changes in 100 ms.
    The same arguments give the same market, however `advance` is cut.
    """

    def __init__(
        self,
        spec: SymbolSpec,
        seed: int,
        start_us: int,
        *,
        futures: bool = True,
        level_changes: float = 20.0,
        log_rows: int = 32_768,
    ) -> None:
        self.spec = spec
        word = seed_of(seed, spec.symbol, "market")
        self._state = _first_state(spec, word, start_us, futures, level_changes)
        self._log = kernel.Log(
            changes=np.zeros((log_rows, kernel.CHANGE_COLUMNS), np.int64),
            trades=np.zeros((log_rows // 4, kernel.TRADE_COLUMNS), np.int64),
            forced=np.zeros((1024, kernel.FORCED_COLUMNS), np.int64),
            steps=np.zeros((log_rows // 16, kernel.STEP_COLUMNS), np.int64),
            counts=np.zeros(4, np.int64),
        )
        kernel.fill_book(self._state)

    def advance(self, until_us: int) -> tuple[EventLog, bool]:
        """What happens before `until_us`, and whether that was all: false = the log was full, call again.

        The log's arrays are views that the next call overwrites.
        """
        self._log.counts[:] = 0
        done = bool(kernel.advance(self._state, self._log, until_us))
        changes, trades, forced, steps = (int(count) for count in self._log.counts)
        log = self._log
        return EventLog(log.changes[:changes], log.trades[:trades], log.forced[:forced], log.steps[:steps]), done

    def snapshot(self, limit: int, id_share: float = 0.0) -> BookSnapshot:
        """The true book now, `limit` levels a side.

        id_share in [0, 1): where its id lies between the last change's and the next one's.
        """
        ints = self._state.ints
        last_id, next_id = int(ints[kernel.LAST_ID]), int(ints[kernel.NEXT_ID])
        sides = []
        for side, direction in ((kernel.BID, -1), (kernel.ASK, 1)):
            best, edge = ints[kernel.BEST_BID + side], ints[kernel.LOW_EDGE + side]
            ticks = np.arange(best, edge + direction, direction)
            lots = self._state.book[side, ticks & kernel.MASK]
            used = np.flatnonzero(lots)[:limit]
            sides.append(np.stack([ticks[used], lots[used]], axis=1))
        return BookSnapshot(
            last_update_id=last_id + int(id_share * (next_id - last_id)),
            last_change_us=int(ints[kernel.LAST_CHANGE_US]),
            bids=sides[0],
            asks=sides[1],
        )

    @property
    def next_step_us(self) -> int:
        """The next time of the 100 ms grid."""
        return int(self._state.ints[kernel.NEXT_STEP_US])

    @property
    def open_interest_lots(self) -> int:
        return int(self._state.ints[kernel.OPEN_INTEREST])

    @property
    def next_trade_id(self) -> int:
        return int(self._state.ints[kernel.TRADE_ID])


def _first_state(spec: SymbolSpec, word: int, start_us: int, futures: bool, level_changes: float) -> kernel.State:
    ints = np.zeros(kernel.INTS, np.int64)
    first_id = 10 * FIRST_ID_SPAN + word % FIRST_ID_SPAN
    ints[kernel.LAST_ID], ints[kernel.NEXT_ID] = first_id, first_id + 1
    ints[kernel.LAST_CHANGE_US] = start_us - 1
    ints[kernel.TRADE_ID] = 1_000_000_000 + word % 1_000_000_007
    ints[kernel.BEST_BID], ints[kernel.BEST_ASK] = spec.start_ticks - 1, spec.start_ticks
    ints[kernel.REFERENCE] = ints[kernel.STEP_REFERENCE] = ints[kernel.BEST_BID]
    ints[kernel.LOW_EDGE] = max(ints[kernel.BEST_BID] - kernel.REACH, 0)
    ints[kernel.HIGH_EDGE] = ints[kernel.BEST_ASK] + kernel.REACH
    ints[kernel.OPEN_INTEREST] = int(spec.best_lots * 5_000)
    # Each symbol flushes at its own phase of the 100 ms grid, as in the field.
    phase_us = word % kernel.STEP_US
    ints[kernel.NEXT_STEP_US] = start_us + (phase_us - start_us) % kernel.STEP_US
    ints[kernel.NEXT_EVENT_US] = ints[kernel.NEXT_STEP_US]
    parameters = np.zeros(kernel.PARAMETERS)
    changes = 10.0 * level_changes
    unit_lots = QUEUE_SCALE * spec.best_lots
    queues = min(QUEUE_ORDERS_PER_S, QUEUE_ORDERS_SHARE * changes)
    parameters[kernel.P_BACKGROUND] = changes * spec.events_per_change
    parameters[kernel.P_QUEUES] = queues
    parameters[kernel.P_TAKERS] = TAKERS_SHARE * changes
    parameters[kernel.P_TAKER_LOTS] = TAKEN_QUEUES * queues / parameters[kernel.P_TAKERS] * unit_lots
    parameters[kernel.P_BEST_LOTS] = unit_lots
    parameters[kernel.P_LEVEL_LOTS] = spec.level_lots
    parameters[kernel.P_JUMP] = VOLATILITY_BPS_PER_MINUTE * 1e-4 / (60.0 * MOVE_SQUARE * MOVES * queues) ** 0.5
    parameters[kernel.P_NEAR] = spec.near_ticks
    parameters[kernel.P_DEPTH] = spec.depth_ticks
    parameters[kernel.P_OCCUPANCY] = spec.occupancy
    parameters[kernel.P_ID_GAP] = MEAN_ID_GAP if futures else 1.0
    parameters[kernel.P_FORCED] = FORCED_ORDERS_PER_MOVE if futures else 0.0
    floats = np.zeros(kernel.FLOATS)
    floats[kernel.MARK] = spec.start_ticks - 0.5
    return kernel.State(
        book=np.zeros((2, kernel.WIDTH), np.int64),
        ints=ints,
        floats=floats,
        parameters=parameters,
        random=np.array([word], np.uint64),
    )
