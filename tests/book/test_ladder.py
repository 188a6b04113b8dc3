"""The ladder against a dict."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.book import kernels as k
from midas_ray.book.ladder import ASK, BID, Ladder, make_snapshot
from midas_ray.book.scale import Scale
from tests.book.by_hand import Sizes, event, sides, snapshot, table

changes = st.dictionaries(st.integers(1, 60), st.integers(0, 9), max_size=8)


def applied(book: Sizes, change: Sizes) -> Sizes:
    return {px: size for px, size in (book | change).items() if size}


@given(st.lists(st.tuples(changes, changes), min_size=1, max_size=30), changes, changes)
@settings(deadline=None, max_examples=150)
def test_ladder_holds_what_a_dict_holds(steps: list[tuple[Sizes, Sizes]], bids: Sizes, asks: Sizes) -> None:
    ladder = Ladder()
    bids, asks = applied({}, bids), applied({}, asks)
    ladder.load(snapshot(1, bids, asks))
    events = table(*(event(at, at, at + 1, *step) for at, step in enumerate(steps)))
    for at, (bid_changes, ask_changes) in enumerate(steps):
        ladder.apply(events, at, at + 1)
        bids, asks = applied(bids, bid_changes), applied(asks, ask_changes)
        assert sides(ladder) == (bids, asks)
        for side in (BID, ASK):
            assert (np.diff(ladder.side(side)[0]) > 0).all()
    ladder.refresh_top()
    best = sorted(bids.items(), reverse=True)[:10]
    held = zip(ladder.top_keys[BID].tolist(), ladder.top_sizes[BID].tolist(), strict=True)
    assert [level for level in held if level[0] != k.LOWEST_KEY] == best


def test_ladder_grows_without_limit() -> None:
    ladder = Ladder()
    many = {px: 1 for px in range(1, 5001)}
    ladder.apply(event(1, 0, 1, many, {px + 10_000: 2 for px in many}), 0, 1)
    bids, asks = sides(ladder)
    assert (len(bids), len(asks)) == (5000, 5000)
    ladder.apply(event(1, 0, 1, dict.fromkeys(many, 0)), 0, 1)
    assert sides(ladder) == ({}, asks)


@pytest.mark.parametrize("count", range(4))
def test_every_place_of_a_small_side(count: int) -> None:
    for present in itertools.combinations(range(1, 6), count):
        for px in range(1, 7):
            for size in (0, 5):
                ladder = Ladder()
                before = dict.fromkeys(present, 3)
                ladder.load(snapshot(1, before, before))
                ladder.apply(event(1, 0, 1, {px: size}, {px: size}), 0, 1)
                assert sides(ladder) == (applied(before, {px: size}),) * 2


def test_rest_levels_become_integers_and_known_depth() -> None:
    whole = make_snapshot(7, [("10.5", "1"), ("10.4", "0"), ("10.3", "2.5")], [("10.6", "3")], None, Scale(1, 1))
    assert whole.levels[0][0].tolist() == [103, 105]
    assert whole.levels[0][1].tolist() == [25, 10]
    assert whole.levels[1][0].tolist() == [-106]
    assert whole.known.tolist() == [k.LOWEST_KEY, k.LOWEST_KEY]
    cut = make_snapshot(7, [("10", "1"), ("9", "1")], [("11", "3")], 2, Scale())
    assert cut.known.tolist() == [9, k.LOWEST_KEY]
    unsaid = make_snapshot(7, [(str(px), "1") for px in range(1, 6)], [("11", "3")], None, Scale())
    assert unsaid.known.tolist() == [1, k.LOWEST_KEY]  # 5 is a limit the venue can be asked for


def test_price_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="price above 0"):
        make_snapshot(7, [("0.0", "1")], [], None, Scale(1, 0))


def test_merge_takes_the_newer_side_where_it_is_known_and_keeps_what_lies_beyond() -> None:
    ladder, newer = Ladder(), Ladder()
    ladder.load(snapshot(1, {100: 1, 98: 2, 90: 7}, {110: 1}, known=(98, 110)))
    newer.load(snapshot(1, {100: 1, 98: 2, 97: 3}, {110: 1, 111: 4}, known=(97, 111)))
    assert ladder.merge(newer)
    assert sides(ladder) == ({100: 1, 98: 2, 97: 3, 90: 7}, {110: 1, 111: 4})
    assert ladder.known.tolist() == [97, -111]


def test_merge_says_where_both_know_and_differ() -> None:
    for wrong in ({100: 2, 98: 2}, {100: 1}, {100: 1, 99: 1, 98: 2}):
        ladder, newer = Ladder(), Ladder()
        ladder.load(snapshot(1, {100: 1, 98: 2}, {110: 1}))
        newer.load(snapshot(1, wrong, {110: 1}))
        assert not ladder.merge(newer)
        assert sides(ladder)[0] == wrong


def test_rescale_multiplies_or_is_refused_whole() -> None:
    ladder = Ladder()
    ladder.load(snapshot(1, {100: 5}, {101: 6}, known=(100, k.LOWEST_KEY)))
    ladder.check_fits(Scale(0, 0), Scale(2, 1))
    ladder.rescale(Scale(0, 0), Scale(2, 1))
    assert sides(ladder) == ({10000: 50}, {10100: 60})
    assert ladder.known.tolist() == [10000, k.LOWEST_KEY]
    assert ladder.levels_text(BID, Scale(2, 1)) == [("100.00", "5.0")]
    ladder.load(snapshot(1, {10**12: 1}, {}))
    with pytest.raises(ValueError, match="18 digits"):
        ladder.check_fits(Scale(0, 0), Scale(6, 0))


def test_levels_text_gives_the_best_first() -> None:
    ladder = Ladder()
    ladder.load(snapshot(1, {100: 5, 99: 4, 98: 3}, {101: 6, 102: 7}))
    assert ladder.levels_text(BID, Scale(1, 0), 2) == [("10.0", "5"), ("9.9", "4")]
    assert ladder.levels_text(ASK, Scale(1, 0)) == [("10.1", "6"), ("10.2", "7")]
