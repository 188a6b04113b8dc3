"""Random books as nasty as a seed makes them: what the replay meets on its worst day, as one script of inputs.

Prices are integers. Sparse ticks, jumps far away and back, thousands of levels, one-sided, empty and crossed books,
limited snapshots, messages lost, doubled, overlapping and late.
"""

import random
from dataclasses import dataclass, field

from tests.book.by_hand import Sizes
from tests.book.dict_replay import Depth, Rest, Side

START_MS = 1_000_000
MOST = 10**17
"""A price of as many digits as there may be, after two more decimals."""


@dataclass(frozen=True)
class Roughness:
    """What a market is like.

    tick: distance of neighbouring levels; levels: of each side at the start; jump: how far the price flies away, in
    ticks; back_ms: how far the exchange's clock steps back at times; lost: share of events that never arrive; swept:
    share after which a side has lost many or all of its levels.
    """

    seed: int
    tick: int = 1
    levels: int = 40
    jump: int = 10_000
    back_ms: int = 0
    events: int = 60
    limit: int | None = None
    most_changes: int = 12
    lost: float = 0.04
    swept: float = 0.06


@dataclass
class Opened:
    """A collector starts."""


@dataclass
class Rescaled:
    """From here on numbers have more decimals: a factor for prices, one for sizes."""

    px: int
    sz: int


Input = Depth | Rest | Opened | Rescaled


@dataclass
class RoughMarket:
    """`script()` gives the inputs in order of arrival. unit: prices and sizes are multiples of these until rescaled."""

    rough: Roughness
    px_unit: int = 1
    sz_unit: int = 1
    found: list[Input] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.rough.seed)
        self.ms, self.last_id = START_MS, 1000
        self.mid = self.home = 10**7
        self.late: list[Depth] = []
        self.bids = {px: self._size() for px in self._ladder(-1)}
        self.asks = {px: self._size() for px in self._ladder(1)}

    def script(self) -> list[Input]:
        """A start, events with everything that may happen between them, an end."""
        self.found = [Opened(), self._rest()]
        for _ in range(self.rough.events):
            self._happens(self.random.random())
            event = self._event()
            arrives = self.random.random()
            if arrives < self.rough.lost:
                continue  # lost
            self.found += [event, event] if arrives < self.rough.lost + 0.06 else [event]
            if arrives > 0.97:
                self.late.append(event)
            if self.late and arrives < 0.2:
                self.found.append(self.late.pop())
        return self.found

    def _happens(self, chance: float) -> None:
        if chance < 0.06:
            self.found.append(self._rest())
        elif chance < 0.07:
            self.found.append(Opened())
        elif chance < 0.08 and (self.px_unit > 1 or self.sz_unit > 1):
            self.found.append(Rescaled(self.px_unit, self.sz_unit))
            self.px_unit = self.sz_unit = 1
        elif chance < 0.13:
            self.mid = self.random.choice([self.home, max(self.home + self.random.choice([-1, 1]) * self._far(), 1)])
        elif chance < 0.14:
            self.home = self.mid
        elif chance < 0.16:
            self._far_rest()

    def _far(self) -> int:
        return self.random.randint(1, max(self.rough.jump, 1)) * self.rough.tick * self.px_unit

    def _far_rest(self) -> None:
        """A snapshot that was asked for at an earlier moment, or one of a moment that no event tells of so far."""
        rest = self._rest()
        before = self.random.randint(0, 200)
        self.found.append(Rest(max(rest.last_id - before, 1), rest.bids, rest.asks, rest.limit))

    def _ladder(self, sign: int) -> list[int]:
        ladder, px = [], self.mid // self.px_unit * self.px_unit
        for _ in range(self.rough.levels):
            px += sign * self.rough.tick * self.px_unit * self.random.choice([1, 1, 1, 2, 5])
            ladder.append(px)
        return [px for px in ladder if px > 0]

    def _size(self) -> int:
        return self.random.choice([1, 2, self.random.randint(1, 10**6)]) * self.sz_unit

    def _rest(self) -> Rest:
        limit = self.random.choice([self.rough.limit, self.rough.limit, None])
        bids, asks = sorted(self.bids, reverse=True)[:limit], sorted(self.asks)[:limit]
        return Rest(self.last_id, {px: self.bids[px] for px in bids}, {px: self.asks[px] for px in asks}, limit)

    def _event(self) -> Depth:
        self.ms += self.random.choice([0, 0, 1, self.random.randint(0, 400), self.random.randint(0, 40)])
        self.ms += self.random.randint(0, 40_000) if self.random.random() < 0.01 else 0
        back_ms = self.random.randint(0, self.rough.back_ms) if self.random.random() < 0.1 else 0
        bids, asks = self._changes(self.bids, -1), self._changes(self.asks, 1)
        pu, first = self.last_id, self.last_id + self.random.randint(1, 3)
        self.last_id = first + self.random.randint(0, 5)
        if self.random.random() < 0.05:
            pu -= self.random.randint(1, 8)  # as another connection cut its windows
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            for px, size in changes:
                side.pop(px, None)
                if size:
                    side[px] = size
        return Depth(max(self.ms - back_ms, 1), pu, first, self.last_id, bids, asks)

    def _changes(self, book: Sizes, sign: int) -> Side:
        kind = self.random.random()
        if kind < self.rough.swept / 3:
            return [(px, 0) for px in book]
        if kind < self.rough.swept and book:
            best = sorted(book, reverse=sign < 0)
            return [(px, 0) for px in best[: self.random.randint(1, len(best))]]
        changes = []
        for _ in range(self.random.randint(0, self.rough.most_changes)):
            px = self._price(book, sign)
            if px > 0:
                changes.append((px, self.random.choice([0, self._size()])))
        return changes

    def _price(self, book: Sizes, sign: int) -> int:
        """Mostly near the mid, at times on the wrong side of it, somewhere in the book, or far from all others."""
        kind, unit = self.random.random(), self.px_unit
        if book and kind < 0.3:
            return self.random.choice(list(book))
        if kind < 0.33:
            return self.home // unit * unit + sign * self._far()
        if kind < 0.335:
            return self.random.choice([unit, MOST // unit * unit])
        away = self.random.choice(
            [self.random.randint(1, 4), self.random.randint(1, 60), self.random.randint(-5, 3000)]
        )
        return self.mid // unit * unit + sign * away * self.rough.tick * unit
