"""Grid rows: which events are in which row, the order flow imbalance, and that buffers and chunks do not show."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.book.by_hand import Recording, Row, event, snapshot, table

BIDS, ASKS = {100: 5, 99: 4}, {101: 6, 102: 7}


def live(**options: Any) -> Recording:
    """Live from an event at 5000 ms, id 1010."""
    recording = Recording(**options)
    recording.book.opened()
    recording.feed(snapshot(1000, BIDS, ASKS), event(5000, 1000, 1010))
    return recording


def test_row_is_the_state_after_every_event_before_its_time() -> None:
    recording = live()
    recording.feed(
        event(5099, 1010, 1020, {100: 1}), event(5100, 1020, 1030, {100: 2}), event(5199, 1030, 1040, {100: 3})
    )
    recording.feed(event(5300, 1040, 1050))
    first, second, third = recording.finish()
    assert (first.ts, first.bids[0], first.last_id, first.n_updates) == (5100, (100, 1), 1020, 2)
    assert (second.ts, second.bids[0], second.last_id, second.n_updates) == (5200, (100, 3), 1040, 2)
    assert (third.ts, third.bids[0], third.last_id, third.n_updates) == (5300, (100, 3), 1040, 0)
    assert third.ofi == [0] * 10


def test_event_on_the_grid_time_belongs_to_the_next_row_also_when_it_is_the_first() -> None:
    recording = live()  # the first event is at 5000: no row 5000
    recording.feed(event(5250, 1010, 1020))
    assert [row.ts for row in recording.finish()] == [5100, 5200]


def test_first_live_row_has_no_ofi() -> None:
    recording = live()
    recording.feed(event(5050, 1010, 1020, {100: 1}), event(5250, 1020, 1030))
    first, second = recording.finish()
    assert first.ofi is None
    assert second.ofi == [0] * 10


def test_gap_rows_hold_nothing_until_the_first_event_after_the_resync() -> None:
    recording = live()
    recording.feed(event(5150, 1010, 1020), event(5330, 1025, 1030, {100: 1}), event(5460, 1030, 1040, {100: 2}))
    recording.feed(snapshot(1035, {90: 1}, {91: 1}), event(5500, 1040, 1050, {90: 2}), event(5710, 1050, 1060))
    rows = recording.finish()
    assert recording.states == {
        5100: "live", 5200: "gap", 5300: "gap", 5400: "gap", 5500: "live", 5600: "live", 5700: "live"
    }  # fmt: skip
    assert all((row.bids, row.asks, row.ofi) == ([], [], None) for row in rows if row.state == "gap")
    after = rows[4]
    assert (after.ts, after.bids, after.ofi, after.last_id) == (5500, [(100, 2), (90, 1)], None, 1040)
    assert rows[5].bids[-1] == (90, 2)
    assert rows[5].ofi is not None


def test_slow_snapshot_brings_the_book_back_from_the_event_that_goes_on_from_it() -> None:
    """What waits behind that event is replayed: its rows are live, and each is written once."""
    recording = live()
    recording.feed(event(5150, 1010, 1020), event(5330, 1025, 1030, {100: 1}), event(5460, 1030, 1040, {100: 2}))
    recording.feed(event(5580, 1040, 1050, {100: 3}), event(5940, 1050, 1060, {100: 4}))
    recording.feed(snapshot(1035, {90: 1}, {91: 1}))
    rows = recording.finish()
    assert [row.ts for row in rows] == [5100, 5200, 5300, 5400, 5500, 5600, 5700, 5800, 5900]
    assert [row.state for row in rows] == ["live", "gap", "gap", "gap", "live", "live", "live", "live", "live"]
    assert [row.last_id for row in rows] == [1010, 1020, 1020, 1020, 1040, 1050, 1050, 1050, 1050]
    assert (rows[4].ofi, rows[5].ofi is None) == (None, False)


def test_rows_say_syncing_from_the_first_event_seen() -> None:
    recording = Recording()
    recording.book.opened()
    recording.feed(event(5020, 900, 990), event(5340, 990, 1000), snapshot(1000, BIDS, ASKS), event(5410, 1000, 1010))
    recording.finish()
    assert recording.states == {5100: "syncing", 5200: "syncing", 5300: "syncing", 5400: "live"}


def test_rows_outside_the_sink_are_not_written_but_count() -> None:
    recording = live(first_ms=5200, last_ms=5400)
    recording.feed(event(5110, 1010, 1020, {100: 1}), event(5230, 1020, 1030, {100: 2}))
    assert recording.feed(event(5399, 1030, 1040, {100: 3})) == []
    assert not recording.book.finished
    recording.feed(event(5400, 1040, 1050, {100: 4}))
    assert recording.book.finished
    rows = recording.finish()
    assert [(row.ts, row.bids[0]) for row in rows] == [(5300, (100, 2)), (5400, (100, 3))]
    assert rows[0].ofi is not None
    assert rows[0].ofi[0] == 1  # only the event in (5200, 5300]: 5 -> 1 was before


def ofi_of(
    *steps: tuple[dict[int, int], dict[int, int]], bids: dict[int, int] = BIDS, asks: dict[int, int] = ASKS
) -> Row:
    """The row of an interval that begins with the given book and sees the steps."""
    recording = Recording()
    recording.book.opened()
    recording.feed(snapshot(1000, bids, asks), event(4950, 1000, 1010), event(5000, 1010, 1020))
    for at, step in enumerate(steps):
        recording.feed(event(5001 + at, 1020 + at, 1021 + at, *step))
    recording.feed(event(5100, 1020 + len(steps), 3000))
    return recording.finish()[1]


# e_n = q^b_n 1{P^b_n >= P^b_{n-1}} - q^b_{n-1} 1{P^b_n <= P^b_{n-1}}
#     - q^a_n 1{P^a_n <= P^a_{n-1}} + q^a_{n-1} 1{P^a_n >= P^a_{n-1}}
@pytest.mark.parametrize(
    ("step", "level_1", "level_2"),
    [
        (({100: 9}, {}), 9 - 5, 0),  # the best bid grows
        (({100: 2}, {}), 2 - 5, 0),
        (({}, {101: 10}), 6 - 10, 0),  # the best ask grows
        (({}, {}), 0, 0),
        (({}, {101: 0}), 6, 7),  # the best ask is gone: what stood there is added; level 2 falls away altogether
        # The best bid is gone: what stood there, 5, is taken off; at level 2 the 4 that stood at 99 is.
        (({100: 0}, {}), -5, -4),
        (({100: 0, 99: 8}, {}), -5, -4),
        (({99: 7}, {}), 0, 7 - 4),  # only level 2 changes
        (({}, {102: 1}), 0, 7 - 1),
        (({100: 6, 99: 0}, {101: 6, 102: 9}), 6 - 5, -4 - (9 - 7)),
    ],
)
def test_ofi_of_one_event_by_hand(step: tuple[dict[int, int], dict[int, int]], level_1: int, level_2: int) -> None:
    row = ofi_of(step)
    assert row.ofi is not None
    assert row.ofi[:2] == [level_1, level_2]


def test_better_prices_by_hand() -> None:
    row = ofi_of(({103: 3}, {}), bids={100: 5, 99: 4}, asks={110: 6, 111: 7})
    assert row.ofi is not None
    assert row.ofi[:3] == [3, 5, 4]  # each level's price rises: the size that is there now is added
    row = ofi_of(({}, {108: 2}), bids={100: 5, 99: 4}, asks={110: 6, 111: 7})
    assert row.ofi is not None
    assert row.ofi[:3] == [-2, -6, -7]


def test_ofi_adds_up_over_the_events_and_does_not_telescope() -> None:
    steps = (({100: 0}, {}), ({100: 5}, {}), ({100: 9}, {}))
    row = ofi_of(*steps)
    assert row.ofi is not None
    assert row.ofi[0] == -5 + 5 + 4
    bounce = ofi_of(({103: 3}, {}), ({103: 0}, {}), bids=BIDS, asks={110: 6})
    assert bounce.ofi is not None
    assert bounce.ofi[0] == 3 - 3


def test_levels_beyond_the_known_depth_are_null_and_so_is_their_ofi() -> None:
    recording = Recording()
    recording.book.opened()
    recording.feed(snapshot(1000, {100: 5, 99: 4}, {101: 6, 102: 7, 103: 8}, known=(99, 103)))
    recording.feed(event(5000, 1000, 1010, {97: 9}), event(5150, 1010, 1020), event(5160, 1020, 1030, {100: 0}))
    recording.feed(event(5300, 1030, 1040))
    first, second, third = recording.finish()
    assert first.bids == [(100, 5), (99, 4)]  # 97 is known, 98 may exist
    assert first.asks == [(101, 6), (102, 7), (103, 8)]
    assert second.bids == [(99, 4)]
    assert second.ofi is not None
    assert len(second.ofi) == 1  # the bid's second level was known before the event only
    assert third.ofi == [0] * 10  # no event: nothing flowed at any level


steps = st.lists(
    st.tuples(
        st.integers(0, 250),  # ms after the last event
        st.dictionaries(st.integers(90, 100), st.integers(0, 9), max_size=3),
        st.dictionaries(st.integers(101, 110), st.integers(0, 9), max_size=3),
        st.sampled_from(["next", "next", "next", "next", "twice", "lost", "snapshot", "open"]),
    ),
    min_size=1,
    max_size=25,
)


def inputs(script: list[Any]) -> list[Any]:
    """Events, snapshots and `opened` that tell of a random market with losses."""
    bids, asks, ms, last_id = dict(BIDS), dict(ASKS), 5000, 1000
    found: list[Any] = ["open", snapshot(last_id, bids, asks)]
    for after_ms, bid_changes, ask_changes, what in script:
        ms += after_ms
        each = event(ms, last_id, last_id + 10, bid_changes, ask_changes)
        last_id += 10
        for book, changed in ((bids, bid_changes), (asks, ask_changes)):
            book.update(changed)
            for px in [px for px, size in book.items() if not size]:
                del book[px]
        if what == "open":
            found.append("open")
        if what != "lost":
            found += [each] * (2 if what == "twice" else 1)
        if what == "snapshot":
            found.append(snapshot(last_id - 5, bids, asks))
    return found


def play(script: list[Any], *, together: bool, **options: Any) -> Recording:
    """Feed the inputs, events one by one or as many together as there are between other inputs."""
    recording = Recording(**options)
    held: list[Any] = []
    for each in [*inputs(script), None]:
        if together and not (each is None or isinstance(each, str)) and hasattr(each, "table"):
            held.append(each)
            continue
        if held:
            recording.feed(table(*held))
            held = []
        if each is None:
            break
        if isinstance(each, str):
            recording.actions += recording.book.opened()
        else:
            recording.feed(each)
    recording.finish()
    return recording


@given(steps)
@settings(deadline=None, max_examples=150)
def test_chunks_and_buffers_do_not_show(script: list[Any]) -> None:
    one_by_one = play(script, together=False)
    together = play(script, together=True)
    tiny = play(script, together=True, capacity=1)
    assert one_by_one.rows == together.rows == tiny.rows
    assert one_by_one.actions == together.actions == tiny.actions


@given(steps, st.integers(50, 60))
@settings(deadline=None, max_examples=100)
def test_two_tasks_write_what_one_writes(script: list[Any], boundary: int) -> None:
    """Rows up to a boundary and rows after it, from two replays of the same data."""
    whole = play(script, together=True)
    split_ms = boundary * 100
    before, after = play(script, together=True, last_ms=split_ms), play(script, together=True, first_ms=split_ms)
    assert before.rows + after.rows == whole.rows


@given(steps)
@settings(deadline=None, max_examples=100)
def test_live_rows_equal_a_dict_book(script: list[Any]) -> None:
    """A row is live only between losses; then it is the state after every event before its time."""
    truth: list[tuple[int, dict[int, int], dict[int, int]]] = []
    bids, asks, ms = dict(BIDS), dict(ASKS), 5000
    for after_ms, bid_changes, ask_changes, _ in script:
        ms += after_ms
        bids, asks = ({px: size for px, size in (book | changed).items() if size} for book, changed in
                      ((bids, bid_changes), (asks, ask_changes)))  # fmt: skip
        truth.append((ms, bids, asks))
    for row in play(script, together=True).rows:
        if row.state == "live":
            _, bids, asks = [each for each in truth if each[0] < row.ts][-1]
            assert row.bids == sorted(bids.items(), reverse=True)[:10]
            assert row.asks == sorted(asks.items())[:10]
        else:
            assert (row.bids, row.asks) == ([], [])


def test_rows_are_sorted_and_on_the_grid() -> None:
    recording = live(step_ms=250)
    recording.feed(event(6010, 1010, 1020))
    ts = [row.ts for row in recording.finish()]
    assert ts == [5250, 5500, 5750, 6000]
    assert (np.diff(ts) == 250).all()
