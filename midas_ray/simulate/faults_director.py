"""Carries a fault script out: which faults are on now, on which connections, and what the server does for them."""

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from aiohttp import WSCloseCode

from midas_ray.simulate.connection import Connection
from midas_ray.simulate.faults import ON_CONNECTION, PATIENCE_S, SNAPSHOTS, Fault, FaultScript, Kind
from midas_ray.simulate.faults_frames import Disturbance
from midas_ray.simulate.faults_log import FaultLog

SETTLED_S = 2.0
"""How long nothing must have been wrong with a connection before a fault may lean on it."""
HEIR_S = 30.0
"""How long a fault waits for the connection that replaces a cut one, and at most how long that one is then silent."""
MEETING_S = 10.0
"""How long a fault that waits for a request or a handshake goes on after its window while none has met it."""
PROVOKED_GAP_S = 0.25
CONTINUOUS = ("depth", "trade", "aggTrade", "bookTicker", "markPrice", "kline")
"""Streams whose silence a client can notice."""
_CUTS = frozenset({Kind.CUT, Kind.ACK_WITHOUT_DATA, Kind.WRONG_ROUTE, Kind.ACCEPT_CLOSE, Kind.HANDSHAKE_REFUSED})
_ON_FRAMES = frozenset(
    {Kind.DROP, Kind.DUPLICATE, Kind.REORDER, Kind.MALFORMED, Kind.TRUNCATED, Kind.SILENT, Kind.WRONG_ROUTE}
    | {Kind.ACK_WITHOUT_DATA}
)
_ON_SYMBOL = SNAPSHOTS | {Kind.VENUE_GAP, Kind.DELIST, Kind.CONTRACT_CHANGE}
_ON_HEIRS = frozenset({Kind.ACK_WITHOUT_DATA, Kind.WRONG_ROUTE})


@dataclass(slots=True)
class Active:
    """A fault that is on: its end, what it took, the routes of connections yet to come that are its (`heirs`).

    lost: events. hits: requests, handshakes or connections that met it. gap_until_s: how long events are left out.
    """

    index: int
    fault: Fault
    until_s: float
    symbol: str | None
    stream: str | None
    connections: list[Connection] = field(default_factory=list)
    disturbances: list[tuple[Connection, Disturbance]] = field(default_factory=list)
    heirs: list[str] = field(default_factory=list)
    lost: int = 0
    hits: int = 0
    gap_until_s: float = 0.0


class Director:
    """Consults a script. Times are seconds since the exchange's start.

    carried: the names of the streams that a connection is sent. settled_s: see SETTLED_S.
    """

    def __init__(
        self,
        script: FaultScript,
        symbols: Sequence[str],
        log: FaultLog,
        carried: Callable[[Connection], Collection[str]],
        settled_s: float = SETTLED_S,
    ) -> None:
        self.log = log
        self.active: list[Active] = []
        self._symbols = symbols
        self._carried = carried
        self._settled_s = settled_s
        self._random = random.Random(f"{script.seed}:director")
        self._waiting = list(enumerate(script.faults))
        self._connections: Collection[Connection] = ()
        self._now_s = 0.0

    @property
    def done(self) -> bool:
        """Whether nothing is to come, and what is on is final."""
        return not self._waiting and all(_is_final(each) for each in self.active)

    def advance(self, now_s: float, connections: Collection[Connection]) -> list[Active]:
        """End what is over, start what is due and can be; gives what has started."""
        self._now_s, self._connections = now_s, connections
        for active in [each for each in self.active if self._is_over(each, now_s)]:
            self._end(active)
        started = []
        for index, fault in list(self._waiting):
            if fault.at_s > now_s:
                break
            begun = self._start(index, fault, now_s)
            if begun is not None:
                started.append(begun)
                self._waiting.remove((index, fault))
            elif now_s - fault.at_s > PATIENCE_S:
                self.log.add(index, fault.kind, "skipped")
                self._waiting.remove((index, fault))
        return started

    def of(self, *kinds: Kind) -> Iterable[Active]:
        """Faults of these kinds that are on."""
        return [each for each in self.active if each.fault.kind in kinds]

    def on_symbol(self, symbol: str, *kinds: Kind) -> Active | None:
        """A fault of these kinds that is on for a symbol."""
        return next((each for each in self.of(*kinds) if each.symbol in (None, symbol)), None)

    def withheld(self, symbol: str, stream: str) -> Active | None:
        """The venue gap that an event of `symbol`@`stream` falls into: each lasts until it has cost an event."""
        for active in self.active:
            if not active.gap_until_s or (active.symbol, active.stream) != (symbol, _word(stream)):
                continue
            if self._now_s < active.gap_until_s or not active.lost:
                return active
        return None

    def note(self, active: Active, action: str, **fields: object) -> None:
        """Add to the log; `hit` and `lost` are counted."""
        active.lost += action == "lost"
        active.hits += action == "hit"
        self.log.add(active.index, active.fault.kind, action, **fields)

    def admission(self) -> Active | None:
        """The fault that a handshake meets now."""
        kinds = (Kind.HANDSHAKE_REFUSED, Kind.ACCEPT_CLOSE)
        return next((each for each in self.active if each.fault.kind in kinds), None)

    def accepted(self, connection: Connection) -> None:
        """A new connection: the heir of one that a fault has cut, or under a fault on all."""
        for active in self.active:
            kind = active.fault.kind
            everywhere = active.fault.connection == "all" and self._now_s < active.until_s
            if kind in _ON_HEIRS and connection.route in active.heirs and not everywhere:
                active.heirs.remove(connection.route)
                self._disturb(active, connection)
                active.until_s = self._now_s + HEIR_S
                self.note(active, "hit", connections=[connection.number])
                return
            if kind in _ON_FRAMES and everywhere:
                self._disturb(active, connection)

    def _is_over(self, active: Active, now_s: float) -> bool:
        if _is_final(active):
            return False
        kind = active.fault.kind
        if active.fault.provoke or kind in (Kind.VENUE_GAP, Kind.HANDSHAKE_REFUSED, Kind.ACCEPT_CLOSE):
            met = active.lost if kind is Kind.VENUE_GAP else active.hits
            return now_s >= active.until_s and (met > 0 or now_s >= active.until_s + MEETING_S)
        if kind in _ON_HEIRS and active.fault.connection == "one" and not active.heirs:
            gone = all(connection not in self._connections for connection, _ in active.disturbances)
            return gone or now_s >= active.until_s
        return now_s >= active.until_s

    def _start(self, index: int, fault: Fault, now_s: float) -> Active | None:
        active = Active(index, fault, now_s + fault.duration_s, fault.symbol, fault.stream)
        if fault.kind in ON_CONNECTION:
            chosen = self._everyone(fault) if fault.connection == "all" else self._one(fault)
            if not chosen:
                return None
            active.connections = chosen
        else:
            if active.symbol is None and (fault.kind in _ON_SYMBOL or fault.provoke):
                active.symbol = self._random.choice(self._symbols)
            if fault.kind is Kind.VENUE_GAP or fault.provoke:
                active.stream = (fault.stream or "depth") if fault.kind is Kind.VENUE_GAP else "depth"
                active.gap_until_s = active.until_s if fault.kind is Kind.VENUE_GAP else now_s + PROVOKED_GAP_S
                if not any(self._takes(active)(name) for each in self._connections for name in self._carried(each)):
                    return None
        if fault.kind in (Kind.SILENT, Kind.WRONG_ROUTE) and active.stream is None:
            active.stream = self._continuous(active.connections[0])
        if fault.kind in _ON_HEIRS and fault.connection == "one":
            active.until_s = now_s + HEIR_S
        self.active.append(active)
        numbers = [connection.number for connection in active.connections]
        self.note(active, "start", connections=numbers, symbol=active.symbol, stream=active.stream)
        for connection in active.connections:
            self._hit(active, connection)
        return active

    def _hit(self, active: Active, connection: Connection) -> None:
        kind = active.fault.kind
        if kind in _ON_HEIRS:
            active.heirs.append(connection.route)
        if kind in _CUTS:
            if self._random.random() < 0.5:
                connection.abort()
            else:
                connection.close(WSCloseCode.GOING_AWAY, "")
        elif kind is Kind.HALF_OPEN:
            connection.freeze()
        elif kind is Kind.SERVER_SHUTDOWN:
            connection.leaving = True
        elif kind in _ON_FRAMES:
            self._disturb(active, connection)

    def _disturb(self, active: Active, connection: Connection) -> None:
        seed = f"{active.index}:{len(active.disturbances)}:{self._random.random()}"
        disturbance = Disturbance(active.fault, self._takes(active), seed)
        active.disturbances.append((connection, disturbance))
        connection.disturb(disturbance)

    def _end(self, active: Active) -> None:
        self.active.remove(active)
        for connection, disturbance in active.disturbances:
            connection.calm(disturbance)
        if active.fault.kind is Kind.HALF_OPEN:
            for connection in active.connections:
                connection.abort()
        elif active.fault.kind is Kind.SERVER_SHUTDOWN:
            for connection in active.connections:
                connection.close(WSCloseCode.GOING_AWAY, "server shutdown")
        self.note(active, "end", frames=sum(disturbance.taken for _, disturbance in active.disturbances))

    def _takes(self, active: Active) -> Callable[[str], bool]:
        symbol, stream = active.symbol, active.stream

        def takes(name: str) -> bool:
            of_symbol, _, word = name.partition("@")
            return symbol in (None, of_symbol) and stream in (None, _word(word))

        return takes

    def _everyone(self, fault: Fault) -> list[Connection]:
        return sorted(
            (each for each in self._connections if not each.leaving and self._wanted(fault, each)),
            key=lambda connection: connection.number,
        )

    def _wanted(self, fault: Fault, connection: Connection) -> bool:
        """Whether a connection carries what the fault is about."""
        return any(
            fault.symbol in (None, name.partition("@")[0])
            and fault.stream in (None, _word(name.partition("@")[2]))
            and (fault.kind is not Kind.OVERLAP or "@depth" in name)
            for name in self._carried(connection)
        )

    def _one(self, fault: Fault) -> list[Connection]:
        """A connection that can be spared, as a list; none where there is no such."""
        sound = {each: set(self._carried(each)) for each in self._connections if each.is_sound(self._settled_s)}
        spare = []
        for each, names in sound.items():
            others: set[str] = set().union(*(theirs for other, theirs in sound.items() if other is not each))
            if names <= others and self._wanted(fault, each):
                spare.append(each)
        spare.sort(key=lambda connection: connection.number)
        return [self._random.choice(spare)] if spare else []

    def _continuous(self, connection: Connection) -> str:
        words = {_word(name.partition("@")[2]) for name in self._carried(connection)}
        return self._random.choice([word for word in CONTINUOUS if word in words] or sorted(words))


def _is_final(active: Active) -> bool:
    return active.fault.kind is Kind.DELIST and active.fault.duration_s == 0


def _word(stream: str) -> str:
    """`depth` of `depth@100ms`, `kline` of `kline_1m`."""
    return stream.partition("@")[0].partition("_")[0]
