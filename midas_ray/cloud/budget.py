"""The hard caps, as pure functions of what is rented now and what the day has cost so far. Dollars and Unix seconds."""

from collections.abc import Iterable
from dataclasses import dataclass

from midas_ray.cloud.cluster_config import Caps
from midas_ray.cloud.errors import BudgetError


@dataclass(frozen=True, slots=True)
class Rented:
    """What costs money now."""

    instance_id: int
    price_per_hour: float
    since: float


def check_rent(caps: Caps, price: float, rented: Iterable[Rented], spent_today: float, now: float) -> None:
    """Raises BudgetError where one more node at `price` an hour would pass a cap.

    The day must have room for an hour more of everything, or for what is left of the UTC day.
    """
    running = list(rented)
    if price > caps.price_per_hour:
        raise BudgetError(
            f"caps.price_per_hour: expected at most {caps.price_per_hour:.2f} dollars, found {price:.2f}; "
            "nothing is rented"
        )
    if len(running) >= caps.nodes:
        raise BudgetError(f"caps.nodes: expected at most {caps.nodes} nodes, found {len(running)}; nothing is rented")
    hours = min(1.0, (86400 - now % 86400) / 3600, caps.hours_per_node)
    would = spent_today + hours * (price + sum(node.price_per_hour for node in running))
    if would > caps.total_per_day:
        raise BudgetError(
            f"caps.total_per_day: expected at most {caps.total_per_day:.2f} dollars, found {spent_today:.2f} spent "
            f"today and {would:.2f} with another hour; nothing is rented until 00:00 UTC, or raise it in cluster.yaml"
        )


def overdue(caps: Caps, rented: Iterable[Rented], now: float) -> list[int]:
    """Instances whose hours are over."""
    return [node.instance_id for node in rented if now - node.since >= 3600 * caps.hours_per_node]


def day_is_spent(caps: Caps, spent_today: float) -> bool:
    """Whether everything is to be destroyed until the next UTC day."""
    return spent_today >= caps.total_per_day
