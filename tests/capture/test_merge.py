"""Merging two connections: what one brings the other need not, and a gap is only where both missed."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.book import kernels as k
from midas_ray.capture.merge import (
    HOLD_S,
    REMEMBER_S,
    REORDER_S,
    DepthMerge,
    Duplicates,
    Ids,
    Jump,
    Reach,
    Released,
    TradeChain,
)


def _chain(n: int) -> list[Ids]:
    """Events that continue each other, with ids of others between them."""
    return [Ids(10 * at + 3, 10 * at + 7, 10 * at - 3) for at in range(1, n + 1)]


class Feed:
    """A merge behind the table of duplicates, as the collector has it."""

    def __init__(self, connections: int = 2) -> None:
        self.duplicates = Duplicates()
        self.merge: DepthMerge[Ids] = DepthMerge(connections, self.duplicates.brought_by)
        self.kept: list[Released[Ids]] = []
        self.now_s = 100.0

    def bring(self, conn: str, ids: Ids) -> None:
        digest, is_new = self.duplicates.first(conn, repr(ids).encode(), self.now_s)
        merge = self.merge
        self.kept += merge.offer(conn, ids, ids, digest, self.now_s) if is_new else merge.again(conn, ids, self.now_s)

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.kept += self.merge.due(self.now_s)

    @property
    def ids(self) -> list[Ids]:
        return [released.item for released in self.kept]

    @property
    def causes(self) -> list[str]:
        return [released.missed for released in self.kept if released.missed is not None]


def _applied(items: list[Ids]) -> tuple[list[Ids], int]:
    """(events a book applies, gaps it finds) by the one rule."""
    last, applied, gaps = items[0].previous, [], 0
    for ids in items:
        action = k.classify(last, ids.last, ids.previous)
        gaps += action == k.GAP
        if action in (k.APPLY, k.GAP):
            applied.append(ids)
            last = ids.last
    return applied, gaps


def test_the_second_arrival_is_counted_not_kept() -> None:
    feed, chain = Feed(), _chain(3)
    for ids in chain:
        feed.bring("a-1", ids)
        feed.bring("b-1", ids)
    assert feed.ids == chain
    assert feed.causes == []


def test_what_one_missed_the_slower_one_brings_in_its_place() -> None:
    feed, (first, second, third, fourth) = Feed(), _chain(4)
    feed.bring("a-1", first)
    feed.bring("b-1", first)
    feed.bring("a-1", third)
    feed.bring("a-1", fourth)
    assert feed.ids == [first]
    feed.bring("b-1", second)
    assert (feed.ids, feed.causes) == ([first, second, third, fourth], [])


@pytest.mark.parametrize("connections", [1, 2])
def test_what_every_connection_skips_is_the_venues(connections: int) -> None:
    feed, (first, _, third) = Feed(connections), _chain(3)
    for ids in (first, third):
        for conn in ("a-1", "b-1")[:connections]:
            feed.bring(conn, ids)
    assert feed.ids == [first]
    feed.pass_time(REORDER_S)
    assert (feed.ids, feed.causes) == ([first, third], ["venue"])


def test_frames_that_changed_places_are_put_right() -> None:
    feed, (first, second, third) = Feed(1), _chain(3)
    for ids in (first, third, second):
        feed.bring("a-1", ids)
    assert (feed.ids, feed.causes) == ([first, second, third], [])


def test_both_missed_and_a_connection_that_says_nothing_any_more() -> None:
    feed, chain = Feed(), _chain(6)
    feed.bring("a-1", chain[0])
    feed.bring("b-1", chain[0])
    feed.bring("a-1", chain[3])  # A misses 2 and 3
    feed.bring("b-1", chain[1])
    feed.bring("b-1", chain[4])  # B misses 3 and 4
    feed.pass_time(HOLD_S)
    assert (feed.ids, feed.causes) == ([chain[0], chain[1], chain[3], chain[4]], ["both-missed"])
    feed.bring("a-1", chain[5])
    assert feed.causes == ["both-missed"]


def test_nobody_up_is_the_networks_whichever_comes_back_first() -> None:
    feed, chain = Feed(), _chain(4)
    for conn in ("a-1", "b-1"):
        feed.bring(conn, chain[0])
    for conn in ("a-1", "b-1"):
        feed.merge.lost(conn, feed.now_s)
    feed.bring("b-2", chain[2])
    feed.pass_time(REORDER_S)
    assert feed.causes == ["network"]


@pytest.mark.parametrize(("back_at", "cause"), [(2, "venue"), (4, "both-missed")])
def test_only_who_was_there_before_and_after_is_a_witness(back_at: int, cause: str) -> None:
    feed, chain = Feed(), _chain(5)
    for ids in chain[:2]:
        for conn in ("a-1", "b-1"):
            feed.bring(conn, ids)
    feed.merge.lost("a-1", feed.now_s)
    for at in (2, 4):
        feed.bring("b-1", chain[at])
        if at >= back_at:
            feed.bring("a-2", chain[at])
    feed.pass_time(HOLD_S)
    assert (feed.ids, feed.causes) == ([*chain[:3], chain[4]], [cause])


def test_a_frame_brought_twice_by_one_connection_is_kept_twice() -> None:
    duplicates = Duplicates()
    news = [duplicates.first(conn, b"x", 1.0)[1] for conn in ("a", "a", "b", "b", "b", "a")]
    assert news == [True, True, False, False, True, False]


def test_frames_are_remembered_long_enough() -> None:
    duplicates = Duplicates()
    assert duplicates.first("a", b"x", 0.0)[1]
    assert not duplicates.first("b", b"x", REMEMBER_S - 0.1)[1]
    for at_s in (REMEMBER_S + 1, 2 * REMEMBER_S + 2, 3 * REMEMBER_S + 3):
        duplicates.first("a", b"y", at_s)
    assert duplicates.first("b", b"x", 3 * REMEMBER_S + 4)[1]


def test_frames_that_changed_places_on_the_slower_connection_are_waited_for() -> None:
    """It goes past what is missing long after that was held: the time to put frames right begins then."""
    feed, (first, second, third) = Feed(), _chain(3)
    for conn in ("a-1", "b-1"):
        feed.bring(conn, first)
    feed.bring("a-1", third)  # A misses the second
    feed.pass_time(HOLD_S / 2)
    feed.bring("b-1", third)
    feed.pass_time(REORDER_S / 2)
    feed.bring("b-1", second)
    assert (feed.ids, feed.causes) == ([first, second, third], [])


def test_a_connection_that_has_just_come_up_may_bring_it_yet() -> None:
    feed, (first, second, third) = Feed(), _chain(3)
    feed.bring("a-1", first)
    feed.merge.came("b-2")
    feed.bring("a-1", third)
    feed.pass_time(HOLD_S * 0.9)
    feed.bring("b-2", second)
    assert (feed.ids, feed.causes) == ([first, second, third], [])


def test_nothing_is_given_up_by_what_arrives() -> None:
    """After a pause of the process one connection's frames are read before the other's."""
    feed, (first, second, third, fourth) = Feed(), _chain(4)
    for conn in ("a-1", "b-1"):
        feed.bring(conn, first)
    feed.bring("a-1", third)
    feed.now_s += 10
    feed.bring("a-1", fourth)
    assert feed.ids == [first]
    feed.bring("b-1", second)
    assert (feed.ids, feed.causes) == ([first, second, third, fourth], [])


def test_overlapping_windows_are_all_kept_and_applied() -> None:
    feed = Feed()
    for conn, ids in (("a", Ids(1, 4, 0)), ("b", Ids(3, 6, 2)), ("a", Ids(5, 8, 4)), ("b", Ids(7, 9, 6))):
        feed.bring(conn, ids)
    assert _applied(feed.ids) == ([Ids(1, 4, 0), Ids(3, 6, 2), Ids(5, 8, 4), Ids(7, 9, 6)], 0)


@st.composite
def _arrivals(draw: st.DrawFn) -> tuple[list[tuple[str, int]], int]:
    """Arrivals (connection, event): each connection in order, some events missing, never from both."""
    n = draw(st.integers(2, 30))
    missing = draw(st.lists(st.sampled_from(["", "", "a", "b"]), min_size=n, max_size=n))
    queues = {conn: [at for at in range(n) if missing[at] != conn] for conn in "ab"}
    order = []
    while any(queues.values()):
        conn = draw(st.sampled_from([name for name, queue in queues.items() if queue]))
        order.append((conn, queues[conn].pop(0)))
    return order, n


@settings(deadline=None)
@given(_arrivals())
def test_whatever_comes_first_no_gap_where_one_of_them_brought_it(arrivals: tuple[list[tuple[str, int]], int]) -> None:
    order, n = arrivals
    feed, chain = Feed(), _chain(n)
    feed.merge.last_id = chain[0].previous
    feed.merge.witnesses.reaches = {conn: Reach(chain[0].previous, chain[0].previous) for conn in "ab"}
    for conn, at in order:
        feed.bring(conn, chain[at])
    feed.pass_time(HOLD_S)
    assert feed.causes == []
    assert feed.ids == chain


def test_too_many_held_are_given_up() -> None:
    feed = Feed()
    merge = feed.merge
    merge.last_id = 0
    merge.witnesses.reaches = {"b": Reach(0, 0)}
    for at in range(1, 4200):
        ids = Ids(10 * at + 3, 10 * at + 7, 10 * at - 3)
        feed.kept += merge.offer("a", ids, ids, b"", feed.now_s)
    assert feed.causes == ["both-missed"]
    assert len(feed.ids) == 4199


class Prints:
    """A chain of prints behind the table of duplicates. A print's receive time is its id."""

    def __init__(self, connections: int = 2) -> None:
        self.duplicates = Duplicates()
        self.chain = TradeChain(connections, self.duplicates.brought_by)
        self.now_s = 100.0

    def bring(self, conn: str, *trade_ids: int) -> None:
        for trade_id in trade_ids:
            digest, is_new = self.duplicates.first(conn, str(trade_id).encode(), self.now_s)
            if is_new:
                self.chain.offer(conn, trade_id, digest, trade_id, self.now_s)
            else:
                self.chain.again(conn, trade_id, self.now_s)

    def after(self, seconds: float) -> list[Jump]:
        self.now_s += seconds
        return self.chain.due(self.now_s)


def test_prints_that_the_other_connection_brings_are_no_jump() -> None:
    prints = Prints()
    prints.bring("a", 1, 2, 6, 7)
    prints.bring("b", 1)
    assert prints.after(REORDER_S) == []
    prints.bring("b", 2, 3, 5, 4)
    assert prints.chain.next_due_s is None
    assert prints.after(10) == []


@pytest.mark.parametrize("connections", [1, 2])
def test_prints_that_nobody_brings_are_the_venues(connections: int) -> None:
    prints = Prints(connections)
    for conn in "ab"[:connections]:
        prints.bring(conn, 1, 2, 5, 6)
    assert prints.after(REORDER_S / 2) == []
    assert prints.after(REORDER_S) == [Jump(5, "venue")]
    assert prints.after(10) == []


def test_prints_missed_in_different_ways_and_by_all() -> None:
    prints = Prints()
    prints.bring("a", 1, 2)
    prints.bring("b", 1, 2)
    prints.chain.lost("a", prints.now_s)
    prints.bring("b", 5)
    assert prints.after(REORDER_S) == [Jump(5, "both-missed")]
    prints.chain.lost("b", prints.now_s)
    prints.bring("a-2", 9, 10)
    assert prints.after(REORDER_S) == [Jump(9, "network")]
    prints.bring("a-2", 12)
    assert prints.after(REORDER_S) == [Jump(12, "both-missed")]
