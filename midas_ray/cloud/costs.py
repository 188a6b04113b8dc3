"""What `midas vast cost` tells, put together from the API's listing, the ledgers of this machine, and Ray's jobs.

A cluster's ledger lies where its nodes are rented: on its head. A laptop that only submits has none, and says so.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from midas_ray.cloud.jobs_cost import JobTime, split
from midas_ray.cloud.ledger import NAME, Ledger
from midas_ray.cloud.messages import Account, Instance
from midas_ray.cloud.node_state import STATUS
from midas_ray.cloud.ray_jobs import RayJob
from midas_ray.cloud.spending import Interval, day_begin, differences, fold, month_begin, spent

LABEL = "midas/"
"""What the label of every instance of MIDAS begins with; then comes the cluster's id."""
DEAD_MAN_S = 900.0
"""How long a node lives on unseen, where the ledger's cluster does not say."""


class Running(msgspec.Struct, kw_only=True):
    """An instance of the account. cluster None: somebody else's, which MIDAS never touches."""

    id: int
    gpu: str
    price_per_hour: float
    since: float
    so_far: float
    cluster: str | None
    label: str
    state: str


class JobCost(msgspec.Struct, kw_only=True):
    """What a job cost of the nodes of its cluster."""

    id: str
    entrypoint: str
    status: str
    begin: float
    end: float | None
    dollars: float


class Costs(msgspec.Struct, kw_only=True):
    """All of it; dollars, Unix seconds."""

    at: float
    running: list[Running]
    dollars_per_hour: float
    """Of MIDAS's instances."""
    today: float
    month: float
    ever: float
    """All three: of the clusters in `ledgers`, and of what runs of others."""
    credit: float
    ledgers: list[str]
    """Clusters whose ledger lies on this machine."""
    elsewhere: list[str]
    """Clusters that have instances now, or were started from here, and their ledger somewhere else."""
    jobs: list[JobCost] | None = None
    """None where they are not known, for the reason in `jobs_unknown`."""
    idle: float | None = None
    """Dollars of moments without a job."""
    jobs_unknown: str | None = None


class Cluster(msgspec.Struct, kw_only=True):
    """A cluster whose ledger lies on this machine. polled: when its autoscaler last ran here; None: never."""

    id: str
    intervals: list[Interval]
    polled: float | None


def cluster_of(instance: Instance) -> str | None:
    """The id of the cluster that an instance was made for; None where it is not MIDAS's."""
    parts = instance.label.split("/")
    return parts[1] if len(parts) > 2 and instance.label.startswith(LABEL) else None


def clusters(root: Path, listed: Iterable[Instance], now: float) -> list[Cluster]:
    """The clusters with a ledger under `root`, each corrected by what the API lists; nothing is written.

    A ledger that only tells of ends is that of a laptop which destroyed what another machine rented: it is none.
    """
    listed = list(listed)
    found = []
    for path in sorted(root.expanduser().glob(f"*/{NAME}")):
        ledger, cluster_id = Ledger(path.parent), path.parent.name
        if not any(interval.rented.offer is not None for interval in ledger.intervals()):
            continue
        own = [instance for instance in listed if cluster_of(instance) == cluster_id]
        missing = differences(ledger.intervals(), own, ledger.seen(), now, DEAD_MAN_S)
        intervals = fold([*ledger.records(), *missing])
        said = path.parent / STATUS
        polled = said.stat().st_mtime if said.exists() else None
        found.append(Cluster(id=cluster_id, intervals=intervals, polled=polled))
    return found


def put_together(
    known: Sequence[Cluster],
    listed: Iterable[Instance],
    account: Account,
    now: float,
    launched: Iterable[str] = (),
) -> Costs:
    """All but the jobs. launched: ids of the clusters that were started from this machine."""
    listed = list(listed)
    here = {cluster.id for cluster in known}
    running_ids = {cluster for one in listed if (cluster := cluster_of(one)) is not None}
    elsewhere = sorted((running_ids | set(launched)) - here)
    intervals = [interval for cluster in known for interval in cluster.intervals]
    theirs = [one for one in listed if cluster_of(one) in elsewhere]
    intervals += fold(differences([], theirs, now, now, 0.0))
    by_id = {interval.id: interval for interval in intervals}
    running = [_running(one, by_id.get(one.id), now) for one in listed]
    return Costs(
        at=now,
        running=sorted(running, key=lambda row: (row.cluster is None, row.cluster or "", row.id)),
        dollars_per_hour=sum(row.price_per_hour for row in running if row.cluster is not None),
        today=spent(intervals, day_begin(now), now),
        month=spent(intervals, month_begin(now), now),
        ever=spent(intervals, 0.0, now),
        credit=account.credit,
        ledgers=sorted(here),
        elsewhere=elsewhere,
    )


def add_jobs(costs: Costs, cluster: Cluster, jobs: Sequence[RayJob]) -> None:
    """Split what the cluster cost among its jobs."""
    times = [
        JobTime(job.name, job.start_time / 1000, None if job.end_time is None else job.end_time / 1000)
        for job in jobs
        if job.start_time is not None
    ]
    shares = split(cluster.intervals, times, costs.at)
    said = {job.name: job for job in jobs}
    costs.idle = shares.idle
    costs.jobs = [
        JobCost(
            id=time.id,
            entrypoint=said[time.id].entrypoint,
            status=said[time.id].status,
            begin=time.begin,
            end=time.end,
            dollars=shares.jobs[time.id],
        )
        for time in times
    ]


def _running(instance: Instance, interval: Interval | None, now: float) -> Running:
    since = instance.start_date or (now if interval is None else interval.rented.at)
    so_far = (now - since) / 3600 * instance.dph_total if interval is None else interval.cost(0.0, now)
    return Running(
        id=instance.id,
        gpu=f"{instance.num_gpus} x {instance.gpu_name}" if instance.num_gpus else "no GPU",
        price_per_hour=instance.dph_total,
        since=since if interval is None else interval.rented.at,
        so_far=so_far,
        cluster=cluster_of(instance),
        label=instance.label,
        state=instance.actual_status or "being made",
    )
