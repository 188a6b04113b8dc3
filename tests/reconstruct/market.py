"""A small random market for tests: writes a raw journal through the recorder and keeps the true book in a dict."""

import itertools
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from midas_ray.capture.journal import seal
from midas_ray.capture.recorder import Recorder
from midas_ray.venues import get_venue

START_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC, a whole hour
encode = msgspec.json.encode


@dataclass
class Market:
    """Events at random times; `truth` holds (exchange ms, bids, asks) after every depth event, in integers."""

    root: Path
    seed: int = 0
    latency_ms: int = 5
    snapshot_limit: int = 1000
    symbol: str = "btcusdt"
    truth: list[tuple[int, dict[int, int], dict[int, int]]] = field(default_factory=list)
    prints: list[tuple[int, int, int, int, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.venue = get_venue("binance-futures")
        self.recorder = self._new_recorder()
        self.before: tuple[dict[str, Any], dict[str, list[list[str]]]] = ({}, {"b": [], "a": []})
        self.agg_id = 50
        self.now_ms = START_MS
        self.last_id = 10**9
        self.trade_id = 100
        self.mid = 5000
        self.bids = {5000 - i: self.random.randint(1, 900) for i in range(1, 60)}
        self.asks = {5000 + i: self.random.randint(1, 900) for i in range(1, 60)}

    @property
    def recv_ns(self) -> int:
        return (self.now_ms + self.latency_ms) * 10**6

    def open(self) -> None:
        self.recorder.open(self.recv_ns, None)

    def close(self) -> None:
        self.recorder.close(self.recv_ns, None, "end")

    def _new_recorder(self) -> Recorder:
        numbers = itertools.count(1)
        return Recorder(self.venue, self.symbol, self.root, next_n=lambda: next(numbers), streams=["depth", "trade"])

    def restart(self, down_ms: int, *, kill: bool = False) -> None:
        """The collector ends, or is killed and its file sealed at the next start; another begins later."""
        path = self.recorder.path
        if not kill:
            self.close()
        elif path is not None:
            self.recorder.flush()
            seal(path)
        self.now_ms += down_ms
        self.recorder = self._new_recorder()
        self.open()

    def event(self, event: str, **fields: Any) -> None:
        self.recorder.event(self.recv_ns, None, "t", event, **fields)

    def agg_trade(self, n: int = 2) -> None:
        """`n` single trades that come as one aggregate."""
        first = self.trade_id + 1
        self.trade_id += n
        self.agg_id += 1
        data = {"e": "aggTrade", "E": self.now_ms, "T": self.now_ms, "s": self.symbol.upper(), "a": self.agg_id}
        data |= {"p": f"{min(self.asks) / 10:.1f}", "q": "0.005", "f": first, "l": self.trade_id, "m": False}
        self.frame("aggTrade", data)

    def snapshot(self, *, used: bool = True) -> None:
        """The REST answer of this moment."""
        limit = self.snapshot_limit
        body = {
            "lastUpdateId": self.last_id,
            "bids": [self._level(px, self.bids[px]) for px in sorted(self.bids, reverse=True)[:limit]],
            "asks": [self._level(px, self.asks[px]) for px in sorted(self.asks)[:limit]],
        }
        path = f"{self.venue.depth_path}?symbol={self.symbol.upper()}&limit={limit}"
        self.recorder.rest(
            self.recv_ns, None, "t", encode(body), status=200, sent_ns=self.recv_ns, path=path, used=used
        )

    def depth(self, after_ms: int, *, send: bool = True, twice: bool = False, overlap: bool = False) -> None:
        """A random change of the book `after_ms` later; `send` False loses it on the way.

        overlap: the event's window also holds the one before, as another connection cut it.
        """
        self.now_ms += after_ms
        changes: dict[str, list[list[str]]] = {"b": [], "a": []}
        for side, book, sign in (("b", self.bids, -1), ("a", self.asks, 1)):
            for _ in range(self.random.randint(0, 4)):
                px = self.mid + sign * self.random.randint(1, 70)
                size = self.random.choice([0, self.random.randint(1, 900)])
                book.pop(px, None)
                if size:
                    book[px] = size
                changes[side].append(self._level(px, size))
        previous, first = self.last_id, self.last_id + self.random.randint(1, 9)
        self.last_id = first + self.random.randint(0, 30)
        data = {"e": "depthUpdate", "E": self.now_ms + 1, "T": self.now_ms, "s": self.symbol.upper(), "U": first}
        data |= {"u": self.last_id, "pu": previous, **changes, "st": 1}
        self.truth.append((self.now_ms, dict(self.bids), dict(self.asks)))
        earlier, earlier_changes = self.before
        self.before = data, changes
        if overlap and earlier:
            data = data | {"U": earlier["U"], "pu": earlier["pu"]}
            data |= {side: _last_of_each([*earlier_changes[side], *changes[side]]) for side in ("b", "a")}
        for _ in range((2 if twice else 1) if send else 0):
            self.frame("depth@100ms", data)

    def trade(self, *, kind: str = "MARKET", send: bool = True, qty: int = 7) -> None:
        """A print at the best price; kind NA has price 0."""
        self.trade_id += 1
        sold = self.random.random() < 0.5
        px = 0 if kind == "NA" else (max(self.bids) if sold else min(self.asks))
        data: dict[str, Any] = {"e": "trade", "E": self.now_ms, "T": self.now_ms, "s": self.symbol.upper()}
        data |= {"t": self.trade_id, "p": f"{px / 10:.1f}", "q": f"{qty / 1000:.3f}", "X": kind, "m": sold}
        if kind == "MARKET" and send:
            self.prints.append((self.now_ms, self.trade_id, px, qty, sold))
        if send:
            self.frame("trade", data)

    def frame(self, stream: str, data: dict[str, Any]) -> None:
        body = encode({"stream": f"{self.symbol}@{stream}", "data": data})
        self.recorder.frame(self.recv_ns, None, "t", body)

    def run(self, events: int, most_ms: int = 30_000) -> None:
        """Random depth changes and trades."""
        for _ in range(events):
            self.depth(self.random.randint(1, most_ms), twice=self.random.random() < 0.05)
            for _ in range(self.random.randint(0, 2)):
                self.trade(kind="NA" if self.random.random() < 0.05 else "MARKET")

    @staticmethod
    def _level(px: int, size: int) -> list[str]:
        return [f"{px / 10:.1f}", f"{size / 1000:.3f}"]


def _last_of_each(levels: list[list[str]]) -> list[list[str]]:
    return list({px: [px, size] for px, size in levels}.values())
