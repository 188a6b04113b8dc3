"""The hard caps, as pure functions of what is rented now and what the day has cost so far. Dollars and Unix seconds."""

from collections.abc import Iterable
from dataclasses import dataclass

from midas_ray.cloud.cluster_config import Caps
from midas_ray.cloud.errors import BudgetError
from midas_ray.cloud.spending import DAY_S, HOUR_S

LEAST_HOURS = 1.0
"""For so long the day's rest has to pay for everything before one more node is rented: less would hardly be of use."""


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
    if not 0 <= price < float("inf"):
        raise BudgetError(f"price of an offer: expected dollars an hour, found {price}; nothing is rented")
    if price > caps.price_per_hour:
        raise BudgetError(
            f"caps.price_per_hour: expected at most {_dollars(caps.price_per_hour)} an hour, found {_dollars(price)}; "
            "nothing is rented: raise it in cluster.yaml, or ask for less"
        )
    if len(running) >= caps.nodes:
        raise BudgetError(
            f"caps.nodes: expected at most {caps.nodes} nodes, found {len(running)} rented; nothing more is rented: "
            "raise it in cluster.yaml, or wait until one is free"
        )
    hours = min(LEAST_HOURS, (DAY_S - now % DAY_S) / HOUR_S, caps.hours_per_node)
    would = spent_today + hours * (price + sum(node.price_per_hour for node in running))
    if would > caps.total_per_day:
        raise BudgetError(
            f"caps.total_per_day: expected at most {_dollars(caps.total_per_day)}, found {_dollars(spent_today)} spent "
            f"today and {_dollars(would)} after {60 * hours:.0f} more minutes with this node; nothing is rented until "
            "00:00 UTC: raise it in cluster.yaml, or wait"
        )


def overdue(caps: Caps, rented: Iterable[Rented], now: float) -> list[int]:
    """Instances whose hours are over: they are to be destroyed."""
    return [node.instance_id for node in rented if now - node.since >= HOUR_S * caps.hours_per_node]


def day_is_spent(caps: Caps, spent_today: float) -> bool:
    """Whether everything is to be destroyed, and nothing rented until the next UTC day."""
    return not spent_today < caps.total_per_day


def _dollars(amount: float) -> str:
    return f"{amount:.4g} $" if amount < 0.1 else f"{amount:.2f} $"
