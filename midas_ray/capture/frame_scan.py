"""What the recorder has to know of a frame it is about to write, read as the replay will read it.

Both readers are strict: where one accepts a frame, the frame is one line of valid JSON and is journalled verbatim
without a further check; where it refuses, the plain decoders judge.
"""

import re

import msgspec
import numpy as np

from midas_ray.book import kernels as k
from midas_ray.book.events import DepthEvents
from midas_ray.book.scale import Scale
from midas_ray.venues.base import COIN_MARGINED, Venue

_HEAD_BYTES = 160
"""The event's name stands within so many bytes of a frame's start, or the plain decoders read it."""

_EVENT_TIME = re.compile(rb'"E":(\d+)')


class _TradeHead(msgspec.Struct, frozen=True):
    e: str
    s: str
    T: int
    t: int
    st: int | None = None


class _TradeFrame(msgspec.Struct, frozen=True):
    data: _TradeHead
    stream: str


_decode_trade = msgspec.json.Decoder(_TradeFrame).decode


def looks_like(payload: bytes, event: bytes) -> bool:
    """Whether a frame seems to hold this event; `event` with its quotes."""
    return payload.find(event, 0, _HEAD_BYTES) >= 0


def event_time_ms(payload: bytes) -> int | None:
    """The first `E` of a frame that a strict reader has accepted."""
    found = _EVENT_TIME.search(payload)
    return None if found is None else int(found[1])


def trade_head(payload: bytes, symbol: str) -> tuple[int, int] | None:
    """(trade id, exchange ms) of a combined trade frame of `symbol`; None where the plain decoder has to judge."""
    if not payload.startswith(b'{"') or not payload.endswith(b"}") or not payload.isascii():
        return None
    if b"\n" in payload or b"\r" in payload:
        return None
    try:
        head = _decode_trade(payload).data
    except msgspec.DecodeError:
        return None
    if head.e != "trade" or head.st == COIN_MARGINED or head.s.lower() != symbol:
        return None
    return head.t, head.T


class DepthScan:
    """The compiled scan (`kernels.scan`) of one journal line at a time, into arrays that are used again."""

    def __init__(self, venue: Venue, symbol: str) -> None:
        self._symbol = np.frombuffer(symbol.upper().encode(), np.uint8)
        self._clock_key = ord(venue.depth_clock)
        self._has_pu = venue.has_previous_id
        self._depth = np.zeros((2, k.DEPTH_COLUMNS), np.int64)
        self._trades = np.zeros((2, k.TRADE_COLUMNS), np.int64)
        self._other = np.zeros((2, k.OTHER_COLUMNS), np.int64)
        self._reserve(1024)

    def _reserve(self, levels: int) -> None:
        self._keys, self._sizes = np.empty(levels, np.int64), np.empty(levels, np.int64)
        self._sides = np.empty(levels, np.int8)

    def read(self, line: bytes, scale: Scale) -> DepthEvents | None:
        """The depth event of a journal line at `scale`; None where it is no such line or the scan refuses it."""
        if len(line) // 10 >= len(self._keys):  # a level takes ten bytes and more
            self._reserve(len(line) // 5)
        why, reached, n_depth, n_trades, n_other, tickers = k.scan(
            *(np.frombuffer(line, np.uint8), 0, self._symbol, self._clock_key, self._has_pu),
            *(scale.px_decimals, scale.sz_decimals, self._depth, self._keys, self._sides, self._sizes),
            *(self._trades, self._other),
        )
        if why != k.SCAN_DONE or reached != len(line) or (n_depth, n_trades, n_other, tickers) != (1, 0, 0, 0):
            return None
        end = int(self._depth[0, k.DEPTH_LEVELS_END])
        return DepthEvents(
            self._depth[:1].copy(), self._keys[:end].copy(), self._sides[:end].copy(), self._sizes[:end].copy()
        )
