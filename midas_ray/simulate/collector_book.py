"""The book that a collector of simulated history has: what snapshots told it, and every difference since."""

from typing import Any

import numpy as np

from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.market import BookSnapshot
from midas_ray.simulate.wire import Format, Wire

SNAPSHOT_LIMIT = 1000
THIN_SHARE = 0.2
"""A snapshot is fetched anew once a side knows fewer than this share of its levels, as the live collector does."""
MARGIN_TICKS = 4 * kernel.EDGE_TICKS
"""How far the best price may have moved inwards since `best` was last set."""


class CollectorBook:
    """`lots` (2, WIDTH) is the ring that the journal's kernel keeps up to date; the rest is what that does not know.

    best: best bid and ask (ticks), roughly; known: per side the worst price up to which it is complete, None = wholly.
    """

    def __init__(self, lots: kernel.Ints, best: tuple[int, int]) -> None:
        self.best = best
        self.live = False
        self._lots = lots
        self._known: list[int | None] = [None, None]
        self._snapshot_levels = [0, 0]

    def is_thin(self) -> bool:
        """Whether so little is known of a side that a new snapshot is due."""
        for side, known in enumerate(self._known):
            if known is None:
                continue
            low, high = sorted((known, self.best[side]))
            lots = self._lots[side, np.arange(low, high + 1) & kernel.MASK]
            if np.count_nonzero(lots) < THIN_SHARE * self._snapshot_levels[side]:
                return True
        return False

    def take_over(self, snapshot: BookSnapshot, changes: kernel.Ints, last_id: int) -> None:
        """Take the snapshot over, brought forward by the changes after it up to `last_id`, the last one received."""
        for side, levels in enumerate((snapshot.bids, snapshot.asks)):
            self._take_over_side(side, levels)
        for row in changes.tolist():
            if snapshot.last_update_id < row[kernel.C_ID] <= last_id:
                self._lots[row[kernel.C_SIDE], row[kernel.C_TICK] & kernel.MASK] = row[kernel.C_LOTS]
        self.live = True

    def _take_over_side(self, side: int, levels: kernel.Ints) -> None:
        """Replace the side as deep as the snapshot goes: wholly where it is the first, or is the whole side itself."""
        best, worst = int(levels[0, 0]), int(levels[-1, 0])
        cut_off = len(levels) >= SNAPSHOT_LIMIT
        if not self.live or not cut_off:
            self._lots[side] = 0
        low, high = sorted((best, worst))
        self._lots[side, np.arange(low, high + 1) & kernel.MASK] = 0
        self._lots[side, levels[:, 0] & kernel.MASK] = levels[:, 1]
        self._snapshot_levels[side] = len(levels)
        known = self._known[side]
        if not cut_off:
            self._known[side] = None
        elif not self.live:
            self._known[side] = worst
        elif known is not None:
            self._known[side] = min(known, worst) if side == kernel.BID else max(known, worst)

    def fields(self, wire: Wire, last_update_id: int, after_n: int, clock_ms: int) -> dict[str, Any]:
        """Body of a `book` line, without what it says of the streams."""
        known = [None if tick is None else wire.number(tick, Format.PX) for tick in self._known]
        return {
            "last_update_id": last_update_id,
            "after_n": after_n,
            "T": clock_ms,
            "known_bid": known[kernel.BID],
            "known_ask": known[kernel.ASK],
            "bids": self._levels(kernel.BID, wire),
            "asks": self._levels(kernel.ASK, wire),
        }

    def _levels(self, side: int, wire: Wire) -> list[tuple[str, str]]:
        """Every level of a side, best first: the ring, unrolled from a little inside the best price."""
        direction = -1 if side == kernel.BID else 1
        ticks = self.best[side] - direction * MARGIN_TICKS + direction * np.arange(kernel.WIDTH)
        lots = self._lots[side, ticks & kernel.MASK]
        used = np.flatnonzero(lots)
        return [
            (wire.number(tick, Format.PX), wire.number(size, Format.SZ))
            for tick, size in zip(ticks[used].tolist(), lots[used].tolist(), strict=True)
        ]
