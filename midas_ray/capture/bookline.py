"""The book line that heads a raw file: the whole live book, so that the file stands alone."""

from typing import Any

import msgspec
import numpy as np

from midas_ray.book import kernels as k
from midas_ray.book.events import level_ints
from midas_ray.book.ladder import ASK, BID, Snapshot
from midas_ray.book.scale import Scale
from midas_ray.book.sync import BookSync, GapCause
from midas_ray.venues.messages import Level


class FileHead(msgspec.Struct, frozen=True, kw_only=True):
    """What the first line of a file says of the streams so far, whether or not the book is live.

    last_trade_id, last_trade_ms: of the last trade; last_agg_id, last_agg_ms, last_agg_trade_id: of the last aggTrade
    (`a`, `T`, `l`). streams: the kinds collected. unproven: kinds of which no message has come since some were lost, or
    may have been, and the cause.
    """

    last_trade_id: int | None = None
    last_trade_ms: int | None = None
    last_agg_id: int | None = None
    last_agg_ms: int | None = None
    last_agg_trade_id: int | None = None
    streams: list[str] = []
    unproven: dict[str, GapCause] = {}


class BookLine(FileHead, frozen=True, kw_only=True):
    """Body of a `book` line.

    T: exchange time of the last applied event, ms. known_bid, known_ask: worst price up to which the side is complete,
    None for a whole side. after_n: the last frame the book holds. The rest: see `FileHead`.
    """

    last_update_id: int
    after_n: int
    T: int
    known_bid: str | None
    known_ask: str | None
    bids: list[Level]
    asks: list[Level]


decode_book_line = msgspec.json.Decoder(BookLine).decode
decode_file_head = msgspec.json.Decoder(FileHead).decode


def book_fields(sync: BookSync, after_n: int) -> dict[str, Any]:
    """Body of the line of a live book, without the trade stream's part."""
    scale, ladder = sync.scale, sync.ladder
    known = [
        None if ladder.known[side] == k.LOWEST_KEY else scale.px_text(abs(int(ladder.known[side])))
        for side in (BID, ASK)
    ]
    return {
        "last_update_id": sync.last_id,
        "after_n": after_n,
        "T": sync.clock_ms,
        "known_bid": known[BID],
        "known_ask": known[ASK],
        "bids": ladder.levels_text(BID, scale),
        "asks": ladder.levels_text(ASK, scale),
    }


def book_scale(line: BookLine, scale: Scale) -> Scale:
    """The smallest scale that holds `scale` and the one the line is written at.

    Trailing zeros count: each file of a run is then read at the scale that the run's book had reached.
    """
    levels = [*line.bids, *line.asks]
    return Scale(
        max([scale.px_decimals, *(len(px.partition(".")[2]) for px, _ in levels)]),
        max([scale.sz_decimals, *(len(size.partition(".")[2]) for _, size in levels)]),
    )


def book_snapshot(line: BookLine, scale: Scale) -> Snapshot:
    """The line's book at `scale`. Raises ScaleTooSmallError, ValueError."""
    sides = []
    for levels, sign in ((line.bids, 1), (line.asks, -1)):
        keys, sizes = level_ints(levels, sign, scale)
        sides.append((keys[::-1].copy(), sizes[::-1].copy()))
    known = np.full(2, k.LOWEST_KEY, np.int64)
    for side, (text, sign) in enumerate(((line.known_bid, 1), (line.known_ask, -1))):
        if text is not None:
            known[side] = sign * scale.px_int(text)
    return Snapshot(line.last_update_id, (sides[0], sides[1]), known)
