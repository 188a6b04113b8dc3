"""The order book of one symbol: two sorted sides in integers, exact and never trimmed."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from midas_ray.book import kernels as k
from midas_ray.book.events import DepthEvents, IntArray, level_ints
from midas_ray.book.scale import Scale
from midas_ray.venues.messages import Level

BID, ASK = 0, 1
_SIGN = (1, -1)
STANDARD_LIMITS = frozenset({5, 10, 20, 50, 100, 500, 1000, 5000})
"""Snapshot sizes the venue can be asked for: a side of just so many levels may go on beyond."""


Window = tuple[IntArray, npt.NDArray[np.uint64]]
NO_WINDOW: Window = (np.zeros((2, 0), np.int64), np.zeros((2, 0), np.uint64))
"""In place of the window of a replay that has none."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A full or partial book at update id `last_id`.

    levels: per side (keys, sizes), in rising order of key. known: (2,) the worst key up to which the side is complete,
    LOWEST_KEY for a whole side.
    """

    last_id: int
    levels: tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]
    known: IntArray

    def rescaled(self, old: Scale, new: Scale) -> "Snapshot":
        """The same snapshot at a wider scale."""
        px, sz = 10 ** (new.px_decimals - old.px_decimals), 10 ** (new.sz_decimals - old.sz_decimals)
        bids, asks = ((keys * px, sizes * sz) for keys, sizes in self.levels)
        known = np.where(self.known == k.LOWEST_KEY, self.known, self.known * px)
        return Snapshot(self.last_id, (bids, asks), known)


def make_snapshot(last_id: int, bids: list[Level], asks: list[Level], limit: int | None, scale: Scale) -> Snapshot:
    """Snapshot of REST levels. `limit` is the number asked for; None where unknown (imports): then a side whose length
    is one of the venue's standard limits counts as cut off there. Raises ScaleTooSmallError or ValueError."""
    sides = []
    known = np.full(2, k.LOWEST_KEY, np.int64)
    for side, levels in ((BID, bids), (ASK, asks)):
        key_array, size_array = level_ints(levels, _SIGN[side], scale)
        order = np.argsort(key_array)
        cut_off = len(levels) >= limit if limit is not None else len(levels) in STANDARD_LIMITS
        if cut_off and len(key_array) > 0:
            known[side] = key_array.min()
        kept = order[size_array[order] > 0]
        sides.append((key_array[kept], size_array[kept]))
    return Snapshot(last_id, (sides[0], sides[1]), known)


class Ladder:
    """Both sides of the book and its best ten levels.

    keys, sizes: (2, capacity) int64; counts: (2,); known: (2,) worst known key per side. See `kernels` for keys.
    """

    def __init__(self) -> None:
        self.keys = np.zeros((2, 1024), np.int64)
        self.sizes = np.zeros((2, 1024), np.int64)
        self.counts = np.zeros(2, np.int64)
        self.known = np.full(2, k.LOWEST_KEY, np.int64)
        self.top_keys = np.full((2, k.OFI_LEVELS), k.LOWEST_KEY, np.int64)
        self.top_sizes = np.zeros((2, k.OFI_LEVELS), np.int64)
        self.top_known = np.zeros(2, np.int64)
        self._window: Window | None = None

    def window(self) -> Window:
        """The empty window (slots, bits) that a long replay works on; its 256 kB are made when first asked for."""
        if self._window is None:
            bits = np.zeros((2, k.WINDOW_SLOTS // 64), np.uint64)
            self._window = np.zeros((2, k.WINDOW_SLOTS), np.int64), bits
        return self._window

    def reserve(self, changes: int) -> None:
        """Make room for so many level changes on either side."""
        need = int(self.counts.max()) + changes
        capacity = self.keys.shape[1]
        if need <= capacity:
            return
        grown = max(need, 2 * capacity)
        for name in ("keys", "sizes"):
            array = np.zeros((2, grown), np.int64)
            array[:, :capacity] = getattr(self, name)
            setattr(self, name, array)

    def load(self, snapshot: Snapshot) -> None:
        """Replace the book by the snapshot."""
        self.counts[:] = 0
        self.reserve(max(len(keys) for keys, _ in snapshot.levels))
        for side, (keys, sizes) in enumerate(snapshot.levels):
            self.keys[side, : len(keys)] = keys
            self.sizes[side, : len(keys)] = sizes
            self.counts[side] = len(keys)
        self.known[:] = snapshot.known
        self.refresh_top()

    def refresh_top(self) -> None:
        k.refresh_top(self.keys, self.sizes, self.counts, self.known, self.top_keys, self.top_sizes, self.top_known)

    def apply(self, events: DepthEvents, first: int, stop: int) -> None:
        """Set the level changes of events [first, stop), without any check of their order."""
        start = 0 if first == 0 else int(events.table[first - 1, k.DEPTH_LEVELS_END])
        end = int(events.table[stop - 1, k.DEPTH_LEVELS_END]) if stop > first else start
        self.reserve(end - start)
        k.apply_levels(self.keys, self.sizes, self.counts, events.keys, events.sides, events.sizes, start, end)

    def side(self, side: int) -> tuple[IntArray, IntArray]:
        """(keys, sizes) of a side in rising order of key, as views."""
        count = int(self.counts[side])
        return self.keys[side, :count], self.sizes[side, :count]

    def merge(self, newer: "Ladder") -> bool:
        """Take over `newer`, another view of the book at the same moment, keeping levels beyond what it knows.

        Gives False where the two differ within the depth that both know.
        """
        agree = True
        merged = []
        for side in (BID, ASK):
            old_keys, old_sizes = self.side(side)
            new_keys, new_sizes = newer.side(side)
            both = max(self.known[side], newer.known[side])
            old_in, new_in = old_keys >= both, new_keys >= both
            agree &= np.array_equal(old_keys[old_in], new_keys[new_in])
            agree = agree and np.array_equal(old_sizes[old_in], new_sizes[new_in])
            beyond = old_keys < newer.known[side]
            inside = new_keys >= newer.known[side]
            keys = np.concatenate([old_keys[beyond], new_keys[inside]])
            merged.append((keys, np.concatenate([old_sizes[beyond], new_sizes[inside]])))
        known = np.minimum(self.known, newer.known)
        self.load(Snapshot(0, (merged[0], merged[1]), known))
        return agree

    def check_fits(self, old: Scale, new: Scale) -> None:
        """Raises ValueError where a level would have over 18 digits at the wider scale."""
        for side in (BID, ASK):
            keys, sizes = self.side(side)
            for values, decimals in (
                (keys, new.px_decimals - old.px_decimals),
                (sizes, new.sz_decimals - old.sz_decimals),
            ):
                if len(values) and int(np.abs(values).max()) * 10**decimals >= 10**18:
                    raise ValueError(f"expected numbers of at most 18 digits in the book, found more at {new}")

    def rescale(self, old: Scale, new: Scale) -> None:
        """Multiply up to a wider scale."""
        px, sz = 10 ** (new.px_decimals - old.px_decimals), 10 ** (new.sz_decimals - old.sz_decimals)
        self.keys *= px
        self.sizes *= sz
        self.known[:] = np.where(self.known == k.LOWEST_KEY, self.known, self.known * px)
        self.refresh_top()

    def levels_text(self, side: int, scale: Scale, depth: int | None = None) -> list[Level]:
        """Levels of a side as decimal text, best first; `depth` None = all."""
        keys, sizes = self.side(side)
        wanted = slice(None, None, -1) if depth is None else slice(None, -depth - 1, -1)
        return [
            (scale.px_text(abs(int(key))), scale.sz_text(int(size)))
            for key, size in zip(keys[wanted], sizes[wanted], strict=True)
        ]
