"""Two connections, one journal: which frame is new, and in what order the depth events of both are kept. No I/O.

The first arrival of a frame is kept, the equal one of the other connection counted. A depth event that does not
continue the chain is held until the other connections have gone past what is missing before it, at most `HOLD_S`: what
one of them missed the other brings, and there is a gap only where all did.
"""

from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import xxhash

from midas_ray.book.sync import GapCause

REMEMBER_S = 15.0
"""How far the connections may be apart for a frame of the slower one to be known again."""
HOLD_S = 1.0
"""How long an event waits for what is missing before it while a connection may still bring that."""
REORDER_S = 0.1
"""How long it waits where every connection has gone past: frames may have changed places."""
MOST_HELD = 4096

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Kept:
    """A frame that was kept: the connections that brought it, as often as they did, and the ids of a depth event."""

    brought_by: list[str]
    stored: int = 1
    ids: "Ids | None" = None


class Duplicates:
    """Frames of the last quarter or half of a minute, by the 128-bit XXH3 digest of their payload."""

    def __init__(self) -> None:
        self._young: dict[bytes, Kept] = {}
        self._old: dict[bytes, Kept] = {}
        self._turn_s = 0.0

    def first(self, conn: str, payload: bytes, now_s: float) -> tuple[Kept, bool]:
        """(entry of the payload, whether the frame is new).

        A frame that one connection brings twice is new twice; the other connection's are then known both.
        """
        if now_s >= self._turn_s:
            self._old, self._young, self._turn_s = self._young, {}, now_s + REMEMBER_S
        digest = xxhash.xxh3_128_digest(payload)
        entry = self._young.get(digest) or self._old.get(digest)
        if entry is None:
            entry = self._young[digest] = Kept([conn])
            return entry, True
        entry.brought_by.append(conn)
        times = entry.brought_by.count(conn)
        if times <= entry.stored:
            return entry, False
        entry.stored = times
        return entry, True


class Ids(NamedTuple):
    """The ids of a depth event: first and last it covers, and the last before it (`U`, `u`, `pu`)."""

    first: int
    last: int
    previous: int


class Released(NamedTuple, Generic[T]):
    """An item to keep now. missed: whose doing it is that events are missing right before it; None where none are."""

    item: T
    missed: GapCause | None = None


@dataclass(slots=True)
class _Held(Generic[T]):
    ids: Ids
    item: T
    kept: Kept
    since_s: float


@dataclass(slots=True)
class _Reach:
    """What one connection has brought without a break: every event after id `since`, as far as it goes, to `last`."""

    since: int
    last: int


@dataclass(slots=True)
class DepthMerge(Generic[T]):
    """Puts the depth events of one symbol's connections into the order in which the book takes them.

    connections: how many carry the stream when all is well. Times are of one monotonic clock, seconds.
    """

    connections: int
    last_id: int | None = None
    _held: list[_Held[T]] = field(default_factory=list)
    _reached: dict[str, _Reach] = field(default_factory=dict)
    _cause: GapCause | None = None

    def offer(self, conn: str, ids: Ids, item: T, kept: Kept, now_s: float) -> list[Released[T]]:
        """A new event of a connection; gives what is to be kept now, in order."""
        kept.ids = ids
        self._reach(conn, ids)
        if self.last_id is None or ids.previous <= self.last_id:
            return [*self._pass(ids, item), *self.due(now_s)]
        self._held.append(_Held(ids, item, kept, now_s))
        self._held.sort(key=lambda held: held.ids)
        return self.due(now_s)

    def again(self, conn: str, kept: Kept, now_s: float) -> list[Released[T]]:
        """A connection brought an event that another had brought."""
        if kept.ids is not None:
            self._reach(conn, kept.ids)
        return self.due(now_s) if self._held else []

    def lost(self, conn: str, now_s: float) -> list[Released[T]]:
        """A connection ended: nothing more comes from it."""
        self._reached.pop(conn, None)
        if not self._reached:
            self.blame("network")
        return self.due(now_s)

    def blame(self, cause: GapCause) -> None:
        """What is missing before the next event is of this cause, whatever the connections show."""
        self._cause = cause

    def forget(self) -> None:
        """What comes next begins a new chain."""
        self.last_id = None

    def due(self, now_s: float) -> list[Released[T]]:
        """What is to be kept by now."""
        released: list[Released[T]] = []
        while self._held:
            earliest = self._held[0]
            continues = self.last_id is None or earliest.ids.previous <= self.last_id
            if not continues and now_s < self._deadline_s(earliest) and len(self._held) <= MOST_HELD:
                break
            del self._held[0]
            if continues:
                released += self._pass(earliest.ids, earliest.item)
            else:
                cause = self._cause_of(earliest)
                released.append(Released(earliest.item, cause))
                self.last_id, self._cause = earliest.ids.last, None
        return released

    def rest(self) -> list[Released[T]]:
        """Nothing more comes: everything that is held."""
        return self.due(float("inf"))

    @property
    def next_due_s(self) -> float | None:
        """When `due` has to be called at the latest; None while nothing is held."""
        return self._deadline_s(self._held[0]) if self._held else None

    def _pass(self, ids: Ids, item: T) -> list[Released[T]]:
        if self.last_id is None or ids.last > self.last_id:
            self.last_id = ids.last
            self._cause = None  # the chain went on over whatever happened
        return [Released(item)]

    def _deadline_s(self, held: _Held[T]) -> float:
        passed = all(reach.last >= held.ids.previous for reach in self._reached.values())
        return held.since_s + (REORDER_S if passed else HOLD_S)

    def _cause_of(self, held: _Held[T]) -> GapCause:
        """The venue's, where as many connections as there should be brought what is on both sides of the hole."""
        if self._cause is not None or self.last_id is None:
            return self._cause or "venue"
        witnesses = [self._reached.get(conn) for conn in set(held.kept.brought_by)]
        agree = sum(reach is not None and reach.since <= self.last_id for reach in witnesses)
        return "venue" if agree >= self.connections else "both-missed"

    def _reach(self, conn: str, ids: Ids) -> None:
        reach = self._reached.get(conn)
        if reach is None:
            self._reached[conn] = _Reach(ids.previous, ids.last)
        else:
            reach.last = max(reach.last, ids.last)
