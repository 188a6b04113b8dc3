"""Depth events as integer tables: what the scan makes of raw bytes, and the plain decoder of typed messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from midas_ray.book import kernels as k
from midas_ray.book.scale import Scale
from midas_ray.venues.messages import DepthUpdate, Level

IntArray = npt.NDArray[np.int64]

MANY_LEVELS = 32
"""A snapshot's side, not a message's."""


@dataclass(frozen=True, slots=True)
class DepthEvents:
    """Depth events in order.

    table: (n, DEPTH_COLUMNS) int64, one row per event; column DEPTH_LEVELS_END closes its level changes.
    keys, sizes: int64, sides: int8 (0 bid, 1 ask), one entry per level change; key = px_int for bids, -px_int for asks.
    """

    table: IntArray
    keys: IntArray
    sides: npt.NDArray[np.int8]
    sizes: IntArray

    def __len__(self) -> int:
        return len(self.table)

    def copied(self) -> "DepthEvents":
        """The same events in arrays of their own."""
        return DepthEvents(self.table.copy(), self.keys.copy(), self.sides.copy(), self.sizes.copy())

    def rescaled(self, old: Scale, new: Scale) -> "DepthEvents":
        """The same events at a wider scale."""
        if new == old:
            return self
        px = 10 ** (new.px_decimals - old.px_decimals)
        sz = 10 ** (new.sz_decimals - old.sz_decimals)
        return DepthEvents(self.table, self.keys * px, self.sides, self.sizes * sz)


def check_ms(*moments_ms: int) -> None:
    """Raises ValueError for an exchange time before 1970 or after 2099: it would end the clock of all that follows."""
    for ms in moments_ms:
        if not 0 <= ms < k.MAX_MS:
            raise ValueError(f"expected a time in milliseconds from 1970 to 2099, found {ms}")


def level_ints(levels: Sequence[Level], sign: int, scale: Scale) -> tuple[IntArray, IntArray]:
    """(keys, sizes) of levels; sign is 1 for bids, -1 for asks. Raises ValueError for a price of 0."""
    if len(levels) >= MANY_LEVELS:
        px_ints = _many_ints([px for px, _ in levels], scale.px_decimals)
        sz_ints = _many_ints([size for _, size in levels], scale.sz_decimals)
        if px_ints is not None and sz_ints is not None and px_ints.all():
            return sign * px_ints, sz_ints
    keys, sizes = [], []
    for px_text, sz_text in levels:
        px = scale.px_int(px_text)
        if px == 0:
            raise ValueError("expected a price above 0 in the book, found 0")
        keys.append(sign * px)
        sizes.append(scale.sz_int(sz_text))
    return np.array(keys, np.int64), np.array(sizes, np.int64)


def _many_ints(texts: list[str], decimals: int) -> IntArray | None:
    """All of them at once; None where one has to be looked at by itself."""
    found = np.empty(len(texts), np.int64)
    text = np.frombuffer(('"'.join(texts) + '"').encode(), np.uint8)
    return found if k.read_decimals(text, decimals, found) else None


def decode_depth(
    message: DepthUpdate, recv_ns: int, clock: Literal["T", "E"], has_pu: bool, scale: Scale
) -> DepthEvents:
    """One typed message as a table of one row: the plain decoder that the scan is checked against.

    Raises ScaleTooSmallError, or ValueError where the message breaks the venue's rules.
    """
    bid_keys, bid_sizes = level_ints(message.b, 1, scale)
    ask_keys, ask_sizes = level_ints(message.a, -1, scale)
    clock_ms = message.T if clock == "T" else message.E
    previous_id = message.pu if has_pu else message.U - 1
    if clock_ms is None or previous_id is None:
        raise ValueError("expected T and pu in a depth event, found none")
    check_ms(clock_ms)
    if message.u < message.U or previous_id >= message.U:
        raise ValueError(f"expected pu < U <= u, found pu={previous_id} U={message.U} u={message.u}")
    row = np.zeros((1, k.DEPTH_COLUMNS), np.int64)
    row[0, k.DEPTH_RECV_NS] = recv_ns
    row[0, k.DEPTH_MS] = clock_ms
    row[0, k.DEPTH_FIRST_ID] = message.U
    row[0, k.DEPTH_LAST_ID] = message.u
    row[0, k.DEPTH_PREV_ID] = previous_id
    row[0, k.DEPTH_LEVELS_END] = len(bid_keys) + len(ask_keys)
    return DepthEvents(
        row,
        np.concatenate([bid_keys, ask_keys]),
        np.array([0] * len(bid_keys) + [1] * len(ask_keys), np.int8),
        np.concatenate([bid_sizes, ask_sizes]),
    )
