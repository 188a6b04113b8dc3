"""Which offers fit and which comes first; and, where none fits, what to relax. Pure: no calls.

The API filters too (`to_search`), but is not trusted to: `rank` checks every condition again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from midas_ray.cloud.messages import Market, Offer

USABLE_VRAM = 0.92
"""Share of a card's nominal VRAM that hosts list at least (a 16 GB T4 lists 15,109 MB, a 24 GB L4 23,034 MB)."""
GPU_CONDITIONS = frozenset({"gpu_names", "num_gpus", "min_gpu_ram_gb"})
MOST_RELAXATIONS = 3
"""Ways out that one line names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferQuery:
    """What a node must have. Numbers are least values but for the price and what says otherwise."""

    gpu_names: tuple[str, ...] = ()
    """Vast's names, `RTX 4090` (or `RTX_4090`); empty = any."""
    num_gpus: int = 1
    """Exactly so many on the instance; 0 = any number."""
    min_gpu_ram_gb: float = 0.0
    """VRAM of each GPU, nominal GB."""
    min_reliability: float = 0.0
    """0 to 1."""
    min_inet_down_mbps: float = 0.0
    min_inet_up_mbps: float = 0.0
    min_cpu_cores: float = 0.0
    min_cpu_ram_gb: float = 0.0
    disk_gb: float = 40.0
    """Disk to rent with it, GB; it is part of the price."""
    max_price_per_hour: float | None = None
    """Cap on `Offer.dph_total`, $; None = no cap."""
    max_dollars_per_gb: float | None = None
    """Cap on `Offer.inet_down_cost` and `Offer.inet_up_cost`; None = no cap."""
    market: Market = "on-demand"
    regions: tuple[str, ...] = ()
    """ISO 3166 countries (`US`) or places as hosts spell them (`Texas`); empty = anywhere."""
    verified: bool = True
    """Only hosts that Vast.ai verified."""
    min_cuda: float = 0.0
    """Newest CUDA that the driver must run, such as 12.6."""
    direct_ports: int = 1
    """Ports of its own on a public address: sshd needs one."""
    excluded_machines: frozenset[int] = frozenset()
    """`machine_id` of machines that failed."""


def gpu_key(name: str) -> str:
    """A GPU's name for comparing: `RTX_4090` and `rtx 4090` are one."""
    return " ".join(name.replace("_", " ").split()).casefold()


class _Condition(NamedTuple):
    """One thing that a query asks: whether an offer has it, and what to change in the query where it has not."""

    name: str
    met: Callable[[Offer, OfferQuery], bool]
    way_out: Callable[[Offer, OfferQuery], str]


def _least(name: str, of_offer: Callable[[Offer], float]) -> _Condition:
    """`name` is a least value: lowering it to what the offer has lets the offer in."""

    def way_out(offer: Offer, query: OfferQuery) -> str:
        return f"{name} lowered from {getattr(query, name):g} to {of_offer(offer):.4g}"

    return _Condition(name, lambda offer, query: of_offer(offer) >= getattr(query, name), way_out)


def _has_gpu(offer: Offer, query: OfferQuery) -> bool:
    return not query.gpu_names or gpu_key(offer.gpu_name) in {gpu_key(name) for name in query.gpu_names}


def _has_vram(offer: Offer, query: OfferQuery) -> bool:
    return offer.gpu_ram_mb >= USABLE_VRAM * 1024 * query.min_gpu_ram_gb


def _in_region(offer: Offer, query: OfferQuery) -> bool:
    place = offer.geolocation.casefold()
    return not query.regions or any(
        region.upper() == offer.country or (len(region) > 2 and region.casefold() in place) for region in query.regions
    )


def _under_cap(offer: Offer, query: OfferQuery) -> bool:
    return query.max_price_per_hour is None or offer.dph_total <= query.max_price_per_hour


def _raised_cap(offer: Offer, query: OfferQuery) -> str:
    return f"the price cap raised from ${query.max_price_per_hour:g} to ${_up(offer.dph_total)} an hour"


def _traffic_under_cap(offer: Offer, query: OfferQuery) -> bool:
    cap = query.max_dollars_per_gb
    return cap is None or (offer.inet_down_cost <= cap and offer.inet_up_cost <= cap)


def _raised_traffic_cap(offer: Offer, query: OfferQuery) -> str:
    dearest = max(offer.inet_down_cost, offer.inet_up_cost)
    return f"max_dollars_per_gb raised from {query.max_dollars_per_gb:g} to {_up(dearest)} (traffic)"


def _up(price: float) -> str:
    """A cap that lets `price` through, in tenths of a cent."""
    return f"{-(-price * 1000 // 1) / 1000:.3f}"


CONDITIONS = (
    _Condition("gpu_names", _has_gpu, lambda offer, _: f"the model {offer.gpu_name} let in"),
    _Condition("num_gpus", lambda o, q: q.num_gpus in (0, o.num_gpus), lambda o, _: f"num_gpus {o.num_gpus}"),
    _Condition("min_gpu_ram_gb", _has_vram, lambda o, _: f"min_gpu_ram_gb lowered to {o.gpu_ram_gb}"),
    _least("min_reliability", lambda offer: offer.reliability),
    _least("min_inet_down_mbps", lambda offer: offer.inet_down_mbps),
    _least("min_inet_up_mbps", lambda offer: offer.inet_up_mbps),
    _least("min_cpu_cores", lambda offer: offer.cpu_cores),
    _least("min_cpu_ram_gb", lambda offer: offer.cpu_ram_mb / 1024),
    _least("disk_gb", lambda offer: offer.disk_gb),
    _Condition("max_price_per_hour", _under_cap, _raised_cap),
    _Condition("max_dollars_per_gb", _traffic_under_cap, _raised_traffic_cap),
    _Condition("regions", _in_region, lambda o, _: f"the region {o.geolocation or 'unknown'} let in"),
    _Condition("verified", lambda o, q: o.verified or not q.verified, lambda *_: "verified off"),
    _least("min_cuda", lambda offer: offer.cuda_max_good),
    _least("direct_ports", lambda offer: float(offer.direct_port_count)),
    _Condition(
        "excluded_machines",
        lambda offer, query: offer.machine_id not in query.excluded_machines,
        lambda offer, _: f"machine {offer.machine_id}, which failed before, let in again",
    ),
)


def rank(offers: Iterable[Offer], query: OfferQuery) -> list[Offer]:
    """Those that meet every condition: cheapest first, at one price the more reliable, then the lower id."""
    fitting = [offer for offer in offers if offer.rentable and not _misses(offer, query)]
    return sorted(fitting, key=_order)


def _order(offer: Offer) -> tuple[float, float, int]:
    return offer.dph_total, -offer.reliability, offer.id


def _misses(offer: Offer, query: OfferQuery) -> list[_Condition]:
    return [condition for condition in CONDITIONS if not condition.met(offer, query)]


def to_search(query: OfferQuery) -> dict[str, Any]:
    """Body of `POST /api/v0/bundles/` for `query`, but for the limit.

    What the query leaves open is left out; places that are not countries are left to `rank`.
    """
    least = {
        "gpu_ram": USABLE_VRAM * 1024 * query.min_gpu_ram_gb,
        "reliability": query.min_reliability,
        "inet_down": query.min_inet_down_mbps,
        "inet_up": query.min_inet_up_mbps,
        "cpu_cores_effective": query.min_cpu_cores,
        "cpu_ram": 1024 * query.min_cpu_ram_gb,
        "disk_space": query.disk_gb,
        "cuda_max_good": query.min_cuda,
        "direct_port_count": query.direct_ports,
    }
    body: dict[str, Any] = {name: {"gte": value} for name, value in least.items() if value > 0}
    if query.num_gpus > 0:
        body["num_gpus"] = {"eq": query.num_gpus}
    if query.gpu_names:
        body["gpu_name"] = {"in": [" ".join(name.replace("_", " ").split()) for name in query.gpu_names]}
    if query.max_price_per_hour is not None:
        body["dph_total"] = {"lte": query.max_price_per_hour}
    if query.max_dollars_per_gb is not None:
        body |= {name: {"lte": query.max_dollars_per_gb} for name in ("inet_down_cost", "inet_up_cost")}
    if query.regions and all(len(region) == 2 for region in query.regions):
        body["geolocation"] = {"in": [region.upper() for region in query.regions]}
    if query.verified:
        body["verified"] = {"eq": True}
    if query.excluded_machines:
        body["machine_id"] = {"notin": sorted(query.excluded_machines)}
    return body | {
        "external": {"eq": False},
        "rentable": {"eq": True},
        "type": "bid" if query.market == "bid" else "ondemand",
        "order": [["dph_total", "asc"]],
        "allocated_storage": query.disk_gb,
    }


def relaxations(query: OfferQuery) -> tuple[OfferQuery, OfferQuery]:
    """What to search to be able to say `why_none`: the same GPUs with all else open, and any GPU with all else kept.

    Two, because the API gives the 64 cheapest: with everything open these would be small cards alone.
    """
    same_gpus = OfferQuery(
        gpu_names=query.gpu_names,
        num_gpus=query.num_gpus,
        min_gpu_ram_gb=query.min_gpu_ram_gb,
        disk_gb=query.disk_gb,
        market=query.market,
        verified=False,
        direct_ports=0,
    )
    return same_gpus, replace(query, gpu_names=(), num_gpus=0, min_gpu_ram_gb=0.0)


def why_none(all_offers: Iterable[Offer], query: OfferQuery) -> str:
    """One line: the cheapest offers that would fit with one condition relaxed, which condition, and to what.

    The GPUs asked for come first, then other GPUs that meet all else.
    `all_offers`: those of both searches of `relaxations(query)`.
    """
    offers = sorted({offer.id: offer for offer in all_offers if offer.rentable}.values(), key=_order)
    if not offers:
        return f"no offer fits: Vast.ai lists nothing in the {query.market} market with {query.disk_gb:g} GB of disk"
    by_condition: dict[str, tuple[Offer, _Condition]] = {}
    for offer in offers:
        misses = _misses(offer, query)
        if not misses:
            return f"an offer fits after all: {_described(offer)}; try again"
        if len(misses) == 1:
            by_condition.setdefault(misses[0].name, (offer, misses[0]))
    if by_condition:
        nearest_first = sorted(by_condition.values(), key=lambda way: way[1].name in GPU_CONDITIONS)
        ways = [f"{_described(offer)} with {condition.way_out(offer, query)}" for offer, condition in nearest_first]
        return "no offer fits; the cheapest that would: " + "; or ".join(ways[:MOST_RELAXATIONS])
    nearest = min(offers, key=lambda offer: (len(_misses(offer, query)), _order(offer)))
    ways = [condition.way_out(nearest, query) for condition in _misses(nearest, query)]
    return f"no offer fits; the nearest: {_described(nearest)} with {' and '.join(ways)}"


def _described(offer: Offer) -> str:
    if not offer.num_gpus:
        return f"{offer.cpu_cores:g} cores ({offer.geolocation or 'place unknown'}) at ${offer.dph_total:.3f}/h"
    return (
        f"{offer.num_gpus} x {offer.gpu_name} ({offer.gpu_ram_gb} GB, {offer.geolocation or 'place unknown'}) at "
        f"${offer.dph_total:.3f}/h"
    )
