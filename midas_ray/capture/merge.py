"""Two connections, one journal: which frame is new, and in what order the depth events of both are kept. No I/O.

The first arrival of a frame is kept, the equal one of the other connection counted. A depth event that does not
continue the chain is held until the other connections have gone past what is missing before it, at most `HOLD_S`: what
one of them missed the other brings, and there is a gap only where all did.
"""

from collections.abc import Callable
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


class Duplicates:
    """Frames of the last quarter or half of a minute, by the 128-bit XXH3 digest of their payload.

    An entry is a string, the connections that brought the frame: hundreds of thousands of small objects would make the
    interpreter's garbage collection stop the collector for tenths of a second.
    """

    def __init__(self) -> None:
        self._young: dict[bytes, str] = {}
        self._old: dict[bytes, str] = {}
        self._turn_s = 0.0

    def first(self, conn: str, payload: bytes, now_s: float) -> tuple[bytes, bool]:
        """(digest of the payload, whether the frame is new).

        A frame that one connection brings twice is new twice; the other connection's are then known both.
        """
        if now_s >= self._turn_s:
            self._old, self._young, self._turn_s = self._young, {}, now_s + REMEMBER_S
        digest = xxhash.xxh3_128_digest(payload)
        before = self._young.get(digest) or self._old.get(digest)
        if before is None:
            self._young[digest] = conn
            return digest, True
        self._young[digest] = f"{before} {conn}"
        names = before.split()
        return digest, names.count(conn) >= max(map(names.count, names))

    def brought_by(self, digest: bytes) -> set[str]:
        """The connections that brought a frame."""
        return set((self._young.get(digest) or self._old.get(digest) or "").split())


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
    digest: bytes
    since_s: float
    passed_s: float | None = None


@dataclass(slots=True)
class Reach:
    """What one connection has brought without a break: every event after id `since`, as far as it goes, to `last`."""

    since: int
    last: int


@dataclass(slots=True)
class Witnesses:
    """Which connections were there, and what that says of a hole in the ids. connections: how many when all is well."""

    connections: int
    reaches: dict[str, Reach | None] = field(default_factory=dict)
    blamed: GapCause | None = None

    def came(self, conn: str) -> None:
        """A connection is up; it has brought nothing so far."""
        self.reaches.setdefault(conn, None)

    def saw(self, conn: str, ids: Ids) -> None:
        """A connection brought an event, be it new or not."""
        reach = self.reaches.get(conn)
        if reach is None:
            self.reaches[conn] = Reach(ids.previous, ids.last)
        else:
            reach.last = max(reach.last, ids.last)

    def lost(self, conn: str) -> None:
        """A connection ended: nothing more comes from it."""
        self.reaches.pop(conn, None)
        if not any(self.reaches.values()):
            self.blamed = "network"

    def all_passed(self, last_id: int) -> bool:
        """Whether no connection can bring anything up to this id any more."""
        return all(reach is not None and reach.last >= last_id for reach in self.reaches.values())

    def cause(self, before: int, after: set[str]) -> GapCause:
        """Of a hole behind id `before`; `after`: the connections that brought the event after it. The venue's, where as
        many connections as there should be brought what is on both sides."""
        if self.blamed is not None:
            return self.blamed
        reaches = [self.reaches.get(conn) for conn in after]
        agree = sum(reach is not None and reach.since <= before for reach in reaches)
        return "venue" if agree >= self.connections else "both-missed"


class DepthMerge(Generic[T]):
    """Puts the depth events of one symbol's connections into the order in which the book takes them.

    connections: how many carry the stream when all is well. brought_by: the connections that brought a frame, by its
    digest. Times are of one monotonic clock, seconds.
    """

    def __init__(self, connections: int, brought_by: Callable[[bytes], set[str]]) -> None:
        self._brought_by = brought_by
        self.last_id: int | None = None
        self.witnesses = Witnesses(connections)
        self._held: list[_Held[T]] = []

    def offer(self, conn: str, ids: Ids, item: T, digest: bytes, now_s: float) -> list[Released[T]]:
        """A new event of a connection; gives what is to be kept now, in order."""
        self.witnesses.saw(conn, ids)
        if self.last_id is None or ids.previous <= self.last_id:
            return [*self._pass(ids, item), *self._released(None)]
        self._held.append(_Held(ids, item, digest, now_s))
        self._held.sort(key=lambda held: held.ids)
        self._note_passed(now_s)
        return self._released(None)

    def again(self, conn: str, ids: Ids, now_s: float) -> list[Released[T]]:
        """A connection brought an event that another had brought."""
        self.witnesses.saw(conn, ids)
        self._note_passed(now_s)
        return self._released(None)

    def lost(self, conn: str, now_s: float) -> None:
        """A connection ended: nothing more comes from it."""
        self.witnesses.lost(conn)
        self._note_passed(now_s)

    def came(self, conn: str) -> None:
        """A connection came up."""
        self.witnesses.came(conn)

    def blame(self, cause: GapCause) -> None:
        """What is missing before the next event is of this cause, whatever the connections show."""
        self.witnesses.blamed = cause

    def forget(self) -> None:
        """What comes next begins a new chain."""
        self.last_id = None

    def due(self, now_s: float) -> list[Released[T]]:
        """What is to be kept by now, gap or not. Call it when all that has arrived was offered, not before."""
        return self._released(now_s)

    def _released(self, now_s: float | None) -> list[Released[T]]:
        """What continues the chain; with a time, also what has waited long enough for what is missing before it."""
        released: list[Released[T]] = []
        while self._held:
            earliest = self._held[0]
            continues = self.last_id is None or earliest.ids.previous <= self.last_id
            waits = now_s is None or now_s < self._deadline_s(earliest)
            if not continues and waits and len(self._held) <= MOST_HELD:
                break
            del self._held[0]
            cause = None
            if not continues and self.last_id is not None:
                cause = self.witnesses.cause(self.last_id, self._brought_by(earliest.digest))
                self.last_id = None
            released += self._pass(earliest.ids, earliest.item, cause)
        return released

    def rest(self) -> list[Released[T]]:
        """Nothing more comes: everything that is held."""
        return self._released(float("inf"))

    @property
    def next_due_s(self) -> float | None:
        """When `due` is to be called; None while nothing is held."""
        return self._deadline_s(self._held[0]) if self._held else None

    def _note_passed(self, now_s: float) -> None:
        for held in self._held:
            if held.passed_s is None and self.witnesses.all_passed(held.ids.previous):
                held.passed_s = now_s

    def _pass(self, ids: Ids, item: T, cause: GapCause | None = None) -> list[Released[T]]:
        if self.last_id is None or ids.last > self.last_id:
            self.last_id = ids.last
            self.witnesses.blamed = None  # the chain goes on from here
        return [Released(item, cause)]

    def _deadline_s(self, held: _Held[T]) -> float:
        if held.passed_s is None or not self.witnesses.all_passed(held.ids.previous):
            return held.since_s + HOLD_S
        return held.passed_s + REORDER_S


class Jump(NamedTuple):
    """Prints that no connection brought. at_ns: receive time of the print that shows it."""

    at_ns: int
    cause: GapCause


@dataclass(slots=True)
class _Hole:
    before: int
    first: int
    last: int
    left: int
    digest: bytes
    at_ns: int
    since_s: float
    passed_s: float | None = None


class TradeChain:
    """Watches the ids of one symbol's prints, which are dense: whose doing is it that some never come?

    Prints are kept in order of arrival, none is held. Arguments as of DepthMerge.
    """

    def __init__(self, connections: int, brought_by: Callable[[bytes], set[str]]) -> None:
        self._brought_by = brought_by
        self.witnesses = Witnesses(connections)
        self._last_id: int | None = None
        self._holes: list[_Hole] = []

    def offer(self, conn: str, trade_id: int, digest: bytes, recv_ns: int, now_s: float) -> None:
        """A new print of a connection."""
        self.again(conn, trade_id, now_s)
        last = self._last_id
        if last is not None and trade_id <= last:
            self._fill(trade_id)
            return
        if last is not None and trade_id > last + 1:
            missing = trade_id - 1 - last
            self._holes.append(_Hole(last, last + 1, trade_id - 1, missing, digest, recv_ns, now_s))
            self._note_passed(now_s)
        elif not self._holes:
            self.witnesses.blamed = None  # the ids go on
        self._last_id = trade_id

    def again(self, conn: str, trade_id: int, now_s: float) -> None:
        """A connection brought a print that another had brought."""
        self.witnesses.saw(conn, Ids(trade_id, trade_id, trade_id - 1))
        self._note_passed(now_s)

    def lost(self, conn: str, now_s: float) -> None:
        """A connection ended: nothing more comes from it."""
        self.witnesses.lost(conn)
        self._note_passed(now_s)

    def due(self, now_s: float) -> list[Jump]:
        """Holes that nobody fills any more. Call it when all that has arrived was offered, not before."""
        found = []
        for hole in list(self._holes):
            if now_s >= self._deadline_s(hole):
                self._holes.remove(hole)
                found.append(Jump(hole.at_ns, self.witnesses.cause(hole.before, self._brought_by(hole.digest))))
        if found and not self._holes:
            self.witnesses.blamed = None
        return found

    @property
    def next_due_s(self) -> float | None:
        """When `due` is to be called; None while no id is missing."""
        return min(map(self._deadline_s, self._holes), default=None)

    def _deadline_s(self, hole: _Hole) -> float:
        if hole.passed_s is None or not self.witnesses.all_passed(hole.last):
            return hole.since_s + HOLD_S
        return hole.passed_s + REORDER_S

    def _note_passed(self, now_s: float) -> None:
        for hole in self._holes:
            if hole.passed_s is None and self.witnesses.all_passed(hole.last):
                hole.passed_s = now_s

    def _fill(self, trade_id: int) -> None:
        for hole in self._holes:
            if hole.first <= trade_id <= hole.last:
                hole.left -= 1
        self._holes = [hole for hole in self._holes if hole.left > 0]
