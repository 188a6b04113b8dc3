"""The faults of a running exchange: a script, its director, and what they do to feeds, handshakes and requests."""

import asyncio
from collections.abc import Callable, Collection, Mapping

import msgspec
from aiohttp import WSCloseCode, web

from midas_ray.simulate.connection import Connection
from midas_ray.simulate.faults import FaultScript, Kind
from midas_ray.simulate.faults_director import Active, Director
from midas_ray.simulate.faults_log import FaultLog
from midas_ray.simulate.faults_rest import AT_BOUNDARY, SnapshotFaults, refusal
from midas_ray.simulate.feed import OWN, Frame, SymbolFeed
from midas_ray.simulate.market import BookSnapshot
from midas_ray.simulate.rest import Answer

BOUNDARY_WAIT_S = 1.0
"""How long a snapshot request waits for the moment that a fault asks for."""
_CONTRACT = '{{"e":"contractInfo","E":{ms},"s":"{name}","ps":"{name}","ct":"PERPETUAL","cs":"{status}","st":1}}'


class Faults:
    """What the server asks at each point where something may go wrong. Times are seconds since its start."""

    def __init__(
        self,
        script: FaultScript,
        feeds: Mapping[str, SymbolFeed],
        log: FaultLog,
        carried: Callable[[Connection], Collection[str]],
        now_ms: Callable[[], int],
        settled_s: float,
    ) -> None:
        self.director = Director(script, list(feeds), log, carried, settled_s)
        self._snapshots = SnapshotFaults(self.director)
        self._feeds = feeds
        self._carried = carried
        self._now_ms = now_ms
        self._now_s = 0.0
        self._notices: list[str] = []
        self._fresh: set[tuple[int, str]] = set()

    def advance(self, now_s: float, connections: Collection[Connection]) -> None:
        """End and start faults."""
        self._now_s = now_s
        for active in self.director.advance(now_s, connections):
            self._started(active)
        for feed in self._feeds.values():
            feed.clock_offset_ms = 0 if feed.wire.spot else self.clock_offset_ms()

    def _started(self, active: Active) -> None:
        symbol = active.symbol
        if symbol is not None:
            self._snapshots.started(active, self._feeds[symbol].market)
        match active.fault.kind:
            case Kind.OVERLAP:
                for connection in active.connections:
                    self._give_own_windows(connection)
            case Kind.SERVER_SHUTDOWN:
                for connection in active.connections:
                    connection.announce("!serverShutdown", f'{{"e":"serverShutdown","E":{self._now_ms()}}}')
            case Kind.DELIST | Kind.CONTRACT_CHANGE if symbol is not None:
                status = "SETTLING" if active.fault.kind is Kind.DELIST else "TRADING"
                self._notices.append(_CONTRACT.format(ms=self._now_ms(), name=symbol.upper(), status=status))

    def _give_own_windows(self, connection: Connection) -> None:
        for name in self._carried(connection):
            symbol, _, stream = name.partition("@")
            if stream.startswith("depth") and name not in connection.windows:
                feed = self._feeds[symbol]
                share = 0.1 + connection.number * 0.37 % 0.8
                connection.windows[name] = feed.own_windows(stream, str(connection.number), share)

    def admit(self) -> web.Response | None:
        """The refusal that a handshake meets; None = it is accepted (and perhaps closed at once)."""
        active = self.director.admission()
        if active is None or active.fault.kind is not Kind.HANDSHAKE_REFUSED:
            return None
        self.director.note(active, "hit")
        answer = refusal(active.fault.status, self._now_ms(), max(active.until_s - self._now_s, 0.0))
        return web.Response(text=answer.body, status=answer.status, headers=answer.headers)

    def accepted(self, connection: Connection) -> None:
        """A connection has come."""
        active = self.director.admission()
        if active is not None and active.fault.kind is Kind.ACCEPT_CLOSE:
            self.director.note(active, "hit", connections=[connection.number])
            connection.close(WSCloseCode.GOING_AWAY, "")
            return
        self.director.accepted(connection)
        for each in self.director.of(Kind.SNAPSHOT_AT_PU):
            if each.symbol is not None:
                self._fresh.add((connection.number, each.symbol))

    def ended(self, connection: Connection) -> None:
        """A connection has gone."""
        for name, own in connection.windows.items():
            self._feeds[name.partition("@")[0]].end_windows(own)

    def delisted(self) -> set[str]:
        """Symbols (upper case) whose end has come."""
        return {each.symbol.upper() for each in self.director.active if each.fault.kind is Kind.DELIST and each.symbol}

    def finer(self) -> set[str]:
        """Symbols (upper case) whose tick and lot are shown smaller."""
        return {each.symbol.upper() for each in self.director.of(Kind.CONTRACT_CHANGE) if each.symbol}

    def take_notices(self) -> list[str]:
        """Events of `!contractInfo` since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def stands_still(self, symbol: str) -> bool:
        """Whether a burst is being held back."""
        return self.director.on_symbol(symbol, Kind.BURST) is not None

    def clock_offset_ms(self) -> int:
        """How far the reported clock is off."""
        return sum(each.fault.offset_ms for each in self.director.of(Kind.CLOCK_STEP))

    def wants_boundaries(self, symbol: str) -> bool:
        """Whether the market must be stopped at each flush."""
        return self._snapshots.wants_boundaries(symbol)

    def at_boundary(self, symbol: str) -> None:
        """The market of `symbol` stands at a flush."""
        self._snapshots.at_boundary(symbol, self._feeds[symbol].market)

    def book(self, symbol: str, limit: int) -> BookSnapshot | None:
        """The book that a fault wants REST to answer with."""
        return self._snapshots.book(symbol, limit)

    def loses(self, symbol: str, frame: Frame) -> bool:
        """Whether the exchange leaves an event out; it is logged with its ids."""
        stream = frame.stream.partition(OWN)[0]
        active = self.director.withheld(symbol, stream)
        if active is not None:
            event = msgspec.json.decode(frame.payload)
            ids = {key: event[key] for key in ("U", "u", "pu", "t", "T", "E") if key in event}
            self.director.note(active, "lost", symbol=symbol, stream=frame.stream, **ids)
            if "u" in event:
                self._snapshots.lost(symbol, event["u"])
        return active is not None

    def offered(self, symbol: str, frame: Frame, connection: Connection) -> None:
        """An event has been handed to a connection."""
        if (connection.number, symbol) in self._fresh and frame.stream.startswith("depth"):
            self._fresh.discard((connection.number, symbol))
            event = msgspec.json.decode(frame.payload)
            self._snapshots.first_event(symbol, event.get("pu", event["U"] - 1))

    async def meet_request(self, path: str, query: Mapping[str, str]) -> Answer | None:
        """The refusal of a request; None = it is answered. Waits where a fault makes it wait for its answer."""
        for active in self.director.of(Kind.REST_REFUSED, Kind.REST_TIMEOUT):
            self.director.note(active, "hit", path=path)
            left_s = max(active.until_s - self._now_s, 0.0)
            if active.fault.kind is Kind.REST_REFUSED:
                return refusal(active.fault.status, self._now_ms(), left_s)
            await asyncio.sleep(left_s)
            return refusal(504, self._now_ms(), 0.0)
        symbol = query.get("symbol", "").lower()
        if path.endswith("/depth") and self.director.on_symbol(symbol, *AT_BOUNDARY) is not None:
            until_s = self._now_s + BOUNDARY_WAIT_S
            while self._now_s < until_s and not self._snapshots.has_boundary(symbol):
                await asyncio.sleep(0.01)
        return None

    async def delay_answer(self, path: str, query: Mapping[str, str]) -> None:
        """Hold a snapshot back that a fault makes slow."""
        active = self.director.on_symbol(query.get("symbol", "").lower(), Kind.SLOW_SNAPSHOT)
        if path.endswith("/depth") and active is not None:
            self.director.note(active, "hit", path=path)
            await asyncio.sleep(active.fault.delay_s)
