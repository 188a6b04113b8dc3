"""The simulated exchange's fault script: what goes wrong, when, and what a client must make of it. No I/O on the wire.

A script is reproducible from a seed and is kept as JSON lines, one fault each, times in seconds from the start:

    {"kind":"drop","at_s":12.5,"duration_s":2.0,"symbol":"btcusdt","stream":"depth","share":0.3}

`connection` `one`: by seed one of the connections open at that time, and never one that carries a stream which no other
sound connection carries: with two connections nothing may be lost. Such a fault waits until there are two, and is
skipped after PATIENCE_S. `all`: every connection, and those accepted meanwhile.
"""

import random
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec

from midas_ray.errors import DataError, UsageError

PATIENCE_S = 60.0
"""How long a fault on one connection waits for a second sound one."""
SPACING_S = 3.0
"""Mean time between the faults of a random script whose length is not given."""
Mode = Literal["one-up", "any"]


class Kind(StrEnum):
    """What can go wrong. Each says what a client with two sound connections must end up with.

    "Nothing lost" = every level and print as on the exchange, no gap in the ledger.
    """

    DROP = "drop"
    """A share of the frames never comes on a connection. One: nothing lost. All, each its own frames: a gap
    (`both-missed`) only around frames that every connection missed."""
    DUPLICATE = "duplicate"
    """Frames come twice. Nothing lost, nothing applied or stored twice."""
    REORDER = "reorder"
    """A frame comes after its successor of the same stream. One: nothing lost. All: at most a gap."""
    OVERLAP = "overlap"
    """From here on a connection's depth windows end at another phase: other U, u, pu, its chain right. Nothing lost."""
    MALFORMED = "malformed"
    """Frames that are no message come between the others. Kept raw, counted, nothing lost."""
    TRUNCATED = "truncated"
    """A share of the frames is cut in the middle. As `drop`; the pieces are kept raw."""
    SILENT = "silent"
    """One stream stops while the connection's others run. One: nothing lost, that connection alone is renewed.
    All: a gap for as long as it lasts."""
    HALF_OPEN = "half-open"
    """The socket stays open, nothing is sent, pings go unanswered; it breaks when the fault ends. As `silent`."""
    CUT = "cut"
    """The connection ends, as after 24 h: closed or broken off. One: nothing lost. All: a gap (`network`)."""
    SERVER_SHUTDOWN = "server-shutdown"
    """The event `serverShutdown`, and the connection closes `duration_s` later. Nothing lost: renewed before that."""
    ACK_WITHOUT_DATA = "ack-without-data"
    """A connection is cut, and the next acks its streams and never sends. One: nothing lost, that one is renewed."""
    WRONG_ROUTE = "wrong-route"
    """A connection is cut, and on the next one stream stays silent as if it belonged to another route. As `silent`."""
    ACCEPT_CLOSE = "accept-close"
    """A connection is cut, and every new one is accepted and closed at once. One: nothing lost, few attempts made."""
    HANDSHAKE_REFUSED = "handshake-refused"
    """A connection is cut, and handshakes answer `status` (418, 429, 403, 503; 451 is final). One: nothing lost."""
    SNAPSHOT_AT_U = "snapshot-at-u"
    """Snapshots whose id is the `u` of a depth@100ms event, which only confirms it. Applied exactly."""
    SNAPSHOT_AT_PU = "snapshot-at-pu"
    """Snapshots whose id is the `pu` of the first event that the client can have. Applied exactly."""
    SNAPSHOT_BETWEEN = "snapshot-between"
    """Snapshots whose id lies between `pu` and `U` of an event (futures: spot has no such ids). Applied exactly,
    without another fetch."""
    STALE_SNAPSHOT = "stale-snapshot"
    """Snapshots as of the fault's start. Where the events in hand do not join on: fetched again, never applied."""
    SLOW_SNAPSHOT = "slow-snapshot"
    """Snapshots come `delay_s` late. The stream is buffered meanwhile, or another is fetched."""
    REST_REFUSED = "rest-refused"
    """REST answers `status`: 418 with the end of the ban in its text, 429, 403, 5xx; 451 is final. Streams go on; what
    needs a snapshot waits, and a ban is not called into."""
    REST_TIMEOUT = "rest-timeout"
    """REST does not answer. As `rest-refused`."""
    CLOCK_STEP = "clock-step"
    """The exchange's reported times step by `offset_ms`: REST time, and E (never T) of futures' depth and trades.
    Nothing lost; latency is judged by the new offset."""
    BURST = "burst"
    """Everything stands still for `duration_s` and then comes at once. Nothing lost."""
    VENUE_GAP = "venue-gap"
    """The exchange leaves out events of a symbol's `stream` (depth or trade): a gap, cause `venue`, fault `venue`
    (`both-missed` where the connections' windows differ). The log names the ids lost."""
    DELIST = "delist"
    """The symbol's status becomes SETTLING and its streams end; for good with `duration_s` 0. Ends cleanly."""
    CONTRACT_CHANGE = "contract-change"
    """exchangeInfo shows a tick and a lot ten times smaller. Nothing lost; the contract's change is on record."""


ON_CONNECTION = frozenset(
    {
        Kind.DROP, Kind.DUPLICATE, Kind.REORDER, Kind.OVERLAP, Kind.MALFORMED, Kind.TRUNCATED, Kind.SILENT,
        Kind.HALF_OPEN, Kind.CUT, Kind.SERVER_SHUTDOWN, Kind.ACK_WITHOUT_DATA, Kind.WRONG_ROUTE, Kind.ACCEPT_CLOSE,
        Kind.HANDSHAKE_REFUSED,
    }
)  # fmt: skip
"""Kinds that take connections; the others take a symbol or the whole exchange."""
SNAPSHOTS = frozenset(
    {
        Kind.SNAPSHOT_AT_U,
        Kind.SNAPSHOT_AT_PU,
        Kind.SNAPSHOT_BETWEEN,
        Kind.STALE_SNAPSHOT,
        Kind.SLOW_SNAPSHOT,
    }
)
REST = SNAPSHOTS | {Kind.REST_REFUSED, Kind.REST_TIMEOUT}
"""Kinds that a client only meets when it asks; `provoke` makes it ask."""
FINAL = frozenset({Kind.DELIST})
"""Kinds after which a symbol is not collected on; random scripts leave them out."""
STATUSES = (418, 429, 403, 503)
"""Refusals that end; 451 (geo-block) is final for a client and stands only in scripts written for it."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault, from `at_s` for `duration_s` seconds.

    symbol: None = any (those that take one: by seed). stream: the kind's first word (`depth`, `trade`), None = every
    stream, or for `silent`, `wrong-route` and `venue-gap` one by seed or `depth`. share: of the frames it takes.
    provoke: a venue gap of the symbol's depth goes with it, so that clients need a snapshot.
    """

    kind: Kind
    at_s: float
    duration_s: float = 1.0
    connection: Literal["one", "all"] = "one"
    symbol: str | None = None
    stream: str | None = None
    share: float = 1.0
    status: int = 503
    delay_s: float = 3.0
    offset_ms: int = 500
    provoke: bool = False

    def __post_init__(self) -> None:
        if self.at_s < 0 or self.duration_s < 0 or self.delay_s < 0:
            raise ValueError("at_s, duration_s and delay_s: expected no negative time")
        if not 0 < self.share <= 1:
            raise ValueError(f"share: expected a number above 0 and up to 1, found {self.share}")
        if not 400 <= self.status <= 599:
            raise ValueError(f"status: expected an HTTP error such as 503, found {self.status}")
        if self.kind is Kind.VENUE_GAP and self.stream not in (None, "depth", "trade"):
            raise ValueError(f"stream of venue-gap: expected depth or trade, found {self.stream!r}")


class FaultScript:
    """Faults in the order of their start."""

    def __init__(self, faults: Iterable[Fault], seed: int = 0) -> None:
        self.faults = sorted(faults, key=lambda fault: fault.at_s)
        self.seed = seed

    @property
    def needs_s(self) -> float:
        """Seconds until the last fault has ended."""
        return max((fault.at_s + fault.duration_s for fault in self.faults), default=0.0)

    @staticmethod
    def load(path: Path, seed: int = 0) -> "FaultScript":
        """Read a file of JSON lines. Raises UsageError where there is none, DataError naming the line that is wrong."""
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UsageError(f"--faults {path}: expected a file of faults ({reason}); or random:SEED:COUNT") from None
        decoder = msgspec.json.Decoder(Fault)
        faults = []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                faults.append(decoder.decode(line))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise DataError(
                    f"{path}:{number}: expected a fault, found: {error}; kinds: {', '.join(Kind)}"
                ) from None
        return FaultScript(faults, seed)

    def save(self, path: Path) -> None:
        """Write as JSON lines."""
        path.write_bytes(b"".join(msgspec.json.encode(fault) + b"\n" for fault in self.faults))

    @staticmethod
    def random(
        seed: int, count: int, duration_s: float, symbols: Sequence[str], *, mode: Mode = "one-up", start_s: float = 5.0
    ) -> "FaultScript":
        """`count` faults spread from `start_s` over `duration_s`: every kind in turn, its order and numbers by seed.

        mode: `one-up` leaves a client with two connections nothing to lose: no fault on all connections, no venue gap,
        no snapshot provoked. `any` has these too. Nothing final: no delisting, no 451.
        """
        rng = random.Random(f"{seed}:{count}:{duration_s}:{mode}")
        barred = FINAL if mode == "any" else FINAL | {Kind.VENUE_GAP}
        kinds = [kind for kind in Kind if kind not in barred]
        faults: list[Fault] = []
        deck: list[Kind] = []
        step_s = max(duration_s - start_s, 0.0) / max(count, 1)
        for index in range(count):
            if not deck:
                deck = rng.sample(kinds, len(kinds))
            at_s = start_s + (index + rng.random()) * step_s
            faults.append(_drawn(rng, deck.pop(), at_s, symbols, mode))
        return FaultScript(faults, seed)


def _drawn(rng: random.Random, kind: Kind, at_s: float, symbols: Sequence[str], mode: Mode) -> Fault:
    """A fault of this kind with drawn numbers."""
    everywhere: Literal["one", "all"] = "all" if mode == "any" and rng.random() < 0.25 else "one"
    stream = None
    if kind is Kind.VENUE_GAP:
        stream = rng.choice(("depth", "depth", "trade"))
    elif kind in (Kind.SILENT, Kind.WRONG_ROUTE):
        stream = rng.choice((None, "depth", "trade"))
    short = kind in (Kind.BURST, Kind.VENUE_GAP)
    return Fault(
        kind=kind,
        at_s=round(at_s, 3),
        duration_s=round(rng.uniform(0.15, 1.0) if short else rng.uniform(0.5, 4.0), 3),
        connection=everywhere if kind in ON_CONNECTION else "one",
        symbol=_drawn_symbol(rng, kind, symbols),
        stream=stream,
        share=round(rng.uniform(0.1, 1.0), 2) if kind in (Kind.DROP, Kind.TRUNCATED, Kind.REORDER) else 1.0,
        status=rng.choice(STATUSES),
        delay_s=round(rng.uniform(0.5, 3.0), 3),
        offset_ms=rng.choice((-1, 1)) * rng.randrange(50, 5000),
        provoke=mode == "any" and kind in REST,
    )


def _drawn_symbol(rng: random.Random, kind: Kind, symbols: Sequence[str]) -> str | None:
    """The symbol of a fault that has one; a burst is one symbol's or the whole exchange's."""
    if kind is Kind.BURST:
        return rng.choice((None, rng.choice(symbols)))
    return rng.choice(symbols) if kind in SNAPSHOTS or kind in (Kind.VENUE_GAP, Kind.CONTRACT_CHANGE) else None


def parse_faults(text: str, symbols: Sequence[str], duration_s: float | None) -> FaultScript:
    """A script from `--faults`: FILE, or random:SEED:COUNT, or random:SEED:COUNT:any. Raises UsageError, DataError.

    duration_s: over which random faults are spread; None = SPACING_S for each.
    """
    if not text.startswith("random:"):
        return FaultScript.load(Path(text))
    parts = text.split(":")
    mode = parts[3] if len(parts) == 4 else "one-up"
    numbers = parts[1:3]
    whole = len(parts) in (3, 4) and all(part.isascii() and part.isdigit() for part in numbers)
    if not whole or mode not in ("one-up", "any"):
        raise UsageError(f"--faults: expected FILE, random:SEED:COUNT or random:SEED:COUNT:any, found {text!r}")
    seed, count = (int(part) for part in numbers)
    length_s = count * SPACING_S if duration_s is None else duration_s
    return FaultScript.random(seed, count, length_s, symbols, mode="any" if mode == "any" else "one-up")
