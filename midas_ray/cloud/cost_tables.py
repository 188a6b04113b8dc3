"""What `midas vast cost` shows: tables on a terminal."""

import datetime

from rich.console import Console
from rich.table import Table

from midas_ray import console
from midas_ray.cloud.costs import Costs, JobCost, Running

TABLE_WIDTH = 120
"""Columns that a table takes where the terminal is narrower: it is cut by no pipe."""
MOST_ENTRYPOINT = 36
"""Characters of a job's entrypoint that are shown; --json has all."""
ON_THE_HEAD = "ray exec cluster.yaml 'midas vast cost'"


def print_costs(costs: Costs, rows: int) -> None:
    """rows: most jobs shown, the newest."""
    wide = Console(file=console.out.file, width=max(console.out.width, TABLE_WIDTH), highlight=False)
    if costs.running:
        wide.print(_running_table(costs.running, costs.at))
    else:
        console.out.print("nothing is rented")
    spent = f"{dollars(costs.today)} today, {dollars(costs.month)} this month, {dollars(costs.ever)} in all"
    console.out.print(f"spent     {spent} (UTC; without traffic)", markup=False)
    rate, credit = dollars(costs.dollars_per_hour), dollars(costs.credit)
    console.out.print(f"now       {rate} an hour; credit {credit}{_lasts(costs)}", markup=False)
    for cluster in costs.elsewhere:
        console.out.print(
            f"{cluster}: only what runs now is counted: its ledger lies on its head; {ON_THE_HEAD}", markup=False
        )
    if costs.jobs is None:
        console.out.print(f"jobs      not known: {costs.jobs_unknown}", markup=False)
        return
    if costs.jobs:
        wide.print(_jobs_table(costs.jobs[-rows:][::-1]))
    more = f", the newest {rows} shown" if len(costs.jobs) > rows else ""
    jobs = "1 job" if len(costs.jobs) == 1 else f"{len(costs.jobs)} jobs"
    console.out.print(
        f"{jobs} on rented nodes cost {dollars(sum(job.dollars for job in costs.jobs))}{more}; without "
        f"a job, {dollars(costs.idle or 0.0)}",
        markup=False,
    )


def dollars(amount: float) -> str:
    """`$0.0123` below a dollar, `$1.23` from it on."""
    return f"${amount:.2f}" if abs(amount) >= 1 else f"${amount:.4f}"


def _lasts(costs: Costs) -> str:
    """How long the credit lasts at what all instances of the account cost."""
    rate = sum(row.price_per_hour for row in costs.running)
    return f", enough for {max(0.0, costs.credit) / rate:.1f} h" if rate > 0 else ""


def _running_table(rows: list[Running], now: float) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("instance", no_wrap=True)
    table.add_column("GPU", no_wrap=True)
    for name in ("$/h", "for", "so far"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("since (UTC)", "state", "cluster"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(
            str(row.id),
            row.gpu,
            f"{row.price_per_hour:.3f}",
            _length(now - row.since),
            dollars(row.so_far),
            _moment(row.since),
            row.state,
            row.cluster or "others' (never touched)",
        )
    return table


def _jobs_table(jobs: list[JobCost]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("job", no_wrap=True)
    for name in ("begun (UTC)", "ended"):
        table.add_column(name, no_wrap=True)
    table.add_column("$", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("entrypoint", no_wrap=True)
    for job in jobs:
        entrypoint = job.entrypoint
        if len(entrypoint) > MOST_ENTRYPOINT:
            entrypoint = f"{entrypoint[: MOST_ENTRYPOINT - 1]}…"
        end = "" if job.end is None else _moment(job.end)
        table.add_row(job.id, _moment(job.begin), end, dollars(job.dollars)[1:], job.status.lower(), entrypoint)
    return table


def _moment(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def _length(seconds: float) -> str:
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
