"""What each Ray job cost: in every moment, what all nodes cost then is split evenly among the jobs that run then.

Moments without a job are `idle`: a node that comes up, or waits to be let go. All shares add up to what was spent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from midas_ray.cloud.spending import HOUR_S, Interval


@dataclass(frozen=True, slots=True)
class JobTime:
    """When a job ran, Unix seconds. end None: it still runs."""

    id: str
    begin: float
    end: float | None = None


@dataclass(frozen=True, slots=True)
class JobsCost:
    """Dollars by job, and of moments without one."""

    jobs: Mapping[str, float]
    idle: float


def split(intervals: Iterable[Interval], jobs: Iterable[JobTime], now: float) -> JobsCost:
    """Split what the intervals cost until `now`. Jobs have to be those that used rented nodes."""
    jobs = list(jobs)
    changes: list[tuple[float, float, str | None]] = []
    """(when, how many dollars an hour more, job that begins or ends)"""
    for interval in intervals:
        for piece in interval.pieces(now):
            end = min(piece.end, now)
            if end > piece.begin:
                changes += [(piece.begin, piece.price, None), (end, -piece.price, None)]
    for job in jobs:
        end = now if job.end is None else min(job.end, now)
        if end > job.begin:
            changes += [(job.begin, 0.0, job.id), (end, 0.0, job.id)]
    costs, idle = {job.id: 0.0 for job in jobs}, 0.0
    running: set[str] = set()
    rate, last = 0.0, 0.0
    for when, more, job_id in sorted(changes, key=lambda change: change[0]):
        cost = rate * (when - last) / HOUR_S
        if running:
            for each in running:
                costs[each] += cost / len(running)
        else:
            idle += cost
        rate, last = rate + more, when
        if job_id is not None:
            running ^= {job_id}
    return JobsCost(costs, idle)
