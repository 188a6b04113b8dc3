"""Depth events, snapshots and grid rows by hand, at scale (0, 0): prices and sizes are the integers themselves."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from midas_ray.book import kernels as k
from midas_ray.book.events import DepthEvents
from midas_ray.book.ladder import Ladder, Snapshot
from midas_ray.book.rows import RowChunk, RowSink
from midas_ray.book.sync import BookSync

Sizes = dict[int, int]
"""Size by price."""

WHOLE = (k.LOWEST_KEY, k.LOWEST_KEY)
STATES = {k.LIVE: "live", k.SYNCING: "syncing", k.IN_GAP: "gap"}


def event(
    ms: int, pu: int, last_id: int, bids: Sizes | None = None, asks: Sizes | None = None, *, first_id: int | None = None
) -> DepthEvents:
    """One depth event; `first_id` (U) defaults to pu + 1."""
    changes = [(px, 0, size) for px, size in (bids or {}).items()]
    changes += [(-px, 1, size) for px, size in (asks or {}).items()]
    row = np.zeros((1, k.DEPTH_COLUMNS), np.int64)
    row[0, k.DEPTH_MS], row[0, k.DEPTH_RECV_NS] = ms, ms * 10**6
    row[0, k.DEPTH_PREV_ID], row[0, k.DEPTH_LAST_ID] = pu, last_id
    row[0, k.DEPTH_FIRST_ID] = pu + 1 if first_id is None else first_id
    row[0, k.DEPTH_LEVELS_END] = len(changes)
    keys, sides, sizes = zip(*changes, strict=True) if changes else ((), (), ())
    return DepthEvents(row, np.array(keys, np.int64), np.array(sides, np.int8), np.array(sizes, np.int64))


def table(*events: DepthEvents) -> DepthEvents:
    """Events one after the other."""
    rows = np.concatenate([each.table for each in events])
    rows[:, k.DEPTH_LEVELS_END] = np.cumsum([len(each.keys) for each in events])
    return DepthEvents(
        rows,
        np.concatenate([each.keys for each in events]),
        np.concatenate([each.sides for each in events]),
        np.concatenate([each.sizes for each in events]),
    )


def snapshot(last_id: int, bids: Sizes, asks: Sizes, known: tuple[int, int] = WHOLE) -> Snapshot:
    """A REST snapshot. known: the worst price up to which bids and asks are complete."""
    sides = []
    for levels, sign in ((bids, 1), (asks, -1)):
        keys = sorted(sign * px for px in levels)
        sides.append((np.array(keys, np.int64), np.array([levels[sign * key] for key in keys], np.int64)))
    known_keys = [sign * px if px != k.LOWEST_KEY else px for px, sign in zip(known, (1, -1), strict=True)]
    return Snapshot(last_id, (sides[0], sides[1]), np.array(known_keys, np.int64))


def sides(ladder: Ladder) -> tuple[Sizes, Sizes]:
    """(bids, asks) of a ladder."""
    found = []
    for side, sign in ((0, 1), (1, -1)):
        keys, sizes = ladder.side(side)
        found.append({sign * key: size for key, size in zip(keys.tolist(), sizes.tolist(), strict=True)})
    return found[0], found[1]


@dataclass
class Row:
    """One grid row; px, sz None-padded lists are cut at the known depth. ofi is None where it is not known."""

    ts: int
    state: str
    last_id: int
    n_updates: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    ofi: list[int] | None


@dataclass
class Recording:
    """A book whose rows are kept."""

    step_ms: int = 100
    first_ms: int = 0
    last_ms: int = 10**9
    depth: int = 10
    capacity: int = 1000
    rows: list[Row] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sink = RowSink(
            step_ms=self.step_ms, first_ms=self.first_ms, last_ms=self.last_ms, depth=self.depth,
            on_chunk=self._take, capacity=self.capacity,
        )  # fmt: skip
        self.book = BookSync(self.sink)

    def _take(self, chunk: RowChunk) -> None:
        for at in range(len(chunk.ints)):
            ts, last_id, n_updates, state = chunk.ints[at].tolist()
            levels = []
            for side, sign in ((0, 1), (1, -1)):
                known = int(chunk.known[at, side])
                keys, sizes = chunk.keys[at, side, :known].tolist(), chunk.sizes[at, side, :known].tolist()
                levels.append([(sign * key, sz) for key, sz in zip(keys, sizes, strict=True) if key != k.LOWEST_KEY])
            known_ofi = int(chunk.known[at, 2])
            ofi = chunk.ofi[at, :known_ofi].tolist() if known_ofi else None
            self.rows.append(Row(ts, STATES[state], last_id, n_updates, levels[0], levels[1], ofi))

    def feed(self, *inputs: Any) -> list[Any]:
        """Give events and snapshots to the book; its actions, which are kept too."""
        found: list[Any] = []
        for each in inputs:
            found += self.book.depth(each) if isinstance(each, DepthEvents) else self.book.snapshot(each)
        self.actions += found
        return found

    def finish(self) -> list[Row]:
        """The rows, after the end of the data."""
        self.actions += self.book.finish()
        self.sink.flush()
        return self.rows

    @property
    def states(self) -> dict[int, str]:
        """State by ts of the rows flushed so far."""
        return {row.ts: row.state for row in self.rows}
