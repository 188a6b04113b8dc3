"""The simulated exchange's own knowledge of its books and prints: what a client's reconstruction is judged against."""

from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.market import BookSnapshot, EventLog
from midas_ray.simulate.symbols import SymbolSpec

Side = dict[Decimal, Decimal]
"""Quantity by price, exact."""


@dataclass(frozen=True, slots=True)
class TruePrint:
    """One print: exchange time in ms, exact price and quantity, `buy` or `sell` of the taker."""

    trade_id: int
    ts_ms: int
    px: Decimal
    qty: Decimal
    side: str


class SymbolReferee:
    """One symbol's first book and everything since. Memory grows with the run: for tests and short demonstrations."""

    def __init__(self, spec: SymbolSpec, first: BookSnapshot) -> None:
        self._spec = spec
        self._first = first
        self._changes: list[kernel.Ints] = []
        self._trades: list[kernel.Ints] = []

    def record(self, log: EventLog) -> None:
        """Keep what happened; `log` must not change afterwards."""
        self._changes.append(log.changes)
        self._trades.append(log.trades)

    def changes(self) -> kernel.Ints:
        """Every level change so far, in the order of ids (columns C_ of the kernel)."""
        return np.concatenate([np.zeros((0, kernel.CHANGE_COLUMNS), np.int64), *self._changes])

    def book(self, update_id: int) -> tuple[Side, Side]:
        """Bids and asks after every change with id <= `update_id`, all levels."""
        sides = [dict(self._first.bids.tolist()), dict(self._first.asks.tolist())]
        for row in self.changes().tolist():
            if row[kernel.C_ID] > update_id:
                break
            if row[kernel.C_LOTS]:
                sides[row[kernel.C_SIDE]][row[kernel.C_TICK]] = row[kernel.C_LOTS]
            else:
                sides[row[kernel.C_SIDE]].pop(row[kernel.C_TICK], None)
        tick, lot = self._spec.tick, self._spec.lot
        bids, asks = ({px * tick: lots * lot for px, lots in side.items()} for side in sides)
        return bids, asks

    def prints(self) -> list[TruePrint]:
        """Every print so far, in the order of trade ids; rows that are no prints on the book are left out."""
        tick, lot = self._spec.tick, self._spec.lot
        return [
            TruePrint(trade_id, t_us // 1000, px * tick, lots * lot, "sell" if sells else "buy")
            for trades in self._trades
            for trade_id, t_us, px, lots, sells, kind, _ in trades.tolist()
            if kind == kernel.MARKET
        ]
