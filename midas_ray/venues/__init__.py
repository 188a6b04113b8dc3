"""What goes over the wire, one file per venue."""

from midas_ray.errors import UsageError
from midas_ray.venues.base import Stream, Venue
from midas_ray.venues.binance_futures import BINANCE_FUTURES
from midas_ray.venues.binance_spot import BINANCE_SPOT

VENUES: dict[str, Venue] = {venue.name: venue for venue in (BINANCE_FUTURES, BINANCE_SPOT)}

__all__ = ["VENUES", "Stream", "Venue", "get_venue"]


def get_venue(name: str) -> Venue:
    """The venue of this name. Raises UsageError for an unknown one."""
    try:
        return VENUES[name]
    except KeyError:
        raise UsageError(f"venue {name!r}: expected one of {', '.join(VENUES)}") from None
