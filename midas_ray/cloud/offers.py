"""Which offers fit and which comes first; and, where none fits, what to relax. Pure: no calls.

The API filters too (`to_search`), but is not trusted to: `rank` checks every condition again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from midas_ray.cloud.messages import Market, Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferQuery:
    """What a node must have. Numbers are least values but for the price and what says otherwise."""

    gpu_names: tuple[str, ...] = ()
    """Vast's names, `RTX 4090` (or `RTX_4090`); empty = any."""
    num_gpus: int = 1
    """Exactly so many on the instance."""
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


def to_search(query: OfferQuery) -> dict[str, Any]:
    """Body of `POST /api/v0/bundles/` for `query`, but for the limit."""
    raise NotImplementedError


def rank(offers: Iterable[Offer], query: OfferQuery) -> list[Offer]:
    """Those that meet every condition: cheapest first, at one price the more reliable, then the lower id."""
    raise NotImplementedError


def why_none(all_offers: Iterable[Offer], query: OfferQuery) -> str:
    """One line: the cheapest offer that would fit with one condition relaxed, which condition, and to what.

    `all_offers`: those of a search with the conditions left out (`relaxed(query)`).
    """
    raise NotImplementedError


def relaxed(query: OfferQuery) -> OfferQuery:
    """`query` with only what no relaxing would change (disk, market): what to search to be able to say `why_none`."""
    raise NotImplementedError
