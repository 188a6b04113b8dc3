"""The caps: what each refuses and says, and that no sequence of rents and ends passes the day's."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.cloud.budget import Rented, check_rent, day_is_spent, overdue
from midas_ray.cloud.cluster_config import Caps
from midas_ray.cloud.errors import BudgetError
from midas_ray.cloud.spending import DAY_S, HOUR_S, day_begin, fold, spent
from midas_ray.cloud.spending import Ended as EndedLine
from midas_ray.cloud.spending import Rented as RentedLine

CAPS = Caps(price_per_hour=0.8, nodes=2, hours_per_node=12, total_per_day=10)
NOON = 1_800_000_000.0 - 1_800_000_000.0 % DAY_S + 12 * HOUR_S
ONE = Rented(instance_id=1, price_per_hour=0.5, since=NOON - HOUR_S)

REFUSED = [
    (0.81, [], 0.0, "caps.price_per_hour: expected at most 0.80 $ an hour, found 0.81 $"),
    (0.5, [ONE, ONE], 0.0, "caps.nodes: expected at most 2 nodes, found 2 rented"),
    (0.5, [ONE], 9.01, "found 9.01 $ spent today and 10.01 $ after 60 more minutes with this node"),
    (0.5, [], 10.0, "caps.total_per_day: expected at most 10.00 $, found 10.00 $ spent today"),
    (math.nan, [], 0.0, "expected dollars an hour, found nan"),
    (-0.1, [], 0.0, "expected dollars an hour, found -0.1"),
]


@pytest.mark.parametrize(("price", "running", "today", "said"), REFUSED)
def test_what_passes_a_cap_is_refused_in_one_line(price: float, running: list[Rented], today: float, said: str) -> None:
    with pytest.raises(BudgetError) as error:
        check_rent(CAPS, price, running, today, NOON)
    assert said in str(error.value)
    assert "nothing" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_exactly_at_the_caps_is_rented() -> None:
    check_rent(CAPS, 0.8, [], 9.2, NOON)
    check_rent(CAPS, 0.5, [ONE], 9.0, NOON)


def test_near_midnight_and_with_short_hours_less_than_an_hour_has_to_fit() -> None:
    half_past_eleven = day_begin(NOON) + DAY_S - 1800
    check_rent(CAPS, 0.8, [], 9.6, half_past_eleven)
    with pytest.raises(BudgetError, match="30 more minutes"):
        check_rent(CAPS, 0.8, [], 9.7, half_past_eleven)
    short = Caps(price_per_hour=0.8, nodes=2, hours_per_node=0.5, total_per_day=10)
    check_rent(short, 0.8, [], 9.6, NOON)


def test_nodes_past_their_hours_are_named() -> None:
    old = Rented(instance_id=2, price_per_hour=0.5, since=NOON - 12 * HOUR_S)
    assert overdue(CAPS, [ONE, old], NOON) == [2]
    assert overdue(CAPS, [ONE, old], NOON - 1) == []


def test_a_day_whose_cost_cannot_be_told_is_spent() -> None:
    assert (day_is_spent(CAPS, 9.99), day_is_spent(CAPS, 10.0), day_is_spent(CAPS, math.nan)) == (False, True, True)


@dataclass(frozen=True)
class Turn:
    """One turn of the head: seconds since the last one, the price of a node it wants, whether it ends its oldest."""

    passed: float
    wants: float | None
    ends: bool


POLL_S = 300.0
TURNS = st.lists(
    st.builds(
        Turn,
        st.floats(POLL_S / 10, POLL_S),
        st.none() | st.floats(0.01, 1.0),
        st.sampled_from([*9 * [False], True]),
    ),
    min_size=100,
    max_size=400,
)
ANY_CAPS = st.builds(
    Caps,
    price_per_hour=st.floats(0.05, 1.0),
    nodes=st.integers(0, 6),
    hours_per_node=st.floats(0.1, 30),
    total_per_day=st.floats(0.05, 8),
)


@settings(deadline=None, max_examples=40)
@given(caps=ANY_CAPS, turns=TURNS, begin=st.floats(NOON - 12 * HOUR_S, NOON + 12 * HOUR_S))
def test_no_sequence_passes_a_cap_by_more_than_one_turns_worth(caps: Caps, turns: list[Turn], begin: float) -> None:
    now, lines, running, days = begin, [], {}, set()
    for turn in turns:
        now += turn.passed
        days.add(day_begin(now))
        today = spent(fold(lines), day_begin(now), now)
        gone = set(overdue(caps, running.values(), now)) | (set(list(running)[:1]) if turn.ends else set())
        for node in set(running) if day_is_spent(caps, today) else gone:
            del running[node]
            lines.append(EndedLine(id=node, at=now, why=""))
        if turn.wants is not None:
            try:
                check_rent(caps, turn.wants, running.values(), today, now)
            except BudgetError:
                continue
            node = len(lines) + 1
            running[node] = Rented(instance_id=node, price_per_hour=turn.wants, since=now)
            lines.append(RentedLine(id=node, at=now, price=turn.wants, label="", machine=0, gpu=""))
            assert len(running) <= caps.nodes
    most_of_a_turn = caps.nodes * caps.price_per_hour * POLL_S / HOUR_S
    intervals = fold(lines)
    for day in days:
        assert spent(intervals, day, min(now, day + DAY_S)) <= caps.total_per_day + most_of_a_turn + 1e-9
    for interval in intervals:
        lived = (now if interval.ended is None else interval.ended) - interval.rented.at
        assert lived <= caps.hours_per_node * HOUR_S + POLL_S
