"""Cost per job: by hand, and all shares together are what was spent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.cloud.jobs_cost import JobTime, split
from midas_ray.cloud.spending import HOUR_S, Interval, Rented, spent


def interval(number: int, begin_h: float, end_h: float | None, price: float) -> Interval:
    rented = Rented(id=number, at=begin_h * HOUR_S, price=price, label="", machine=1, gpu="")
    return Interval(rented, ended=None if end_h is None else end_h * HOUR_S)


def job(name: str, begin_h: float, end_h: float | None) -> JobTime:
    return JobTime(name, begin_h * HOUR_S, None if end_h is None else end_h * HOUR_S)


def test_two_jobs_that_overlap_share_and_the_rest_is_idle() -> None:
    # One node for 6 h at 1 $, a second from hour 2 to 4 at 2 $. Job a: hours 1 to 4, job b: 3 to 5.
    cost = split([interval(1, 0, 6, 1.0), interval(2, 2, 4, 2.0)], [job("a", 1, 4), job("b", 3, 5)], 10 * HOUR_S)
    assert cost.jobs == pytest.approx({"a": 1 + 3 + 1.5, "b": 1.5 + 1})
    assert cost.idle == pytest.approx(1 + 1)


def test_what_still_runs_costs_until_now() -> None:
    cost = split([interval(1, 0, None, 2.0)], [job("a", 1, None)], 3 * HOUR_S)
    assert (cost.jobs, cost.idle) == ({"a": 4.0}, 2.0)


def test_a_job_without_rented_nodes_costs_nothing_and_a_job_of_no_length_neither() -> None:
    cost = split([interval(1, 0, 1, 2.0)], [job("later", 2, 3), job("none", 0.5, 0.5)], 5 * HOUR_S)
    assert (cost.jobs, cost.idle) == ({"later": 0.0, "none": 0.0}, 2.0)


HOURS = st.floats(0, 50)
LENGTHS = st.none() | st.floats(0, 20)


@given(
    nodes=st.lists(st.tuples(HOURS, LENGTHS, st.floats(0.01, 5), st.lists(st.floats(0.01, 5), max_size=2)), max_size=8),
    times=st.lists(st.tuples(HOURS, LENGTHS), max_size=8),
    now_h=st.floats(0, 80),
)
def test_jobs_and_idle_add_up_to_what_was_spent(
    nodes: list[tuple[float, float | None, float, list[float]]], times: list[tuple[float, float | None]], now_h: float
) -> None:
    intervals = [
        interval(number, begin, None if length is None else begin + length, price)
        for number, (begin, length, price, _) in enumerate(nodes)
    ]
    for each, (begin, *_, later) in zip(intervals, nodes, strict=True):
        each.prices = [((begin + 1 + step) * HOUR_S, price) for step, price in enumerate(later)]
    jobs = [
        job(f"job-{number}", begin, None if length is None else begin + length)
        for number, (begin, length) in enumerate(times)
    ]
    cost = split(intervals, jobs, now_h * HOUR_S)
    assert all(value >= 0 for value in cost.jobs.values())
    assert sum(cost.jobs.values()) + cost.idle == pytest.approx(spent(intervals, 0, now_h * HOUR_S), abs=1e-6)
