"""How the fake searches its offers: the real API's filters, order and limit."""

import operator
from collections.abc import Callable, Iterable
from typing import Any

MOST_OFFERS = 64
"""Offers that one search gives at most."""
OPTIONS = frozenset({"limit", "type", "order", "allocated_storage", "disable_bundling"})
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "in": lambda value, wanted: value in wanted,
    "notin": lambda value, wanted: value not in wanted,
}


class BadSearchError(Exception):
    """What the API refuses with 400 invalid_args."""


def search(listed: Iterable[dict[str, Any]], body: dict[str, Any]) -> list[dict[str, Any]]:
    """The offers of `listed` that `body` asks for, in its order, at most its limit. Raises BadSearchError."""
    offers = list(listed)
    known = set(offers[0]) | {"verified"} if offers else set()
    for name, conditions in body.items():
        if name in OPTIONS or not offers:
            continue
        if name not in known:
            raise BadSearchError(f"Invalid query: no such field {name}")
        if not isinstance(conditions, dict) or not set(conditions) <= set(OPERATORS):
            raise BadSearchError(f"Invalid query: must be dict of conditions: {name}")
        offers = [offer for offer in offers if _meets(_value(offer, name), conditions)]
    for field, direction in reversed(body.get("order") or [["score", "desc"]]):
        offers.sort(key=lambda offer: offer[field], reverse=direction == "desc")
    return offers[: min(int(body.get("limit") or MOST_OFFERS), MOST_OFFERS)]


def _value(offer: dict[str, Any], name: str) -> Any:
    if name == "verified":
        return offer["verification"] == "verified"
    if name == "geolocation":
        return offer["geolocation"].rsplit(", ", 1)[-1]
    if name == "external":
        return bool(offer["external"])
    return offer[name]


def _meets(value: Any, conditions: dict[str, Any]) -> bool:
    return all(OPERATORS[name](value, wanted) for name, wanted in conditions.items())
