"""The rented nodes of one cluster: what the API says, what is remembered, and what has to be destroyed. Knows no Ray.

On the head `poll` runs at every turn of the autoscaler: it lists the account (every 5 s at most, one listing for
everything), lets go of what has ended, destroys what is overdue, lost or nobody's, and asks again until it is gone.
"""

import logging
import threading
import time
from collections.abc import Callable

import msgspec

from midas_ray.cloud.budget import Rented, day_is_spent, overdue
from midas_ray.cloud.client import VastClient
from midas_ray.cloud.cluster_config import RENTED_HEAD, Caps, Provider
from midas_ray.cloud.errors import VastError
from midas_ray.cloud.ledger import Ledger
from midas_ray.cloud.messages import Instance
from midas_ray.cloud.node_state import EXCLUDED_S, Ending, Node, State, StateFile

LISTING_S = 5.0
"""Least time between two listings of the account, whatever the number of nodes and queries."""
UNLISTED_S = 90.0
"""How long a new instance may be missing in listings."""
AGAIN_S = 20.0
"""After this an instance that is still listed is destroyed once more."""
RENTING_S = 300.0
"""After this a creation that nobody heard of again is over."""
LOOK_S = 1.5
"""Least time between two looks at an instance that is coming up."""
LOST = frozenset({"exited", "unknown", "offline", "stopped", "frozen", "inactive"})
"""States that an instance does not come back from; a bid instance that was outbid is stopped."""
MOST_PROBLEMS = 20

log = logging.getLogger(__name__)


def prefix(cluster_id: str) -> str:
    """What the labels of this cluster's instances begin with."""
    return f"midas/{cluster_id}/"


class Fleet:
    """See above. clock: Unix seconds. on_head: whether this is the head, which alone lets go of nodes by itself."""

    def __init__(
        self,
        provider: Provider,
        client: VastClient,
        state: StateFile,
        ledger: Ledger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.provider, self.client, self.state, self.ledger, self._clock = provider, client, state, ledger, clock
        self._prefix = prefix(provider.cluster_id)
        self._lock = threading.RLock()
        self._listing: dict[int, Instance] = {}
        self._listed_at: float | None = None
        self._compared_at: float | None = None
        self._tried_at = -LISTING_S
        self._looked_at = -LOOK_S
        self.answered_at: float | None = None
        """When the API last answered a listing."""

    @property
    def caps(self) -> Caps:
        """As they are now."""
        return self.provider.caps

    def take_up(self, caps: Caps) -> None:
        """Go by these from now on. What runs keeps its own timer, of the hours_per_node it was rented with."""
        if caps != self.caps:
            log.info("other caps: %s", caps)
            self.provider = msgspec.structs.replace(self.provider, caps=caps)

    def now(self) -> float:
        """Unix seconds."""
        return self._clock()

    def listing(self, fresh: bool = False) -> dict[int, Instance]:
        """This cluster's instances as last listed; listed anew where that was 5 s ago, or `fresh`.

        Raises VastError where there is no listing yet and the API does not answer; later the last one stands.
        """
        with self._lock:
            now = time.monotonic()
            if fresh or now - self._tried_at >= LISTING_S:
                self._tried_at = now
                try:
                    found = self.client.instances()
                except VastError as error:
                    if self._listed_at is None or fresh:
                        raise
                    log.warning("the listing of %.0f s ago stands: %s", now - self._listed_at, error)
                else:
                    self._listing = {one.id: one for one in found if (one.label or "").startswith(self._prefix)}
                    self._listed_at, self.answered_at = now, self._clock()
                    if fresh and self.provider.head == RENTED_HEAD:  # the laptop's ledger is the only one
                        self.ledger.reconcile(self._listing.values(), self._clock(), 0.0)
            return self._listing

    def poll(self) -> dict[str, Node]:
        """The nodes that are up or coming up, by id; after letting go of all others."""
        listing = self.listing()
        anew = self._compared_at != self._listed_at
        self._compared_at = self._listed_at
        now = self._clock()
        with self.state.change() as state:
            if anew:
                self._compare(state, listing, now)
            self._enforce(state, now)
            due = [end for end in state.ending.values() if end.done is None or now - end.done > AGAIN_S]
            nodes = dict(state.nodes)
        self._destroy_all(due)
        coming = next((node_id for node_id, node in nodes.items() if node.running_since is None), None)
        if coming is not None:
            self.look(coming)
        (self.state.folder / "alive").touch()
        return nodes

    def look(self, node_id: str) -> None:
        """Look at one instance that is coming up, between listings: a start is then noticed in a second or two."""
        with self._lock:
            if time.monotonic() - self._looked_at < LOOK_S:
                return
            self._looked_at = time.monotonic()
            try:
                instance = self.client.show(int(node_id))
            except VastError as error:
                log.info("node %s: %s", node_id, error)
                return
        if instance is None:
            return  # a listing decides
        with self.state.change() as state:
            if node_id in state.nodes:
                self._update(state, state.nodes[node_id], instance, self._clock())

    def step(self, node_id: str, name: str, when: float) -> None:
        """Note when a step of a node's coming up was done."""
        with self.state.change() as state:
            if node_id in state.nodes:
                state.nodes[node_id].steps.setdefault(name, when)

    def _compare(self, state: State, listing: dict[int, Instance], now: float) -> None:
        """Bring the state in line with what is listed."""
        for node_id, node in list(state.nodes.items()):
            instance = listing.get(node.instance_id)
            if instance is None:
                if node.seen or now - node.created > UNLISTED_S:
                    self._gone(state, node_id, "the API does not list it any more", now)
                continue
            self._update(state, node, instance, now)
        for node_id, end in list(state.ending.items()):
            if end.node.instance_id not in listing and (end.done is not None or now - end.asked > UNLISTED_S):
                del state.ending[node_id]
                self.ledger.ended(end.node.instance_id, now, end.why)
        state.renting = {label: since for label, since in state.renting.items() if now - since < RENTING_S}
        known = {node.instance_id for node in state.nodes.values()} | {
            end.node.instance_id for end in state.ending.values()
        }
        for instance in listing.values():
            if instance.id not in known and instance.label not in state.renting:
                self._let_go(state, _node_of(instance, now), "an orphan: labelled ours, unknown here", now)
        self.ledger.reconcile(listing.values(), now, 60 * self.provider.dead_man_minutes)

    def _update(self, state: State, node: Node, instance: Instance, now: float) -> None:
        node.seen = True
        status = instance.actual_status
        if (address := instance.ssh_address) is not None:
            node.host, node.port = address
        if status in LOST or instance.outbid:
            said = f" ({instance.status_msg})" if instance.status_msg else ""
            why = f"it was outbid{said}" if instance.outbid else f"it is {status}{said}"
            self.exclude(state, node.machine_id, now)
            self._let_go(state, node, why, now)
        elif status == "running":
            node.running_since = node.running_since or now
            node.steps.setdefault("running", node.running_since)
            late = now - node.running_since > 60 * self.provider.ssh_timeout_minutes
            if late and not node.ready:
                self.exclude(state, node.machine_id, now)
                self._let_go(
                    state, node, f"it runs, and SSH did not work for {_minutes(now - node.running_since)}", now
                )
        elif now - node.created > 60 * self.provider.start_timeout_minutes:
            self.exclude(state, node.machine_id, now)
            self._let_go(state, node, f"it did not start within {_minutes(now - node.created)}: {status}", now)

    def _enforce(self, state: State, now: float) -> None:
        """The caps, on what runs."""
        rented = self.rented(state)
        spent = self.ledger.spent_on_day(now)
        late = set(overdue(self.caps, rented, now))
        for node in list(state.nodes.values()):
            if node.instance_id in late:
                self._let_go(state, node, f"its {self.caps.hours_per_node:g} hours are over", now)
            elif day_is_spent(self.caps, spent):
                self._let_go(state, node, f"the day's {self.caps.total_per_day:g} dollars are spent", now)

    def rented(self, state: State) -> list[Rented]:
        """What costs money now."""
        nodes = [*state.nodes.values(), *(end.node for end in state.ending.values())]
        return [Rented(node.instance_id, node.price_per_hour, node.created) for node in nodes]

    def let_go(self, node_id: str, why: str, exclude: bool = False) -> None:
        """Destroy a node: now, and again until the API no longer lists it."""
        now = self._clock()
        with self.state.change() as state:
            node = state.nodes.get(node_id)
            if node is not None:
                if exclude:
                    self.exclude(state, node.machine_id, now)
                self._let_go(state, node, why, now)
            end = state.ending.get(node_id)
        if end is not None and end.done is None:
            self._destroy_all([end])

    def destroy_listed(self, instance_id: int, why: str) -> None:
        """For the laptop: destroy an instance of this cluster now. Raises VastError where that cannot be."""
        self.client.destroy(instance_id)
        now = self._clock()
        with self.state.change() as state:
            state.nodes.pop(str(instance_id), None)
            state.ending.pop(str(instance_id), None)
        self.ledger.ended(instance_id, now, why)

    def exclude(self, state: State, machine_id: int, now: float) -> None:
        """Leave a machine out for a day."""
        state.failed_machines = {m: until for m, until in state.failed_machines.items() if until > now}
        state.failed_machines[str(machine_id)] = now + EXCLUDED_S

    def _let_go(self, state: State, node: Node, why: str, now: float) -> None:
        state.nodes.pop(str(node.instance_id), None)
        state.ending[str(node.instance_id)] = Ending(node=node, why=why, asked=now)
        note(state, f"node {node.instance_id} is let go: {why}")

    def _gone(self, state: State, node_id: str, why: str, now: float) -> None:
        node = state.nodes.pop(node_id)
        self.exclude(state, node.machine_id, now)
        self.ledger.ended(node.instance_id, now, why)
        note(state, f"node {node_id} is gone: {why}")

    def _destroy_all(self, due: list[Ending]) -> None:
        for end in due:
            try:
                self.client.destroy(end.node.instance_id)
            except VastError as error:
                log.warning("node %d is not destroyed yet, again soon: %s", end.node.instance_id, error)
                continue
            with self.state.change() as state:
                kept = state.ending.get(str(end.node.instance_id))
                if kept is not None:
                    kept.done = self._clock()


def _node_of(instance: Instance, now: float) -> Node:
    """What is known of an instance that is not in the state."""
    return Node(
        instance_id=instance.id,
        machine_id=instance.machine_id,
        slot=0,
        label=instance.label or "",
        tags={},
        node_type="",
        gpu=f"{instance.num_gpus} x {instance.gpu_name}",
        price_per_hour=instance.dph_total,
        created=instance.start_date or now,
    )


def note(state: State, line: str, logged: bool = True) -> None:
    """Keep what went wrong. logged: whether the log is to say it as well."""
    if not state.problems or state.problems[-1] != line:
        if logged:
            log.warning("%s", line)
        state.problems = [*state.problems, line][-MOST_PROBLEMS:]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"
