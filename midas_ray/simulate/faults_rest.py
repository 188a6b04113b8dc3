"""What faults do to REST: refusals as the venue words them, depth snapshots at the moments that are hard. No I/O."""

from collections import deque
from dataclasses import replace

from midas_ray.simulate.faults import Kind
from midas_ray.simulate.faults_director import Active, Director
from midas_ray.simulate.market import BookSnapshot, Market
from midas_ray.simulate.rest import Answer, error_body

MOST_LEVELS = 5000
AT_BOUNDARY = (Kind.SNAPSHOT_AT_U, Kind.SNAPSHOT_AT_PU, Kind.SNAPSHOT_BETWEEN)
_PAGES = {403: "403 Forbidden", 503: "503 Service Temporarily Unavailable", 502: "502 Bad Gateway"}


def refusal(status: int, now_ms: int, left_s: float) -> Answer:
    """The answer to a request that is refused for `left_s` more seconds."""
    retry = {"Retry-After": str(max(1, round(left_s)))}
    if status == 418:
        until_ms = now_ms + round(left_s * 1000)
        text = (
            f"Way too many requests; IP(127.0.0.1) banned until {until_ms}. "
            "Please use the websocket for live updates to avoid bans."
        )
        return Answer(status, error_body(-1003, text), retry)
    if status == 429:
        text = "Too many requests; please use the websocket for live updates to avoid polling the API."
        return Answer(status, error_body(-1003, text), retry)
    if status == 451:
        return Answer(status, error_body(0, "Service unavailable from a restricted location."))
    page = _PAGES.get(status, str(status))
    return Answer(status, f"<html><head><title>{page}</title></head><body><h1>{page}</h1></body></html>")


class SnapshotFaults:
    """Keeps books of the past moments that faults on snapshots need.

    A boundary is the moment of a depth@100ms flush: an event has just ended, the next one has not begun.
    """

    def __init__(self, director: Director) -> None:
        self._director = director
        self._boundaries: dict[str, deque[tuple[BookSnapshot, int]]] = {}
        self._anchors: dict[str, int] = {}
        self._stale: dict[str, BookSnapshot] = {}

    def wants_boundaries(self, symbol: str) -> bool:
        """Whether the market must be stopped at each flush."""
        if self._director.on_symbol(symbol, *AT_BOUNDARY) is not None:
            return True
        self._boundaries.pop(symbol, None)
        self._anchors.pop(symbol, None)
        return False

    def at_boundary(self, symbol: str, market: Market) -> None:
        """Keep the book: the market stands at a flush."""
        book = market.snapshot(MOST_LEVELS)
        between_id = market.snapshot(1, 0.5).last_update_id
        self._boundaries.setdefault(symbol, deque(maxlen=100)).append((book, between_id))

    def has_boundary(self, symbol: str) -> bool:
        """Whether a flush has been met since the fault began."""
        return symbol in self._boundaries

    def first_event(self, symbol: str, previous_id: int) -> None:
        """An event with this `pu` is the first of a new connection; the first connection counts."""
        self._anchors.setdefault(symbol, previous_id)

    def lost(self, symbol: str, last_id: int) -> None:
        """The event up to this id is lost: the next has it as `pu`, and is the first after the loss."""
        self._anchors[symbol] = last_id

    def started(self, active: Active, market: Market) -> None:
        """A fault has started."""
        if active.fault.kind is Kind.STALE_SNAPSHOT and active.symbol is not None:
            self._stale[active.symbol] = market.snapshot(MOST_LEVELS)

    def book(self, symbol: str, limit: int) -> BookSnapshot | None:
        """The book to answer with, where a fault says which."""
        found = None
        for active in self._director.of(*AT_BOUNDARY, Kind.STALE_SNAPSHOT):
            if active.symbol == symbol:
                found = (
                    self._stale[symbol] if active.fault.kind is Kind.STALE_SNAPSHOT else self._chosen(active, symbol)
                )
            if found is not None:
                self._director.note(active, "hit", id=found.last_update_id)
                return replace(found, bids=found.bids[:limit], asks=found.asks[:limit])
        return None

    def _chosen(self, active: Active, symbol: str) -> BookSnapshot | None:
        """A kept book with the id that the fault asks for; None while there is none."""
        kept = self._boundaries.get(symbol)
        if not kept:
            return None
        if active.fault.kind is Kind.SNAPSHOT_BETWEEN:
            between = [(book, share_id) for book, share_id in kept if share_id > book.last_update_id]
            return replace(between[-1][0], last_update_id=between[-1][1]) if between else None
        if active.fault.kind is Kind.SNAPSHOT_AT_PU:
            anchor = self._anchors.get(symbol)
            return next((book for book, _ in kept if book.last_update_id == anchor), kept[-1][0])
        return kept[-1][0]
