"""From raw journal blocks to typed tables: the strict compiled scan, and the plain decoder for lines it refuses."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from midas_ray.book import kernels as k
from midas_ray.book.events import DepthEvents, IntArray, check_ms, decode_depth
from midas_ray.book.scale import Scale, ScaleTooSmallError
from midas_ray.capture.journal import JournalLine, decode_line
from midas_ray.errors import DataError
from midas_ray.venues.base import Venue, frame_address, frame_message, open_frame
from midas_ray.venues.messages import AggTrade, DepthUpdate, ForceOrder, Kline, MarkPrice, Trade

_decode_depth = msgspec.json.Decoder(DepthUpdate).decode
_decode_trade = msgspec.json.Decoder(Trade).decode
_decode_agg_trade = msgspec.json.Decoder(AggTrade).decode
_decode_mark = msgspec.json.Decoder(MarkPrice).decode
_decode_force = msgspec.json.Decoder(ForceOrder).decode
_decode_kline = msgspec.json.Decoder(Kline).decode
_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")


@dataclass(frozen=True, slots=True)
class Batch:
    """What a stretch of lines holds, in the file's order.

    depth: events that precede the lines in `controls`, or none. trades: (n, TRADE_COLUMNS) int64 at `scale`.
    controls: rest, book and event lines. marks, forced, klines: typed messages. undecodable: lines kept raw that no
    decoder understands. foreign: symbols of frames that are not this one's, each left out. tickers: bookTicker frames
    passed over. scale: of depth and trades.
    """

    scale: Scale
    depth: DepthEvents | None = None
    trades: IntArray | None = None
    controls: tuple[JournalLine, ...] = ()
    control_bytes: tuple[bytes, ...] = ()
    marks: tuple[MarkPrice, ...] = ()
    forced: tuple[ForceOrder, ...] = ()
    klines: tuple[Kline, ...] = ()
    undecodable: int = 0
    foreign: tuple[str, ...] = ()
    tickers: int = 0


class BlockReader:
    """Turns decompressed blocks of whole lines of one symbol into batches.

    `scale` is what the next lines are read at; it grows when a number needs more decimals.
    """

    def __init__(self, venue: Venue, symbol: str, scale: Scale | None = None) -> None:
        self.venue = venue
        self.symbol = symbol
        self.scale = scale or Scale()
        self._symbol_bytes = np.frombuffer(symbol.upper().encode(), np.uint8)
        self._clock_key = ord(venue.depth_clock)

    def read(self, block: bytes) -> Iterator[Batch]:
        """Batches of a block. Raises DataError for a line that is longer than any can be."""
        buffer = np.frombuffer(block, np.uint8)
        rows = max(len(block) // 120, 64)
        depth = np.empty((rows, k.DEPTH_COLUMNS), np.int64)
        levels = len(block) // 10 + 1
        keys, sizes, sides = np.empty(levels, np.int64), np.empty(levels, np.int64), np.empty(levels, np.int8)
        trades = np.empty((rows, k.TRADE_COLUMNS), np.int64)
        other = np.empty((rows, k.OTHER_COLUMNS), np.int64)
        at = 0
        while at < len(block):
            scale = self.scale
            why, reached, n_depth, n_trades, n_other, tickers = k.scan(
                *(buffer, at, self._symbol_bytes, self._clock_key, self.venue.has_previous_id),
                *(scale.px_decimals, scale.sz_decimals, depth, keys, sides, sizes, trades, other),
            )
            end = int(depth[n_depth - 1, k.DEPTH_LEVELS_END]) if n_depth else 0
            events = DepthEvents(depth[:n_depth], keys[:end], sides[:end], sizes[:end])
            if why != k.SCAN_DONE:  # the next scan writes to the same tables
                events = events.copied()
            yield Batch(scale, trades=trades[:n_trades].copy(), tickers=tickers)
            yield from self._others(block, other[:n_other], events, scale)
            if why == k.SCAN_FULL and reached == at:
                raise DataError(
                    f"{self.symbol}: a raw line of over {len(block)} bytes; expected lines of a few MB at most"
                )
            if why == k.SCAN_SCALE:
                line_end = block.index(b"\n", reached)
                yield from self._plain(block[reached:line_end])
                reached = line_end + 1
            at = reached

    def _others(self, block: bytes, other: IntArray, events: DepthEvents, scale: Scale) -> Iterator[Batch]:
        """Depth events and the lines between them, in order."""
        done = 0
        for start, end, depth_row, code in other.tolist():
            batches = list(self._plain(block[start:end]))
            # Marks and the like say nothing of the book: it need not be cut at each of them.
            cuts = code in (k.LINE_CONTROL, k.LINE_FALLBACK) or any(batch.depth is not None for batch in batches)
            if cuts and depth_row > done:
                yield Batch(scale, depth=_part(events, done, depth_row))
                done = depth_row
            yield from batches
        if len(events) > done:
            yield Batch(scale, depth=_part(events, done, len(events)))

    def _plain(self, raw: bytes) -> Iterator[Batch]:
        """One line through the plain decoder; widens the scale where it must."""
        try:
            line = decode_line(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield Batch(self.scale, undecodable=1)
            return
        if line.kind != "ws":
            yield Batch(self.scale, controls=(line,), control_bytes=(raw,))
            return
        if not bytes(line.payload):
            yield Batch(self.scale, undecodable=1)
            return
        while True:
            try:
                yield self._decoded(line)
            except ScaleTooSmallError as error:
                self.scale = error.scale
                continue
            except (msgspec.DecodeError, ValueError, OverflowError):
                yield Batch(self.scale, undecodable=1)
            return

    def _decoded(self, line: JournalLine) -> Batch:
        payload = bytes(line.payload)
        address = frame_address(payload)
        if address is None:
            return Batch(self.scale)
        kind, symbol = address
        if symbol != self.symbol:
            name = open_frame(payload)[0] or ""
            if name.partition("@")[0] == self.symbol:  # the exchange's own mistake: kept raw, never counted
                return Batch(self.scale, undecodable=1)
            return Batch(self.scale, foreign=(symbol,))
        data = frame_message(payload)
        if kind == "depth":
            venue = self.venue
            message = _decode_depth(data)
            clock, has_pu = venue.depth_clock, venue.has_previous_id
            return Batch(self.scale, depth=decode_depth(message, line.recv_ns, clock, has_pu, self.scale))
        if kind == "trade":
            return Batch(self.scale, trades=trade_row(_decode_trade(data), line.recv_ns, self.scale))
        if kind == "aggTrade":
            return Batch(self.scale, trades=agg_trade_row(_decode_agg_trade(data), line.recv_ns, self.scale))
        if kind == "markPrice":
            return Batch(self.scale, marks=(_checked_mark(_decode_mark(data)),))
        if kind == "forceOrder":
            return Batch(self.scale, forced=(_checked_order(_decode_force(data)),))
        if kind == "kline":
            return Batch(self.scale, klines=(_checked_kline(_decode_kline(data)),))
        return Batch(self.scale, tickers=1)


def _checked_mark(mark: MarkPrice) -> MarkPrice:
    check_ms(mark.E, mark.T)
    _check_numbers(mark.p, mark.i, *([mark.r.removeprefix("-")] if mark.r else []))
    return mark


def _checked_order(order: ForceOrder) -> ForceOrder:
    check_ms(order.E, order.o.T)
    _check_numbers(order.o.p, order.o.ap, order.o.z)
    return order


def _checked_kline(kline: Kline) -> Kline:
    bar = kline.k
    check_ms(bar.t)
    if not 0 <= bar.n < 2**63:
        raise ValueError(f"expected a number of trades, found {bar.n}")
    _check_numbers(bar.o, bar.h, bar.l, bar.c, bar.v, bar.q, bar.V, bar.Q)
    return kline


def _check_numbers(*texts: str) -> None:
    """Raises ValueError for what Python's float takes beyond plain decimal numbers (nan, 1_000, 1e5)."""
    for text in texts:
        if _NUMBER.fullmatch(text) is None:
            raise ValueError(f"expected a plain decimal number, found {text!r}")


def trade_row(trade: Trade, recv_ns: int, scale: Scale) -> npt.NDArray[np.int64]:
    """(1, TRADE_COLUMNS) of a trade; a print has X absent or MARKET and p > 0. Raises as `Scale.px_int`."""
    check_ms(trade.T)
    px, qty = scale.px_int(trade.p), scale.sz_int(trade.q)
    is_print = trade.X in (None, "MARKET") and px > 0
    return np.array([[recv_ns, trade.T, trade.t, px, qty, trade.m, 1, is_print, 0, trade.t]], np.int64)


def agg_trade_row(trade: AggTrade, recv_ns: int, scale: Scale) -> npt.NDArray[np.int64]:
    """(1, TRADE_COLUMNS) of an aggregate trade. Raises ScaleTooSmallError, ValueError."""
    if trade.l < trade.f:
        raise ValueError(f"expected f <= l in aggTrade, found f={trade.f} l={trade.l}")
    check_ms(trade.T)
    px, qty = scale.px_int(trade.p), scale.sz_int(trade.q)
    count = trade.l - trade.f + 1
    return np.array([[recv_ns, trade.T, trade.a, px, qty, trade.m, count, px > 0, 1, trade.l]], np.int64)


def _part(events: DepthEvents, first: int, stop: int) -> DepthEvents:
    """Events [first, stop) as a table of their own."""
    if first == 0 and stop == len(events):
        return events
    start = 0 if first == 0 else int(events.table[first - 1, k.DEPTH_LEVELS_END])
    end = int(events.table[stop - 1, k.DEPTH_LEVELS_END])
    table = events.table[first:stop].copy()
    table[:, k.DEPTH_LEVELS_END] -= start
    return DepthEvents(table, events.keys[start:end], events.sides[start:end], events.sizes[start:end])
