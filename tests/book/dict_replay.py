"""The replay to a grid, slow and obviously right: dict books, sorted anew at every row and every event.

It shares no code with the product. Prices and sizes are plain integers of any length, an event is a `Depth`.
"""

from dataclasses import dataclass, field
from itertools import accumulate

from tests.book.by_hand import Row, Sizes

OFI_LEVELS = 10
RECENT_MS = 30_000
BUFFER_MS = 60_000
Side = list[tuple[int, int]]
"""Level changes (price, size) in the message's order."""


@dataclass(frozen=True)
class Depth:
    """One depth event: exchange time, pu, U, u and its level changes."""

    ms: int
    pu: int
    first_id: int
    last_id: int
    bids: Side
    asks: Side


@dataclass(frozen=True)
class Rest:
    """A snapshot. limit: levels asked for; a side of as many may go on beyond."""

    last_id: int
    bids: Sizes
    asks: Sizes
    limit: int | None


@dataclass
class Book:
    """Two dicts; `worst` is the price up to which a side is complete, None where it is known to its end."""

    bids: Sizes = field(default_factory=dict)
    asks: Sizes = field(default_factory=dict)
    worst: list[int | None] = field(default_factory=lambda: [None, None])

    @classmethod
    def of(cls, rest: Rest) -> "Book":
        book = cls(dict(rest.bids), dict(rest.asks))
        if rest.limit is not None and len(rest.bids) >= rest.limit > 0:
            book.worst[0] = min(rest.bids)
        if rest.limit is not None and len(rest.asks) >= rest.limit > 0:
            book.worst[1] = max(rest.asks)
        return book

    def apply(self, event: Depth) -> None:
        for side, changes in ((self.bids, event.bids), (self.asks, event.asks)):
            for px, size in changes:
                side.pop(px, None)
                if size:
                    side[px] = size

    def known(self, side: int) -> Side:
        """All levels of a side that are surely its best ones, best first."""
        worst = self.worst[side]
        if side == 0:
            return [(px, self.bids[px]) for px in sorted(self.bids, reverse=True) if worst is None or px >= worst]
        return [(px, self.asks[px]) for px in sorted(self.asks) if worst is None or px <= worst]

    def known_depth(self, side: int, depth: int) -> int:
        """How many of the best `depth` levels are known, absent ones included."""
        return depth if self.worst[side] is None else min(depth, len(self.known(side)))

    def widened(self, newer: "Book") -> "Book":
        """`newer` where it knows, this one beyond."""
        merged = Book()
        for side in range(2):
            old, new = (self.bids, newer.bids) if side == 0 else (self.asks, newer.asks)
            limit, own = newer.worst[side], self.worst[side]
            sign = 1 if side == 0 else -1
            kept = {} if limit is None else {px: size for px, size in old.items() if sign * px < sign * limit}
            taken = {px: size for px, size in new.items() if limit is None or sign * px >= sign * limit}
            if side == 0:
                merged.bids = kept | taken
            else:
                merged.asks = kept | taken
            merged.worst[side] = None if limit is None or own is None else sign * min(sign * limit, sign * own)
        return merged


def flow(before: Side, after: Side, level: int, sign: int) -> int:
    """One side's part of e_n at a level (Cont, Kukanov and Stoikov 2014); a level that is absent is worse than any."""
    old, new = (side[level] if level < len(side) else None for side in (before, after))
    if old is None:
        return 0 if new is None else new[1]
    if new is None or sign * new[0] < sign * old[0]:
        return -old[1]
    return new[1] if sign * new[0] > sign * old[0] else new[1] - old[1]


Hole = tuple[int, int | None, str, int, int | None]
"""Start and end (None: not recovered) in exchange time, cause, the id to go on from, the pu found instead."""


class DictReplay:
    """Feed `opened`, `rest`, `depth`; then `finish` and take `holes` and `rows`, those of ts in (first_ms, last_ms]."""

    def __init__(self, step_ms: int, first_ms: int, last_ms: int, depth: int) -> None:
        self.step_ms, self.first_ms, self.last_ms, self.n_levels = step_ms, first_ms, last_ms, depth
        self.rows: list[Row] = []
        self.known_levels: list[tuple[int, int]] = []
        self.holes: list[Hole] = []
        self.hole: Hole | None = None
        self.state = "none"
        self.book = Book()
        self.anchor = False
        self.last_id = 0
        self.clock_ms = 0
        self.seen_ms = 0
        self.next_ms: int | None = None
        self.waiting: list[Depth] = []
        self.recent: list[Depth] = []
        self.pending: Rest | None = None
        self.updates = 0
        self.ofi = [0] * OFI_LEVELS
        self.ofi_known = OFI_LEVELS
        self.ofi_valid = True

    def opened(self) -> None:
        self._unlive_rows(self.seen_ms)
        seen_ms = max(self.seen_ms, self.clock_ms)
        if self.state == "live":
            self.hole = (self.clock_ms, None, "down", self.last_id, None)
        elif self.hole is not None and self.hole[2] != "down":
            if seen_ms > self.hole[0]:
                self.holes.append((self.hole[0], seen_ms, *self.hole[2:]))
            self.hole = (seen_ms, None, "down", self.hole[3], None)
        self.state, self.anchor, self.waiting, self.recent, self.pending = "none", False, [], [], None

    def rest(self, rest: Rest) -> None:
        if self.state == "live":
            self.pending = rest
            self._widen()
            return
        if self.anchor and rest.last_id < self.last_id:
            return
        reached = accumulate((event.ms for event in self.waiting), max)
        pairs = zip(self.waiting, reached, strict=True)
        waiting = [event for event, reached_ms in pairs if reached_ms >= self.seen_ms - BUFFER_MS]
        goes_on = [event.ms for event in waiting if event.last_id >= rest.last_id]
        self._unlive_rows(min([self.seen_ms, *goes_on[:1]]))
        self.book, self.last_id, self.anchor = Book.of(rest), rest.last_id, True
        self.waiting = []
        for event in waiting:
            self.depth(event)

    def depth(self, event: Depth) -> None:
        if not self.anchor:
            self._see(event)
            self.waiting.append(event)
            return
        if self.state != "live":
            self._see(event)
        if event.last_id < self.last_id:
            self._remember(event)
            return
        if event.last_id > self.last_id and event.pu > self.last_id:
            if self.state == "live":
                self.state, self.hole = "gap", (self.clock_ms, None, "venue", self.last_id, event.pu)
            self.anchor, self.recent, self.pending = False, [], None
            self.depth(event)
            return
        clock_ms = max(self.clock_ms, event.ms)
        self._emit(clock_ms)
        if self.state != "live":
            self.state, self.ofi_valid, self.updates = "live", False, 0
            self.next_ms = (clock_ms // self.step_ms + 1) * self.step_ms
            if self.hole is not None:
                self.holes.append((self.hole[0], clock_ms, *self.hole[2:]))
            self.hole = None
        self.clock_ms = clock_ms
        if event.last_id > self.last_id:
            self._apply(event)
        self._remember(event)
        self._widen()

    def finish(self) -> None:
        """The data end here."""
        self._unlive_rows(self.seen_ms)
        if self.state != "live" and self.hole is not None:
            self.holes.append(self.hole)

    def _apply(self, event: Depth) -> None:
        before = [self.book.known(side)[:OFI_LEVELS] for side in range(2)]
        known = [self.book.known_depth(side, OFI_LEVELS) for side in range(2)]
        self.book.apply(event)
        after = [self.book.known(side)[:OFI_LEVELS] for side in range(2)]
        known += [self.book.known_depth(side, OFI_LEVELS) for side in range(2)]
        self.ofi_known = min(self.ofi_known, *known)
        for level in range(OFI_LEVELS):
            self.ofi[level] += flow(before[0], after[0], level, 1) - flow(before[1], after[1], level, -1)
        self.updates += 1
        self.last_id = event.last_id

    def _see(self, event: Depth) -> None:
        if self.state == "none":
            self.state, self.updates = "syncing", 0
            self.next_ms = (max(event.ms, self.clock_ms) // self.step_ms + 1) * self.step_ms
        self.seen_ms = max(self.seen_ms, event.ms)

    def _remember(self, event: Depth) -> None:
        if self.state == "live":
            self.recent.append(event)

    def _unlive_rows(self, until_ms: int) -> None:
        if self.state in ("gap", "syncing"):
            self._emit(until_ms)

    def _emit(self, until_ms: int) -> None:
        while self.next_ms is not None and self.next_ms <= until_ms:
            if self.state != "none" and self.first_ms < self.next_ms <= self.last_ms:
                live = self.state == "live"
                bids, asks = (self.book.known(side)[: self.n_levels] if live else [] for side in range(2))
                ofi = self.ofi[: self.ofi_known] if live and self.ofi_valid and self.ofi_known else None
                self.rows.append(Row(self.next_ms, self.state, self.last_id, self.updates, bids, asks, ofi))
                depths = [self.book.known_depth(side, self.n_levels) if live else 0 for side in range(2)]
                self.known_levels.append((depths[0], depths[1]))
            self.next_ms += self.step_ms
            self.updates, self.ofi, self.ofi_known, self.ofi_valid = 0, [0] * OFI_LEVELS, OFI_LEVELS, True

    def _widen(self) -> None:
        """Once the book has reached the pending snapshot: that, brought forward by the recent events, if they join."""
        pending = self.pending
        if self.state != "live" or pending is None or self.last_id < pending.last_id:
            return
        self.pending = None
        newer, last_id = Book.of(pending), pending.last_id
        reached = accumulate((event.ms for event in self.recent), max)
        for event, reached_ms in zip(self.recent, reached, strict=True):
            if reached_ms < self.clock_ms - RECENT_MS or event.last_id <= last_id:
                continue
            if event.pu > last_id:
                return
            newer.apply(event)
            last_id = event.last_id
        if last_id == self.last_id:
            self.book = self.book.widened(newer)
