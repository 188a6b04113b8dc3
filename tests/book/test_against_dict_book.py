"""Rows of the compiled replay against dict books on rough random markets: every column, whatever the chunks."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.book import kernels as k
from midas_ray.book import sync
from midas_ray.book.events import DepthEvents
from midas_ray.book.ladder import Snapshot
from midas_ray.book.rows import RowChunk, RowSink
from midas_ray.book.scale import Scale
from midas_ray.book.sync import Action, BookSync, Gap
from tests.book.by_hand import STATES, Row, Sizes, sides
from tests.book.dict_replay import Depth, DictReplay, Hole, Rest
from tests.book.rough_market import START_MS, Input, Opened, Rescaled, RoughMarket, Roughness

LAST_MS = 10**9
Answer = tuple[list[Row], list[tuple[int, int]], list[Hole]]
"""Rows, the known levels of both sides of each, and what the ledger says."""


class Way(NamedTuple):
    """How a market is fed: events at once, rows of a buffer, slots of the kernel's windows (0 without any, None as the
    product chooses)."""

    chunk: int
    capacity: int
    window_slots: int | None


WAYS = (Way(1, 1000, None), Way(10**6, 1000, 0), Way(10**6, 1000, 256), Way(10**6, 1000, 16_384), Way(7, 3, 256))


class Product:
    """The product's book fed with a script; its rows in the units of the widest scale."""

    def __init__(self, *, step_ms: int, depth: int, capacity: int, units: tuple[int, int], first_ms: int = 0) -> None:
        self.rows: list[Row] = []
        self.known: list[tuple[int, int]] = []
        self.holes: list[Hole] = []
        self.units = units
        sink = RowSink(
            step_ms=step_ms, first_ms=first_ms, last_ms=LAST_MS, depth=depth, on_chunk=self._take, capacity=capacity
        )
        self.book = BookSync(sink)

    def feed(self, script: list[Input], chunk: int) -> Answer:
        """Feed depth events in chunks of at most so many."""
        held: list[Depth] = []
        for each in [*script, None]:
            if held and (not isinstance(each, Depth) or len(held) >= chunk):
                self._note(self.book.depth(self._events(held)))
                held = []
            if isinstance(each, Depth):
                held.append(each)
            elif isinstance(each, Rest):
                self._note(self.book.snapshot(self._snapshot(each)))
            elif isinstance(each, Opened):
                self._note(self.book.opened())
            elif isinstance(each, Rescaled):
                self.book.rescale(Scale(len(str(each.px)) - 1, len(str(each.sz)) - 1))
                self.units = (1, 1)
        self._note(self.book.finish())
        assert self.book.sink is not None
        self.book.sink.flush()
        return self.rows, self.known, self.holes

    def _note(self, actions: list[Action]) -> None:
        for each in actions:
            if isinstance(each, Gap):
                self.holes.append((each.start_ms, each.end_ms, each.cause, each.expected_id, each.found_id))

    def whole_book(self) -> tuple[Sizes, Sizes]:
        """All levels of bids and asks."""
        px_unit, sz_unit = self.units
        bids, asks = ({px * px_unit: size * sz_unit for px, size in side.items()} for side in sides(self.book.ladder))
        return bids, asks

    def _take(self, chunk: RowChunk) -> None:
        px_unit, sz_unit = self.units
        for at, (ts, last_id, n_updates, state) in enumerate(chunk.ints.tolist()):
            levels = []
            for side, sign in ((0, 1), (1, -1)):
                known = int(chunk.known[at, side])
                pairs = zip(chunk.keys[at, side, :known].tolist(), chunk.sizes[at, side, :known].tolist(), strict=True)
                levels.append([(sign * key * px_unit, sz * sz_unit) for key, sz in pairs if key != k.LOWEST_KEY])
            known_ofi = int(chunk.known[at, 2])
            ofi = [sz * sz_unit for sz in chunk.ofi[at, :known_ofi].tolist()] if known_ofi else None
            self.rows.append(Row(ts, STATES[state], last_id, n_updates, levels[0], levels[1], ofi))
            self.known.append((int(chunk.known[at, 0]), int(chunk.known[at, 1])))

    def _events(self, events: list[Depth]) -> DepthEvents:
        px_unit, sz_unit = self.units
        table = np.zeros((len(events), k.DEPTH_COLUMNS), np.int64)
        changes: list[tuple[int, int, int]] = []
        for at, event in enumerate(events):
            changes += [(px // px_unit, 0, size // sz_unit) for px, size in event.bids]
            changes += [(-(px // px_unit), 1, size // sz_unit) for px, size in event.asks]
            table[at, k.DEPTH_MS], table[at, k.DEPTH_RECV_NS] = event.ms, event.ms * 10**6
            table[at, k.DEPTH_PREV_ID], table[at, k.DEPTH_FIRST_ID] = event.pu, event.first_id
            table[at, k.DEPTH_LAST_ID], table[at, k.DEPTH_LEVELS_END] = event.last_id, len(changes)
        keys, sides, sizes = zip(*changes, strict=True) if changes else ((), (), ())
        return DepthEvents(table, np.array(keys, np.int64), np.array(sides, np.int8), np.array(sizes, np.int64))

    def _snapshot(self, rest: Rest) -> Snapshot:
        px_unit, sz_unit = self.units
        sides, known = [], np.full(2, k.LOWEST_KEY, np.int64)
        for side, (levels, sign) in enumerate(((rest.bids, 1), (rest.asks, -1))):
            keys = sorted(sign * px // px_unit for px in levels)
            sizes = [levels[sign * key * px_unit] // sz_unit for key in keys]
            sides.append((np.array(keys, np.int64), np.array(sizes, np.int64)))
            if rest.limit is not None and len(levels) >= rest.limit > 0:
                known[side] = keys[0]
        return Snapshot(rest.last_id, (sides[0], sides[1]), known)


def played(script: list[Input], *, step_ms: int, depth: int, first_ms: int = 0) -> DictReplay:
    """The dict book after the script."""
    replay = DictReplay(step_ms, first_ms, LAST_MS, depth)
    for each in script:
        if isinstance(each, Depth):
            replay.depth(each)
        elif isinstance(each, Rest):
            replay.rest(each)
        elif isinstance(each, Opened):
            replay.opened()
    replay.finish()
    return replay


def check(rough: Roughness, *, step_ms: int = 100, depth: int = 10, units: tuple[int, int] = (1, 1)) -> list[Row]:
    """Product and dict book on one market; gives the rows."""
    script = RoughMarket(rough, *units).script()
    replay = played(script, step_ms=step_ms, depth=depth)
    expected: Answer = (replay.rows, replay.known_levels, replay.holes)
    whole_book = (replay.book.bids, replay.book.asks)
    for way in WAYS:
        with pytest.MonkeyPatch.context() as patch:
            if way.window_slots is not None:
                patch.setattr(sync, "WINDOW_CHANGES", 0 if way.window_slots else 2**62)
                patch.setattr(k, "WINDOW_SLOTS", way.window_slots)
            product = Product(step_ms=step_ms, depth=depth, capacity=way.capacity, units=units)
            answer = product.feed(script, way.chunk)
        for found, wanted in zip(answer, expected, strict=True):
            assert found == wanted, way
        if product.book.live:
            assert product.whole_book() == whole_book, way
    return expected[0]


roughness = st.builds(
    Roughness,
    seed=st.integers(0, 2**32),
    tick=st.sampled_from([1, 1, 2, 7, 1000, 99_991]),
    levels=st.sampled_from([0, 1, 3, 12, 40, 300]),
    jump=st.sampled_from([0, 100, 5_000, 10**6, 10**10]),
    events=st.integers(1, 80),
    back_ms=st.sampled_from([0, 0, 50, 3000, 90_000]),
    limit=st.sampled_from([None, None, 5, 20, 100]),
    most_changes=st.sampled_from([3, 12, 60]),
)


@given(
    roughness,
    st.sampled_from([100, 100, 250, 1000]),
    st.integers(10, 50),
    st.sampled_from([(1, 1), (100, 1), (10, 1000)]),
)
@settings(deadline=None, max_examples=120, derandomize=True)
def test_rows_equal_a_dict_books(rough: Roughness, step_ms: int, depth: int, units: tuple[int, int]) -> None:
    check(rough, step_ms=step_ms, depth=depth, units=units)


@pytest.mark.parametrize("seed", range(3))
def test_thousands_of_levels_and_a_price_that_flies_away(seed: int) -> None:
    rough = Roughness(seed, levels=3000, events=400, most_changes=200, jump=2_000_000, lost=0.01, swept=0.01)
    rows = check(rough, depth=10 + 20 * seed)
    assert sum(len(row.bids) == 10 + 20 * seed for row in rows) > 100


def test_the_rough_market_is_rough() -> None:
    """The comparison is worth something: among the rows is all that may happen to a book."""
    rows: list[Row] = []
    for seed in range(12):
        rough = Roughness(seed, levels=12, events=80, limit=20)
        rows += played(RoughMarket(rough).script(), step_ms=100, depth=10).rows
    live = [row for row in rows if row.state == "live"]
    assert {row.state for row in rows} == {"live", "gap", "syncing"}
    assert any(not row.bids and row.asks for row in live), "one side empty"
    assert any(row.bids and row.asks and row.bids[0][0] >= row.asks[0][0] for row in live), "crossed"
    assert any(row.ofi is not None and 0 < len(row.ofi) < 10 for row in live), "limits of what is known"
    assert any(row.ofi is None for row in live)
    assert max(row.n_updates for row in live) > 5


@given(roughness.map(lambda rough: replace(rough, events=40)), st.integers(0, 40))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_a_later_task_writes_the_same_rows(rough: Roughness, after: int) -> None:
    """Rows from a moment on, of a replay that began earlier."""
    script, first_ms = RoughMarket(rough).script(), START_MS + 100 * after
    whole = played(script, step_ms=100, depth=10).rows
    found = Product(step_ms=100, depth=10, capacity=50, units=(1, 1), first_ms=first_ms).feed(script, 9)
    assert found[0] == [row for row in whole if row.ts > first_ms]
