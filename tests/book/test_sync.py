"""The sync machine, case by case: what continues the book, what does not, and what is said of it."""

import pytest

from midas_ray.book.scale import Scale
from midas_ray.book.sync import BUFFER_MS, RECENT_MS, REFETCH_MS, BookSync, Divergence, FetchSnapshot, Gap
from tests.book.by_hand import Recording, event, sides, snapshot, table

BIDS, ASKS = {100: 5, 99: 4}, {101: 6, 102: 7}
START = snapshot(1000, BIDS, ASKS)


def live(*, clock_ms: int = 5000) -> Recording:
    """A book that is live after an event (900, 1010] at clock_ms."""
    recording = Recording()
    recording.book.opened()
    assert recording.feed(START, event(clock_ms, 900, 1010, {100: 8})) == []
    assert recording.book.live
    return recording


@pytest.mark.parametrize(
    ("pu", "first_id", "last_id"),
    [
        (900, 950, 1010),  # spans the snapshot
        (1000, 1001, 1010),  # pu == L: continues it directly
        (900, 1005, 1010),  # the snapshot's id lies between pu and U, where futures have ids that no event names
        (900, 1001, 1001),
    ],
)
@pytest.mark.parametrize("snapshot_first", [True, False])
def test_first_event_that_continues_the_snapshot(pu: int, first_id: int, last_id: int, snapshot_first: bool) -> None:
    book = BookSync()
    assert book.opened() == [FetchSnapshot("start")]
    first = event(5000, pu, last_id, {100: 0, 98: 3}, first_id=first_id)
    if snapshot_first:
        assert book.snapshot(START) == []
        assert not book.live  # nothing says yet that the snapshot is not too old
        assert book.depth(first) == []
    else:
        assert book.depth(first) == []
        assert book.state_name == "syncing"
        assert book.snapshot(START) == []
    assert book.live
    assert (book.last_id, book.clock_ms) == (last_id, 5000)
    assert sides(book.ladder) == ({99: 4, 98: 3}, ASKS)


def test_event_that_ends_at_the_snapshot_confirms_it_without_changing_it() -> None:
    book = BookSync()
    book.opened()
    book.snapshot(START)
    assert book.depth(event(5000, 900, 1000, {100: 77})) == []
    assert book.live
    assert (book.last_id, book.clock_ms) == (1000, 5000)
    assert sides(book.ladder) == (BIDS, ASKS)


def test_events_that_end_before_the_snapshot_are_dropped() -> None:
    book = BookSync()
    book.opened()
    book.depth(event(4900, 800, 900, {100: 77}))
    book.snapshot(START)
    book.depth(event(4950, 900, 999, {100: 78}))
    assert not book.live
    assert sides(book.ladder) == (BIDS, ASKS)


def test_too_old_snapshot_is_asked_for_again_and_the_buffer_is_kept() -> None:
    book = BookSync()
    book.opened()
    assert book.depth(table(event(5000, 1200, 1210, {100: 1}), event(5010, 1210, 1220, {99: 2}))) == []
    assert book.snapshot(START) == [FetchSnapshot("too-old")]
    assert not book.live
    assert book.depth(event(5020, 1220, 1230, {98: 3})) == []
    assert book.snapshot(snapshot(1215, {100: 9, 99: 9}, ASKS)) == []
    assert book.live
    assert sides(book.ladder) == ({100: 9, 99: 2, 98: 3}, ASKS)
    assert book.last_id == 1230


def test_snapshot_older_than_the_one_waited_with_is_left_alone() -> None:
    book = BookSync()
    book.opened()
    book.snapshot(START)
    assert book.snapshot(snapshot(950, {1: 1}, {2: 2})) == []
    assert book.depth(event(5000, 1000, 1010, {100: 8})) == []
    assert book.live
    assert sides(book.ladder)[0] == {100: 8, 99: 4}


def test_buffer_forgets_what_is_older_than_a_minute() -> None:
    book = BookSync()
    book.opened()
    book.depth(event(5000, 990, 1010, {100: 1}))
    book.depth(event(5000 + BUFFER_MS + 1, 1010, 1020, {100: 2}))
    assert book.snapshot(START) == [FetchSnapshot("too-old")]


def test_gap_names_what_was_expected_and_ends_at_the_first_event_after_the_resync() -> None:
    recording = live()
    assert recording.feed(event(5300, 1020, 1030, {100: 1})) == [FetchSnapshot("gap")]
    assert recording.book.state_name == "gap"
    assert recording.feed(event(5400, 1030, 1040, {99: 1})) == []
    actions = recording.feed(snapshot(1035, {100: 2, 99: 9}, ASKS))
    assert actions == [Gap(5000, 5400, "venue", 1010, 1020, 5300 * 10**6)]
    assert recording.book.live
    assert sides(recording.book.ladder)[0] == {100: 2, 99: 1}


def test_gap_after_a_broken_connection_is_the_networks() -> None:
    recording = live()
    recording.book.blame("network")
    recording.feed(event(5300, 1020, 1030))
    (gap,) = recording.feed(snapshot(1030, BIDS, ASKS), event(5400, 1030, 1031))
    assert gap.cause == "network"


def test_break_that_the_chain_went_on_over_blames_no_later_gap() -> None:
    recording = live()
    recording.book.blame("network")
    recording.feed(event(5200, 1010, 1015))
    recording.feed(event(5300, 1020, 1030))
    (gap,) = recording.feed(snapshot(1030, BIDS, ASKS), event(5400, 1030, 1031))
    assert gap.cause == "venue"


def test_gap_that_the_data_end_in_is_not_recovered() -> None:
    recording = live()
    recording.feed(event(5300, 1020, 1030))
    recording.feed(event(5510, 1030, 1040))
    rows = recording.finish()
    assert recording.actions[-1] == Gap(5000, None, "venue", 1010, 1020, 5300 * 10**6)
    assert [(row.ts, row.state) for row in rows] == [(ts, "gap") for ts in (5100, 5200, 5300, 5400, 5500)]


def test_duplicates_and_overlaps_change_nothing() -> None:
    first, second = event(5010, 1010, 1020, {100: 1}), event(5020, 1020, 1030, {100: 2})
    once, twice = live(), live()
    once.feed(first, second, event(5200, 1030, 1040))
    twice.feed(first, first, second, first, second, second, event(5200, 1030, 1040))
    assert once.finish() == twice.finish()
    assert once.actions == twice.actions == []


def test_two_connections_merge_by_the_same_rule() -> None:
    """Slow stream B tells in one event what fast stream A tells in three; whichever is first wins, exactly."""
    a = [event(5010, 1010, 1020, {100: 1}), event(5020, 1020, 1030, {99: 0}), event(5030, 1030, 1040, {100: 3})]
    b = event(5030, 1010, 1040, {100: 3, 99: 0})
    books = []
    for order in ([*a, b], [a[0], b, *a[1:]], [b, *a]):
        recording = live()
        assert recording.feed(*order) == []
        books.append((sides(recording.book.ladder), recording.book.last_id))
    assert books[0] == books[1] == books[2] == (({100: 3}, ASKS), 1040)


def test_spot_rule_is_the_same_with_pu_as_u_minus_one() -> None:
    """Spot: first event U <= L + 1 <= u, then U == u + 1."""
    for first_id, joins in ((1001, True), (990, True), (1002, False)):
        book = BookSync()
        book.opened()
        book.snapshot(START)
        actions = book.depth(event(5000, first_id - 1, 1010, first_id=first_id))
        assert (actions == []) == joins == book.live
    book.snapshot(snapshot(1010, BIDS, ASKS))
    assert book.depth(event(5100, 1010, 1012, first_id=1011)) == []
    assert book.depth(event(5200, 1013, 1020, first_id=1014)) == [FetchSnapshot("gap")]


def test_clock_is_the_running_maximum() -> None:
    recording = live()
    recording.feed(event(4990, 1010, 1020, {100: 1}))
    assert recording.book.clock_ms == 5000


def test_opened_is_a_gap_while_no_collector_ran_and_writes_no_rows_for_it() -> None:
    recording = live()
    recording.feed(event(5250, 1010, 1020))
    assert recording.book.opened() == [FetchSnapshot("start")]
    recording.feed(event(9030, 5000, 5005))
    (gap,) = recording.feed(snapshot(5010, {50: 1}, {51: 1}), event(9130, 5005, 5020))
    assert gap == Gap(5250, 9130, "down", 1020, None, None)
    recording.feed(event(9310, 5020, 5030))
    recording.finish()
    assert recording.states == {5100: "live", 5200: "live", 9100: "syncing", 9200: "live", 9300: "live"}


def test_start_in_a_gap_is_down_from_the_last_event_seen_on() -> None:
    recording = live()
    recording.feed(event(5150, 1020, 1030))
    before, _fetch = recording.book.opened()
    assert isinstance(before, Gap)
    (gap,) = recording.feed(snapshot(5010, {50: 1}, {51: 1}), event(9130, 5010, 5020))
    assert (before.start_ms, before.end_ms, before.cause) == (5000, 5150, "venue")
    assert (gap.start_ms, gap.end_ms, gap.cause) == (5150, 9130, "down")
    recording.finish()
    assert recording.states == {5100: "gap"}  # up to the last event that was seen


def test_book_line_of_the_same_id_continues_the_book() -> None:
    recording = live()
    recording.feed(event(5130, 1010, 1020, {100: 9}))
    before = sides(recording.book.ladder)
    assert recording.book.load_book(snapshot(1020, {1: 1}, {2: 2}), 5130) == []
    assert sides(recording.book.ladder) == before
    assert recording.feed(event(5230, 1020, 1030)) == []
    assert recording.finish()[1].ofi == [9 - 8] + [0] * 9  # the interval's flow from before the file's end is kept


def test_book_line_further_on_starts_the_book_there_and_says_what_is_missing() -> None:
    recording = live()
    assert recording.book.load_book(snapshot(2000, {50: 1}, {51: 1}), 7000) == [
        Gap(5000, 7000, "down", 1010, 2000, None)
    ]
    recording.feed(event(7150, 2000, 2010), event(7210, 2010, 2020))
    rows = recording.finish()
    assert [(row.ts, row.state, row.ofi) for row in rows] == [(7100, "live", None), (7200, "live", [0] * 10)]


def test_book_line_makes_a_file_stand_alone() -> None:
    recording = Recording()
    assert recording.book.load_book(snapshot(1010, {100: 8, 99: 4}, ASKS), 5000) == []
    assert recording.book.live
    alone, whole = recording, live()
    for each in (alone, whole):
        each.feed(event(5110, 1010, 1020, {100: 3}), event(5250, 1020, 1030, {100: 4}))
    assert alone.finish()[1:] == whole.finish()[1:]  # the first row's OFI is known to the whole only


def thin() -> Recording:
    """Live with a snapshot of one known level a side."""
    recording = Recording()
    recording.book.opened()
    recording.feed(snapshot(1000, {100: 5}, {101: 6}, known=(100, 101)), event(5000, 1000, 1010, {99: 4}))
    return recording


def test_second_snapshot_widens_the_known_depth_without_a_gap() -> None:
    recording = thin()
    wide = snapshot(1005, {100: 5, 98: 3}, {101: 6, 103: 2}, known=(98, 103))
    assert recording.feed(wide) == []
    assert recording.book.live
    assert sides(recording.book.ladder) == ({100: 5, 99: 4, 98: 3}, {101: 6, 103: 2})
    assert recording.book.ladder.known.tolist() == [98, -103]
    recording.feed(event(5150, 1010, 1020))
    (row,) = recording.finish()
    assert (row.bids, row.asks) == ([(100, 5), (99, 4), (98, 3)], [(101, 6), (103, 2)])


def test_snapshot_ahead_of_a_live_book_waits_for_it() -> None:
    recording = thin()
    wide = snapshot(1015, {100: 5, 99: 9, 98: 3}, {101: 6}, known=(98, 101))
    assert recording.feed(wide) == []
    assert recording.book.ladder.known.tolist() == [100, -101]
    assert recording.feed(event(5020, 1010, 1020, {99: 7})) == []
    assert recording.book.ladder.known.tolist() == [98, -101]
    assert sides(recording.book.ladder)[0] == {100: 5, 99: 7, 98: 3}


def test_snapshot_that_contradicts_the_book_is_taken_over_and_said() -> None:
    recording = live()
    actions = recording.feed(snapshot(1010, {100: 1, 99: 4}, ASKS))
    assert actions == [Divergence(5000, 1010)]
    assert sides(recording.book.ladder)[0] == {100: 1, 99: 4}
    assert recording.book.live


def test_snapshot_older_than_the_remembered_events_is_left_alone() -> None:
    recording = thin()
    recording.feed(event(5000 + RECENT_MS + 1, 1010, 1020, {99: 7}))
    recording.feed(snapshot(1005, {100: 1, 98: 3}, {101: 6}, known=(98, 101)))
    assert recording.book.ladder.known.tolist() == [100, -101]


def test_thin_side_asks_for_a_snapshot_once_in_a_while() -> None:
    recording = Recording()
    recording.book.opened()
    bids = {px: 1 for px in range(91, 101)}
    recording.feed(snapshot(1000, bids, ASKS, known=(91, 101)), event(5000, 1000, 1010))
    gone = dict.fromkeys(range(92, 101), 0)
    assert recording.feed(event(5010, 1010, 1020, gone)) == [FetchSnapshot("thin")]
    assert recording.feed(event(5020, 1020, 1030)) == []
    assert recording.feed(event(5010 + REFETCH_MS, 1030, 1040)) == [FetchSnapshot("thin")]


def test_more_decimals_change_no_number() -> None:
    """The same events with a rescale in between: rows agree once both are at the wider scale."""
    plain, rescaled = live(), live()
    wide = Scale(1, 2)
    later = [event(5110, 1010, 1020, {100: 3}, {101: 0}), event(5250, 1020, 1030, {98: 1})]
    plain.feed(*later)
    rescaled.book.rescale(wide)
    rescaled.feed(*(each.rescaled(Scale(), wide) for each in later))
    for old, new in zip(plain.finish(), rescaled.finish(), strict=True):
        assert [(px * 10, size * 100) for px, size in old.bids] == new.bids
        assert [(px * 10, size * 100) for px, size in old.asks] == new.asks
        assert (old.ofi is None) == (new.ofi is None)
        assert [size * 100 for size in old.ofi or []] == (new.ofi or [])
    assert [(px * 10, size * 100) for px, size in sides(plain.book.ladder)[0].items()] == list(
        sides(rescaled.book.ladder)[0].items()
    )


def test_rescale_reaches_what_is_buffered_and_pending() -> None:
    waiting, wide = BookSync(), Scale(1, 1)
    waiting.opened()
    waiting.depth(event(5000, 900, 1010, {100: 8}))
    waiting.rescale(wide)
    waiting.snapshot(START.rescaled(Scale(), wide))
    assert sides(waiting.ladder)[0] == {1000: 80, 990: 40}
    ahead = thin()
    ahead.feed(snapshot(1015, {100: 5, 98: 3}, {101: 6}, known=(98, 101)))
    ahead.book.rescale(wide)
    ahead.feed(event(5020, 1010, 1020, {99: 7}).rescaled(Scale(), wide))
    assert sides(ahead.book.ladder)[0] == {1000: 50, 990: 70, 980: 30}


def test_rescale_beyond_64_bits_changes_nothing() -> None:
    recording = live()
    recording.feed(event(5010, 1010, 1020, {100: 10**12}))
    with pytest.raises(ValueError, match="18 digits"):
        recording.book.rescale(Scale(0, 8))
    assert recording.book.scale == Scale()
    assert sides(recording.book.ladder)[0][100] == 10**12
