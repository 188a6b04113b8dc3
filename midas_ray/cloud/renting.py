"""Renting a node: the caps first, then the cheapest offer that fits and is still there."""

import logging
import secrets
import threading
import time

from midas_ray.cloud.budget import check_rent
from midas_ray.cloud.cluster_config import NodeConfig
from midas_ray.cloud.dead_man import onstart
from midas_ray.cloud.errors import BudgetError, NoOfferError, OfferGoneError, VastError
from midas_ray.cloud.fleet import Fleet, note, prefix
from midas_ray.cloud.mesh import WORKER_SLOTS
from midas_ray.cloud.messages import Offer
from midas_ray.cloud.node_state import Node
from midas_ray.cloud.offers import OfferQuery, rank, relaxations, why_none

NO_OFFER_S = 30.0
"""Least time between two searches for a node type that found nothing."""
OFFERS_TRIED = 6

log = logging.getLogger(__name__)


class Renter:
    """Rents nodes for a fleet, one at a time."""

    def __init__(self, fleet: Fleet, public_key: str) -> None:
        self._public_key = public_key
        self._fleet, self._provider = fleet, fleet.provider
        self._one = threading.Lock()
        self._nothing_until: dict[str, tuple[float, str]] = {}

    def rent(self, node_type: str, wanted: NodeConfig, tags: dict[str, str], head: bool = False) -> Node:
        """Rent the cheapest fitting offer.

        Raises BudgetError, NoOfferError and every other VastError with one line; nothing is rented then.
        """
        with self._one:
            try:
                return self._rent(node_type, wanted, tags, head)
            except VastError as error:
                with self._fleet.state.change() as state:
                    # `ray up` ends with this line itself: its log, on the same terminal, need not say it, too.
                    note(state, f"{node_type}: {error}", logged=self._provider.on_head)
                raise

    def _rent(self, node_type: str, wanted: NodeConfig, tags: dict[str, str], head: bool) -> Node:
        until, said = self._nothing_until.get(node_type, (0.0, ""))
        if time.monotonic() < until:
            raise NoOfferError(said)
        state = self._fleet.state.read()
        if len(state.nodes) + len(state.ending) >= self._fleet.caps.nodes:
            raise BudgetError(
                f"caps.nodes: {self._fleet.caps.nodes} are rented already; raise it in cluster.yaml, or wait"
            )
        query = query_of(wanted, self._fleet.caps.price_per_hour, state.excluded(self._fleet.now()))
        fitting = rank(self._fleet.client.search(query), query)
        if not fitting:
            others = [offer for wider in relaxations(query) for offer in self._fleet.client.search(wider)]
            said = why_none(others, query)
            self._nothing_until[node_type] = (time.monotonic() + NO_OFFER_S, said)
            raise NoOfferError(said)
        for offer in fitting[:OFFERS_TRIED]:
            try:
                return self._create(offer, node_type, wanted, tags, head)
            except OfferGoneError:
                log.info("offer %d was taken by somebody else", offer.id)
        raise NoOfferError(f"the {min(len(fitting), OFFERS_TRIED)} cheapest offers were taken by others; again soon")

    def _create(self, offer: Offer, node_type: str, wanted: NodeConfig, tags: dict[str, str], head: bool) -> Node:
        now = self._fleet.now()
        price, bid = price_of(offer, wanted, _most(wanted, self._fleet.caps.price_per_hour))
        with self._fleet.state.change() as state:
            check_rent(self._fleet.caps, price, self._fleet.rented(state), self._fleet.ledger.spent_on_day(now), now)
            slot = state.free_slot(WORKER_SLOTS)
            if slot is None:
                raise BudgetError(f"expected at most {len(WORKER_SLOTS)} nodes, found all places taken; wait for one")
            label = f"{prefix(self._provider.cluster_id)}{'h' if head else 'w'}{slot}/{secrets.token_hex(4)}"
            state.renting[label] = now
        life_s, silence_s = 3600 * self._fleet.caps.hours_per_node, 60 * self._provider.dead_man_minutes
        try:
            instance_id = self._fleet.client.create(
                offer.id,
                image=wanted.image,
                disk_gb=wanted.disk_gb,
                label=label,
                env={},
                onstart=onstart(self._provider.vast_url, self._public_key, life_s, 0 if head else silence_s),
                bid_price=bid,
            )
        except VastError:
            # What may have been made all the same is then an orphan, and destroyed when it is listed.
            with self._fleet.state.change() as state:
                state.renting.pop(label, None)
            raise
        node = Node(
            instance_id=instance_id,
            machine_id=offer.machine_id,
            slot=slot,
            label=label,
            tags=dict(tags),
            node_type=node_type,
            gpu=f"{offer.num_gpus} x {offer.gpu_name}",
            price_per_hour=price,
            created=now,
            disk_gb=wanted.disk_gb,
            steps={"asked": now, "rented": self._fleet.now()},
        )
        with self._fleet.state.change() as state:
            state.nodes[str(instance_id)] = node
            state.renting.pop(label, None)
            state.problems = [line for line in state.problems if not line.startswith(f"{node_type}: ")]
        self._fleet.ledger.rented(node.instance_id, offer, price, label, now, wanted.disk_gb)
        return node


def query_of(wanted: NodeConfig, cap: float, excluded: frozenset[int]) -> OfferQuery:
    """What is searched for. cap: of the cluster, dollars an hour."""
    return OfferQuery(
        gpu_names=tuple(wanted.gpus),
        num_gpus=wanted.num_gpus,
        min_gpu_ram_gb=wanted.min_gpu_ram_gb,
        min_reliability=wanted.min_reliability,
        min_inet_down_mbps=wanted.min_inet_down_mbps,
        min_cpu_cores=wanted.min_cpu_cores,
        min_cuda=wanted.min_cuda,
        disk_gb=wanted.disk_gb,
        max_price_per_hour=_most(wanted, cap),
        max_dollars_per_gb=wanted.max_dollars_per_gb,
        market=wanted.market,
        regions=tuple(wanted.regions),
        verified=wanted.verified,
        excluded_machines=excluded,
    )


def _most(wanted: NodeConfig, cap: float) -> float:
    return cap if wanted.max_price_per_hour is None else min(cap, wanted.max_price_per_hour)


def price_of(offer: Offer, wanted: NodeConfig, most: float) -> tuple[float, float | None]:
    """Dollars an hour with the disk, and the bid without it; None on demand. A bid never goes above `most`."""
    if wanted.market == "on-demand":
        return offer.dph_total, None
    disk = max(0.0, offer.dph_total - offer.min_bid)
    bid = min(offer.min_bid * wanted.bid_factor, most - disk)
    return bid + disk, bid
