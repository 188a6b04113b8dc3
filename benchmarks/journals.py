"""Raw journals made for benchmarks: one hour of BTC-like depth at 100 ms, about 105 level changes a message."""

import itertools
from pathlib import Path

import msgspec
import numpy as np

from midas_ray.capture.recorder import Recorder
from midas_ray.venues import get_venue

MESSAGES_PER_HOUR = 36_000
START_MS = 1_767_225_600_000
_SYMBOL = "btcusdt"


def _levels(rng: np.random.Generator, mid: int, side: int, book: dict[int, str]) -> list[list[str]]:
    """Changes near the touch, exponentially spread; a quarter of them removals."""
    changes: dict[int, str] = {}
    for offset in rng.exponential(60, int(rng.integers(36, 95))).astype(int):
        px = mid - 1 - int(offset) if side == 0 else mid + int(offset)
        changes[px] = "0.000" if rng.random() < 0.25 else f"{rng.integers(1, 5000) / 1000:.3f}"
    return _apply(changes, book)


def _apply(changes: dict[int, str], book: dict[int, str]) -> list[list[str]]:
    for px, size in changes.items():
        if size == "0.000":
            book.pop(px, None)
        else:
            book[px] = size
    return [[f"{px / 10:.2f}", size] for px, size in changes.items()]


def write_busy_hour(root: Path, messages: int = MESSAGES_PER_HOUR, seed: int = 0) -> tuple[int, int]:
    """Write the journal through the recorder, as a collector would. Gives (messages, level changes)."""
    rng = np.random.default_rng(seed)
    numbers = itertools.count(1)
    recorder = Recorder(
        get_venue("binance-futures"), _SYMBOL, root, next_n=lambda: next(numbers), streams=["depth", "trade"]
    )
    mid = 600_000
    bids = {mid - 1 - i: f"{rng.integers(1, 5000) / 1000:.3f}" for i in range(1000)}
    asks = {mid + i: f"{rng.integers(1, 5000) / 1000:.3f}" for i in range(1000)}
    now_ms, last_id, changes, trade_id = START_MS, 10**12, 0, 0
    encode = msgspec.json.encode
    recorder.open(now_ms * 10**6, None)
    snapshot = {
        "lastUpdateId": last_id,
        "bids": [[f"{px / 10:.2f}", size] for px, size in bids.items()],
        "asks": [[f"{px / 10:.2f}", size] for px, size in asks.items()],
    }
    path = recorder.venue.depth_path + "?symbol=BTCUSDT&limit=2000"
    recorder.rest(now_ms * 10**6, None, "bench", encode(snapshot), status=200, sent_ns=now_ms * 10**6, path=path)
    for _ in range(messages):
        now_ms += 100
        move = int(rng.integers(-3, 4)) if rng.random() < 0.3 else 0
        crossed = range(min(mid, mid + move), max(mid, mid + move))
        gone, come = (asks, bids) if move > 0 else (bids, asks)
        gone_levels = _apply({px: "0.000" for px in crossed}, gone)
        come_levels = _apply({px: f"{rng.integers(1, 5000) / 1000:.3f}" for px in crossed}, come)
        mid += move
        b = (come_levels if move > 0 else gone_levels) + _levels(rng, mid, 0, bids)
        a = (gone_levels if move > 0 else come_levels) + _levels(rng, mid, 1, asks)
        previous, last_id = last_id, last_id + int(rng.integers(100, 400))
        head = {"e": "depthUpdate", "E": now_ms + 3, "T": now_ms, "s": "BTCUSDT"}
        data = head | {"U": previous + 1, "u": last_id, "pu": previous, "b": b, "a": a}
        recv_ns = (now_ms + 8) * 10**6
        recorder.frame(recv_ns, None, "bench", encode({"stream": "btcusdt@depth@100ms", "data": data}))
        changes += len(b) + len(a)
        for _ in range(rng.poisson(2)):
            trade_id += 1
            sold = bool(rng.random() < 0.5)
            trade = {"e": "trade", "E": now_ms + 2, "T": now_ms, "s": "BTCUSDT", "t": trade_id}
            trade |= {
                "p": f"{(mid - sold) / 10:.2f}",
                "q": f"{rng.exponential(0.05) + 0.001:.3f}",
                "X": "MARKET",
                "m": sold,
            }
            recorder.frame(recv_ns, None, "bench", encode({"stream": "btcusdt@trade", "data": trade}))
    recorder.close(recv_ns, None, "end")
    return messages, changes
