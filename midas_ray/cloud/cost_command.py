"""`midas vast cost`: what runs and costs now, what was spent, and what each job cost. It changes nothing anywhere."""

import os
import sys
import time

import msgspec

from midas_ray.cloud.api_key import key_file, read_api_key
from midas_ray.cloud.client import VastClient
from midas_ray.cloud.cost_tables import ON_THE_HEAD, print_costs
from midas_ray.cloud.costs import Cluster, Costs, add_jobs, clusters, put_together
from midas_ray.cloud.node_state import ROOT, STATUS
from midas_ray.cloud.ray_jobs import RayUnreachableError, jobs_beside_head
from midas_ray.settings import Vast

PATIENCE_S = 15.0
"""How long one call of the API may take where somebody waits for it."""
DASHBOARD = "http://127.0.0.1:8265"
"""Where a head's dashboard is, and where `ray dashboard` brings it to."""


def cost(values: Vast) -> int:
    """Run `midas vast cost`; gives the exit code. Raises AuthError, VastError, StorageError with one line."""
    with VastClient(read_api_key(key_file()), values.vast_url, total_s=PATIENCE_S) as client:
        listed, account = client.instances(), client.account()
    now = time.time()
    known = clusters(ROOT, listed, now)
    costs = put_together(known, listed, account, now, _launched())
    _ask_jobs(costs, known, values.ray_dashboard or _dashboard())
    if values.as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(costs), indent=1).decode() + "\n")
    else:
        print_costs(costs, values.rows)
    return 0


def _launched() -> list[str]:
    """Clusters that `ray up` was run for on this machine, and whose head is another one: a head says its status."""
    return [path.parent.name for path in ROOT.expanduser().glob("*/nodes.json") if not (path.parent / STATUS).exists()]


def _dashboard() -> str:
    """The dashboard that Ray's own commands would ask."""
    named = os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or ""
    return named if named.startswith(("http://", "https://")) else DASHBOARD


def _ask_jobs(costs: Costs, known: list[Cluster], dashboard: str) -> None:
    """Add what each job cost, or why that is not known."""
    polled = [(cluster.polled, cluster) for cluster in known if cluster.polled is not None]
    if not polled and any(ROOT.expanduser().glob(f"*/{STATUS}")):
        costs.jobs, costs.idle = [], 0.0  # a head that never rented anything
        return
    if not polled:
        costs.jobs_unknown = f"expected the ledger of a head on this machine, found none; {ON_THE_HEAD}"
        return
    _, cluster = max(polled, key=lambda each: each[0])
    try:
        add_jobs(costs, cluster, jobs_beside_head(dashboard))
    except RayUnreachableError as error:
        costs.jobs_unknown = str(error)
