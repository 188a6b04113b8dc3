"""Is every stream alive? Watched per stream and connection, not per connection: one live stream masks no dead one.

Three kinds of evidence that a stream is silent where it should speak:
- a steady stream (depth, mark price, best prices) has a cadence, learnt from what it does;
- another connection brings the same stream;
- for streams that speak of trades: something else shows that there are some (other prints, the exchange's REST).
No I/O. A subscription's ack proves nothing: it also comes for streams that do not exist.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from midas_ray.venues.base import Stream, StreamKind

FIRST_S = 10.0
"""First data of a steady stream after subscribing, and how long any stream may be silent against evidence."""
LAG_S = 2.0
"""How far connections may be apart without one being taken for silent."""
MOST_PATIENCE_S = 600.0
CADENCE_FACTOR = 6.0
"""A steady stream may be silent for so many times its longest pause of the last minutes."""
FORGET_SHARE = 0.998
"""What is left of the longest pause after a second: it halves in six minutes."""
UNLEARNT_S = 30.0
LEARNT_PAUSES = 20
"""A steady stream has to have so many pauses before silences shorter than UNLEARNT_S are judged by them."""
LEAST_S: dict[StreamKind, float] = {"depth": 5.0, "markPrice": 5.0, "bookTicker": 10.0}
"""Steady kinds, and the shortest silence that is ever taken for a breach."""
MOST_S = 120.0
TRADING_KINDS: frozenset[StreamKind] = frozenset({"trade", "aggTrade", "kline"})
EVIDENCE_KINDS: frozenset[StreamKind] = frozenset({"trade", "aggTrade"})


class Breach(NamedTuple):
    """A connection's stream is silent. silent_s: since its last data, or since it was subscribed."""

    conn: str
    stream: Stream
    silent_s: float
    reason: str


@dataclass(slots=True)
class Pulse:
    """One stream on one connection. Times are of the monotonic clock, seconds. `last_s`: None before the first data."""

    stream: Stream
    since_s: float
    last_s: float | None = None
    doubted_s: float | None = None


@dataclass(slots=True)
class _Cadence:
    """What is known of a stream whatever connection carries it."""

    longest_s: float = 0.0
    pauses: int = 0
    breaches: int = 0
    newest_s: float | None = None


@dataclass(slots=True)
class Watch:
    """The watches of all streams of a collector's connections. `pulses` is read by the sockets: one entry a stream."""

    pulses: dict[str, dict[bytes, Pulse]] = field(default_factory=dict)
    _cadences: dict[str, _Cadence] = field(default_factory=dict)
    _trading_s: dict[str, float] = field(default_factory=dict)

    def subscribed(self, conn: str, stream: Stream, now_s: float) -> None:
        """The connection has asked for the stream."""
        self.pulses.setdefault(conn, {}).setdefault(stream.name.encode(), Pulse(stream, now_s))
        self._cadences.setdefault(stream.name, _Cadence())

    def unsubscribed(self, conn: str, stream: Stream) -> None:
        """The connection does not carry the stream any more."""
        self.pulses.get(conn, {}).pop(stream.name.encode(), None)

    def closed(self, conn: str) -> None:
        """The connection has ended."""
        self.pulses.pop(conn, None)

    def seen(self, conn: str, name: bytes, now_s: float) -> None:
        """Data of a stream."""
        pulses = self.pulses.get(conn)
        pulse = None if pulses is None else pulses.get(name)
        if pulse is None:
            return
        if pulse.last_s is not None:
            cadence = self._cadences[pulse.stream.name]
            pause_s = now_s - pulse.last_s
            cadence.pauses += 1
            if pause_s > cadence.longest_s:
                cadence.longest_s = pause_s
        pulse.last_s = now_s

    def traded(self, symbol: str, now_s: float) -> None:
        """The exchange says that there was a trade that no connection has brought."""
        self._trading_s[symbol] = now_s

    def breaches(self, stream: Stream) -> int:
        """Renewals since the stream last spoke."""
        cadence = self._cadences.get(stream.name)
        return 0 if cadence is None else cadence.breaches

    def speaks(self, stream: Stream) -> bool:
        """Whether any data of the stream has come since this watch began."""
        cadence = self._cadences.get(stream.name)
        return cadence is not None and cadence.newest_s is not None

    def quiet_s(self, stream: Stream, now_s: float) -> float:
        """Seconds for which no connection has brought the stream."""
        name = stream.name.encode()
        times = [
            pulse.since_s if pulse.last_s is None else pulse.last_s
            for pulses in self.pulses.values()
            if (pulse := pulses.get(name)) is not None
        ]
        return now_s - max(times) if times else 0.0

    def flows(self, conn: str) -> bool:
        """Whether every steady stream of the connection that ever spoke has brought data on it."""
        pulses = self.pulses.get(conn, {}).values()
        return bool(pulses) and all(
            pulse.last_s is not None
            for pulse in pulses
            if pulse.stream.kind in LEAST_S and self._cadences[pulse.stream.name].newest_s is not None
        )

    def check(self, now_s: float, passed_s: float) -> list[Breach]:
        """Streams found silent now; `passed_s` since the last check. Each connection is named once at most."""
        self._learn(passed_s)
        found: dict[str, Breach] = {}
        for conn, pulses in self.pulses.items():
            for pulse in pulses.values():
                reason = self._judge(pulse, now_s)
                if reason is not None and conn not in found:
                    silent_s = now_s - (pulse.since_s if pulse.last_s is None else pulse.last_s)
                    found[conn] = Breach(conn, pulse.stream, silent_s, reason)
        return list(found.values())

    def acted(self, breach: Breach) -> None:
        """The connection is renewed because of the breach: the next one of this stream takes twice as long."""
        self._cadences[breach.stream.name].breaches += 1

    def _learn(self, passed_s: float) -> None:
        for cadence in self._cadences.values():
            cadence.longest_s *= FORGET_SHARE**passed_s
        for pulses in self.pulses.values():
            for pulse in pulses.values():
                if pulse.last_s is None:
                    continue
                cadence = self._cadences[pulse.stream.name]
                if cadence.newest_s is None or pulse.last_s > cadence.newest_s:
                    cadence.newest_s, cadence.breaches = pulse.last_s, 0
                if pulse.stream.kind in EVIDENCE_KINDS:
                    symbol = pulse.stream.symbol
                    self._trading_s[symbol] = max(self._trading_s.get(symbol, 0.0), pulse.last_s)

    def _judge(self, pulse: Pulse, now_s: float) -> str | None:
        """Why the stream is taken for dead; None where it is not."""
        cadence, kind = self._cadences[pulse.stream.name], pulse.stream.kind
        patience = min(2.0 ** min(cadence.breaches, 10), MOST_PATIENCE_S / FIRST_S)
        last_s = pulse.since_s if pulse.last_s is None else pulse.last_s
        silent_s = now_s - last_s
        if kind in LEAST_S:
            if pulse.last_s is None and silent_s > FIRST_S * patience:
                return f"no data within {FIRST_S * patience:.0f} s of subscribing"
            least_s = LEAST_S[kind] if cadence.pauses >= LEARNT_PAUSES else UNLEARNT_S
            limit_s = min(max(least_s, CADENCE_FACTOR * cadence.longest_s), MOST_S) * patience
            if pulse.last_s is not None and silent_s > limit_s:
                return f"silent for {silent_s:.1f} s; expected data within {limit_s:.1f} s, as learnt"
        evidence_s = 0.0 if cadence.newest_s is None else cadence.newest_s
        source = "another connection"
        if kind in TRADING_KINDS and self._trading_s.get(pulse.stream.symbol, 0.0) > evidence_s:
            evidence_s, source = self._trading_s[pulse.stream.symbol], "the exchange's trades"
        if evidence_s <= last_s + LAG_S:
            pulse.doubted_s = None
            return None
        if pulse.doubted_s is None or pulse.doubted_s < last_s:
            pulse.doubted_s = now_s
        if now_s - pulse.doubted_s <= FIRST_S * patience:
            return None
        return f"silent for {silent_s:.1f} s while {source} showed activity"
