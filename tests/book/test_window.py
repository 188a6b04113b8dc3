"""A replay on windows gives what a replay on sorted arrays gives: rows, book and state, however the prices jump."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.book import kernels as k
from midas_ray.book import sync
from midas_ray.book.events import DepthEvents
from midas_ray.book.ladder import Ladder, Snapshot, Window
from midas_ray.book.rows import RowChunk, RowSink
from midas_ray.book.sync import BookSync

STEP_MS = 100
SMALL_SLOTS = 256


def small_window(ladder: Ladder) -> Window:
    """Windows so small that they are opened anew all the time."""
    if ladder._window is None:
        ladder._window = np.zeros((2, SMALL_SLOTS), np.int64), np.zeros((2, SMALL_SLOTS // 64), np.uint64)
    return ladder._window


def random_events(rng: np.random.Generator, n: int, spread: int, jump: int) -> DepthEvents:
    """n events around a mid that now and then jumps by up to `jump`; crossed books and removals of nothing included."""
    table = np.zeros((n, k.DEPTH_COLUMNS), np.int64)
    keys: list[int] = []
    sides: list[int] = []
    sizes: list[int] = []
    mid, clock_ms = 1_000_000, 1_000
    for i in range(n):
        if rng.random() < 0.1:
            mid += int(rng.integers(-jump, jump + 1))
        mid = max(mid, 10 * spread + 1)
        clock_ms += int(rng.integers(0, 3)) * 40
        for _ in range(int(rng.integers(0, 30))):
            side = int(rng.integers(0, 2))
            distance = int(rng.exponential(spread)) - int(rng.random() < 0.05) * spread
            px = max(1, mid - distance if side == 0 else mid + distance)
            keys.append(px if side == 0 else -px)
            sides.append(side)
            sizes.append(int(rng.integers(1, 1000)) if rng.random() < 0.6 else 0)
        table[i] = [i, clock_ms, i + 1, i + 1, i, len(keys)]
    return DepthEvents(table, np.array(keys, np.int64), np.array(sides, np.int8), np.array(sizes, np.int64))


def snapshot(rng: np.random.Generator, levels: int, whole: bool) -> Snapshot:
    sides = []
    known = np.full(2, k.LOWEST_KEY, np.int64)
    for side in range(2):
        px = 1_000_000 + np.unique(rng.integers(1, 40 * levels + 2, levels))
        key = np.sort(-px if side else px - 2 * (px - 1_000_000))
        sides.append((key, rng.integers(1, 1000, len(key))))
        if not whole and len(key):
            known[side] = key[0]
    return Snapshot(0, (sides[0], sides[1]), known)


def replayed(
    monkeypatch: pytest.MonkeyPatch, start: Snapshot, events: DepthEvents, depth: int, capacity: int, *, windowed: bool
) -> tuple[list[np.ndarray], BookSync]:
    monkeypatch.setattr(sync, "WINDOW_CHANGES", 0 if windowed else 2**62)
    monkeypatch.setattr(Ladder, "window", small_window)
    chunks: list[np.ndarray] = []

    def keep(chunk: RowChunk) -> None:
        known = chunk.known[:, :2, None] > np.arange(depth)
        chunks.append(np.hstack([chunk.ints, chunk.known, chunk.ofi]))
        chunks.append(np.where(known, chunk.keys, 0).reshape(len(chunk.ints), -1))
        chunks.append(np.where(known, chunk.sizes, 0).reshape(len(chunk.ints), -1))

    sink = RowSink(step_ms=STEP_MS, first_ms=0, last_ms=2**40, depth=depth, on_chunk=keep, capacity=capacity)
    book = BookSync(sink)
    book.opened()
    book.snapshot(start)
    for first in range(0, len(events), 37):
        book.depth(events, first, min(first + 37, len(events)))
    sink.flush()
    return chunks, book


@given(
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([1, 5, 60, 300, 5_000]),
    jump=st.sampled_from([0, 3, 100, 1_000, 100_000]),
    levels=st.sampled_from([0, 1, 12, 300]),
    depth=st.sampled_from([10, 17, 50]),
    whole=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_windows_do_not_show(seed: int, spread: int, jump: int, levels: int, depth: int, whole: bool) -> None:
    rng = np.random.default_rng(seed)
    start, events = snapshot(rng, levels, whole), random_events(rng, 150, spread, jump)
    with pytest.MonkeyPatch.context() as patch:
        rows, book = replayed(patch, start, events, depth, 23, windowed=True)
        expected_rows, expected = replayed(patch, start, events, depth, 23, windowed=False)
    assert len(rows) == len(expected_rows) > 0
    for found, wanted in zip(rows, expected_rows, strict=True):
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(book.state, expected.state)
    for side in range(2):
        for found, wanted in zip(book.ladder.side(side), expected.ladder.side(side), strict=True):
            np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(book.ladder.top_keys, expected.ladder.top_keys)
    slots_bits = small_window(book.ladder)[1]
    assert not slots_bits.any(), "a call must leave the windows empty"


def test_long_calls_work_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sizes of calls in real use do reach the windows."""
    opened = []
    monkeypatch.setattr(Ladder, "window", lambda ladder: opened.append(1) or small_window(ladder))
    rng = np.random.default_rng(0)
    book = BookSync(None)
    book.opened()
    book.snapshot(snapshot(rng, 300, whole=True))
    book.depth(random_events(rng, 1_000, 60, 3))
    assert opened
