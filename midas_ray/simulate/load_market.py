"""One symbol of the load generator: valid chains of depth events and trades from texts made beforehand. No I/O."""

import numpy as np

from midas_ray.simulate import market_kernel as kernel
from midas_ray.simulate.market import BookSnapshot
from midas_ray.simulate.symbols import spec_of
from midas_ray.simulate.wire import Format, Wire

SIDE_LEVELS = 1000
"""Price levels a side that events change; the best one of each is never removed."""
BODIES = 200
"""Different depth events made beforehand; after the last comes the first again."""
MAX_LOTS = 5000
REMOVED_SHARE = 0.1
IDS_BETWEEN = 40
"""Ids that go to other symbols between two events."""


class LoadMarket:
    """Gives the next depth and trade frames (combined envelope), and the book that results from the events given.

    levels: level changes of an event, half on each side, drawn from SIDE_LEVELS without regard to the price.
    """

    def __init__(self, symbol: str, levels: int, random: np.random.Generator) -> None:
        self.symbol = symbol
        self.spec = spec_of(symbol)
        self.wire = Wire(self.spec, spot=False)
        self.market = self
        self.depth_name, self.trade_name = f"{symbol}@depth@100ms", f"{symbol}@trade"
        self.last_id = 10**12 + int(random.integers(10**9))
        self.trade_id = 10**9 + int(random.integers(10**6))
        self.open_interest_lots = 10**6
        self._last_ms = 0
        self._events = self._trades = 0
        half = max(1, min(levels // 2, SIDE_LEVELS))
        self._changes = levels
        self._lots = random.integers(1, MAX_LOTS, (2, SIDE_LEVELS))
        self._places = np.stack([[_places(random, half) for _ in range(BODIES)] for _ in range(2)])
        self._sizes = random.integers(1, MAX_LOTS, self._places.shape)
        removed = (random.random(self._places.shape) < REMOVED_SHARE) & (self._places > 0)
        self._sizes[removed] = 0
        self._bodies = [self._body(index) for index in range(BODIES)]
        best = np.array([self._tick(kernel.BID, 0), self._tick(kernel.ASK, 0)])
        sells = random.random(BODIES) < 0.5
        sizes = random.integers(1, 50, BODIES)
        self._prints = [
            (
                self.wire.number(int(best[0 if sold else 1]), Format.PX),
                self.wire.number(int(lots), Format.SZ),
                "true" if sold else "false",
            )
            for sold, lots in zip(sells, sizes, strict=True)
        ]

    def _tick(self, side: int, place: int) -> int:
        return self.spec.start_ticks + place if side == kernel.ASK else self.spec.start_ticks - 1 - place

    def _body(self, index: int) -> bytes:
        """`"b":[...],"a":[...]` of an event, each side by rising price as the venue sends it."""
        texts = []
        for side in (kernel.BID, kernel.ASK):
            places, sizes = self._places[side, index].tolist(), self._sizes[side, index].tolist()
            rows = sorted((self._tick(side, place), lots) for place, lots in zip(places, sizes, strict=True))
            texts.append(self.wire.levels(rows))
        return f'"b":[{texts[0]}],"a":[{texts[1]}],"ps":"{self.wire.name}","st":1}}}}'.encode()

    def next_depth(self, now_ms: int) -> bytes:
        """The next depth event; the book has it from now on."""
        index = self._events % BODIES
        self._events += 1
        for side in (kernel.BID, kernel.ASK):
            self._lots[side, self._places[side, index]] = self._sizes[side, index]
        previous_id = self.last_id
        first_id = previous_id + IDS_BETWEEN
        self.last_id, self._last_ms = first_id + self._changes, now_ms
        head = (
            f'{{"stream":"{self.depth_name}","data":{{"e":"depthUpdate","E":{now_ms},"T":{now_ms},'
            f'"s":"{self.wire.name}","U":{first_id},"u":{self.last_id},"pu":{previous_id},'
        )
        return head.encode() + self._bodies[index]

    def next_trade(self, now_ms: int) -> bytes:
        """The next print."""
        px, qty, sells = self._prints[self._trades % BODIES]
        self._trades += 1
        self.trade_id += 1
        return (
            f'{{"stream":"{self.trade_name}","data":{{"e":"trade","E":{now_ms},"T":{now_ms},"s":"{self.wire.name}",'
            f'"t":{self.trade_id},"p":"{px}","q":"{qty}","X":"MARKET","m":{sells},"st":1}}}}'
        ).encode()

    def snapshot(self, limit: int, id_share: float = 0.0) -> BookSnapshot:
        """The book after the last event; id_share: how far into the ids of the others its id lies."""
        sides = []
        for side in (kernel.BID, kernel.ASK):
            places = np.flatnonzero(self._lots[side])[:limit]
            ticks = np.array([self._tick(side, int(place)) for place in places])
            sides.append(np.stack([ticks, self._lots[side, places]], axis=1))
        last_id = self.last_id + int(id_share * IDS_BETWEEN)
        return BookSnapshot(last_id, self._last_ms * 1000, sides[0], sides[1])


def _places(random: np.random.Generator, count: int) -> kernel.Ints:
    return random.choice(SIDE_LEVELS, count, replace=False)
