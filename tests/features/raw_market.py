"""Raw journals of a market of some hours in which everything goes wrong once: the input of the independent check."""

from pathlib import Path
from typing import Any

from midas_ray.capture.recorder import Recorder
from midas_ray.features.pipeline import compute
from midas_ray.features.plan import plan_symbol, settings_of, symbol_files
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings, Features
from midas_ray.storage import Storage
from midas_ray.venues.base import StreamKind
from tests.features.serial import SerialSpread
from tests.reconstruct.market import START_MS, Market

VENUE, SYMBOL = "binance-futures", "btcusdt"
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
SECOND_MS = 1000
BEGIN_MS = START_MS - 2 * HOUR_MS + 17_300
"""22:00:17 UTC: more than an hour before midnight, in the middle of a bucket."""
PAUSE_MS = BEGIN_MS + 97 * MINUTE_MS
MARK_PAUSES_MS = [(PAUSE_MS, PAUSE_MS + 90_000), (START_MS + 60 * MINUTE_MS - 10_500, START_MS + 60 * MINUTE_MS)]
"""The second makes the last mark 10.7 s old at the end of a bucket."""


class RawMarket(Market):
    """A `Market` with all streams of a future: mark prices each second, forced orders now and then."""

    def __init__(self, root: Path, seed: int, max_bytes: int = 512 * 2**20) -> None:
        super().__init__(root, seed=seed)
        self.now_ms = BEGIN_MS
        self.n = 0
        streams: list[StreamKind] = ["depth", "trade", "markPrice", "forceOrder"]
        self.recorder = Recorder(
            self.venue, self.symbol, root, next_n=self._next_n, streams=streams, max_bytes=max_bytes
        )
        self.next_mark_ms = BEGIN_MS
        self.trades_an_event = [0, 0, 1, 2, 5]
        self.typical_size = 3.0

    def _next_n(self) -> int:
        self.n += 1
        return self.n

    def minutes(self, minutes: float, *, heard: bool = True) -> None:
        """Depth changes and prints for so long; not `heard`: nothing of it reaches a collector."""
        end_ms = self.now_ms + int(minutes * MINUTE_MS)
        while self.now_ms < end_ms:
            self._deliver_marks(heard)
            self.depth(self.random.randint(1, 2500), send=heard, twice=self.random.random() < 0.03)
            trades = self.random.choice(self.trades_an_event)
            for _ in range(trades if self.bids and self.asks else 0):
                kind = "NA" if self.random.random() < 0.02 else "MARKET"
                self.trade(kind=kind, send=heard, qty=self._quantity())
            if heard and self.random.random() < 0.02:
                self.forced_order()

    def _quantity(self) -> int:
        return 1 + int(self.random.lognormvariate(self.typical_size, 1.5))

    def _deliver_marks(self, heard: bool) -> None:
        """The mark prices that were due since the last event."""
        now_ms = self.now_ms
        while self.next_mark_ms <= now_ms:
            self.now_ms = self.next_mark_ms
            if heard and not any(start <= self.now_ms < end for start, end in MARK_PAUSES_MS):
                index = 500 + self.random.randint(-20, 20) / 10
                data: dict[str, Any] = {
                    "e": "markPriceUpdate",
                    "E": self.now_ms,
                    "s": "BTCUSDT",
                    "p": f"{index + 0.07:.2f}",
                }
                data |= {"i": f"{index:.1f}", "P": "1", "r": "0.0001", "T": START_MS + 8 * HOUR_MS, "st": 1}
                self.frame("markPrice@1s", data)
            self.next_mark_ms += SECOND_MS
        self.now_ms = now_ms

    def forced_order(self) -> None:
        quantity = f"{self._quantity() / 1000:.3f}"
        order: dict[str, Any] = {
            "s": "BTCUSDT",
            "S": self.random.choice(["BUY", "SELL"]),
            "o": "LIMIT",
            "f": "IOC",
            "q": quantity,
        }
        order |= {"p": "499", "ap": "499.5", "X": "FILLED", "l": quantity, "z": quantity, "T": self.now_ms}
        self.frame("forceOrder", {"e": "forceOrder", "E": self.now_ms, "o": order})

    def lose_depth(self, seconds: int) -> None:
        """One depth message is lost; the collector notices, and its snapshot comes so much later."""
        self.depth(300, send=False)
        self.minutes(seconds / 60)
        self.snapshot()

    def lose_trades(self, count: int) -> None:
        for _ in range(count):
            self.depth(1500)
            self.trade(send=False, qty=self._quantity())

    def finer_numbers(self) -> None:
        """A print and a size with more decimals than all others."""
        self.trade_id += 1
        data: dict[str, Any] = {"e": "trade", "E": self.now_ms, "T": self.now_ms, "s": "BTCUSDT", "t": self.trade_id}
        self.frame("trade", data | {"p": "499.95", "q": "0.12345", "X": "MARKET", "m": True})
        previous, self.last_id = self.last_id, self.last_id + 2
        data = {"e": "depthUpdate", "E": self.now_ms, "T": self.now_ms, "s": "BTCUSDT", "U": previous + 1}
        level = [self._level(max(self.bids), 1)[0], "0.54321"]
        self.frame("depth@100ms", data | {"u": self.last_id, "pu": previous, "b": [level], "a": [], "st": 1})
        self.now_ms += 150

    def clear_asks(self) -> None:
        """A message removes every ask: for some grid rows the book is live with one side."""
        previous, self.last_id = self.last_id, self.last_id + 2
        data = {"e": "depthUpdate", "E": self.now_ms, "T": self.now_ms, "s": "BTCUSDT", "U": previous + 1}
        data |= {"u": self.last_id, "pu": previous, "b": [], "a": [self._level(px, 0) for px in self.asks], "st": 1}
        self.asks.clear()
        self.frame("depth@100ms", data)
        self.now_ms += 250

    def quiet(self, minutes: float, *, heard: bool = True) -> None:
        """Nobody trades."""
        usual, self.trades_an_event = self.trades_an_event, [0]
        self.minutes(minutes, heard=heard)
        self.trades_an_event = usual

    def restart_without_a_loss(self, trades: int) -> None:
        """Nobody trades while the collector is down, so that no id is missing; then so many at once, then nobody."""
        self.close()
        self.quiet(0.7, heard=False)
        self.open()
        self.depth(100)
        self.snapshot()
        for _ in range(trades):
            self.trade(qty=self._quantity())
        self.quiet(2.5)

    def few_levels(self) -> None:
        """A gap whose snapshot has six levels a side only."""
        self.snapshot_limit = 6
        self.lose_depth(12)


def write_raw(root: Path, seed: int = 5, max_bytes: int = 512 * 2**20) -> None:
    """Four hours over midnight. `max_bytes` cuts the same market into other raw files."""
    go_wrong(RawMarket(root, seed, max_bytes))


def go_wrong(market: RawMarket) -> None:
    """Four hours over midnight."""
    market.open()
    market.minutes(0.3)
    market.snapshot()
    market.minutes(30)
    market.finer_numbers()
    market.minutes(38)
    market.quiet(4.5)
    market.lose_depth(95)
    market.minutes(11)
    market.lose_trades(30)
    market.minutes(20)
    market.close()
    market.minutes(6.3, heard=False)
    market.open()
    market.minutes(0.2)
    market.snapshot()
    market.typical_size = 4.5
    market.minutes(25)
    market.trades_an_event = [0] * 20 + [1]  # some prints a minute
    market.minutes(22)
    market.restart_without_a_loss(0)
    market.minutes(3)
    market.restart_without_a_loss(2)
    market.trades_an_event = [0, 0, 1, 2, 5]
    market.clear_asks()
    market.minutes(18)
    market.few_levels()
    market.minutes(3)
    market.clear_asks()
    market.minutes(1.5)
    market.snapshot_limit = 1000
    market.lose_depth(2)
    market.minutes(50)
    market.close()


def reconstruct(root: Path, pack_bytes: int = 2**40, grid_ms: int = 100) -> None:
    """raw -> clean in this process, in tasks of `pack_bytes`."""
    storage, settings = Storage(str(root)), BookSettings(snapshot_interval_ms=grid_ms)
    files = raw_files(storage, VENUE, SYMBOL)
    for task in plan_tasks(VENUE, SYMBOL, files, hour_keys(files, settings), {}, pack_bytes):
        reconstruct_hours(str(root), task, settings)


def make_features(root: Path, **chosen: float) -> dict[str, int]:
    """clean -> features in this process; gives how many tasks of each kind ran."""
    storage = Storage(str(root))
    files = symbol_files(storage, VENUE, SYMBOL)
    settings = settings_of(Features.model_validate({"data_dir": str(root), **chosen}), "midprice")
    spread = SerialSpread(storage)
    compute(storage, [plan_symbol(storage, files, settings)], spread)
    return spread.counts
