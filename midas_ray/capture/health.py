"""What a collector says of itself."""

import time
from collections import deque
from dataclasses import dataclass, field

from midas_ray.venues.messages import Level

RATE_WINDOW_S = 10
LATENCY_SAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TopOfBook:
    """The best levels, best first, as the exchange's decimal text; empty while the book is not live.

    last_update_id: id of the last applied event. exchange_ms: its exchange time. A level beyond the known depth is not
    shown.
    """

    symbol: str
    state: str
    last_update_id: int
    exchange_ms: int
    bids: list[Level]
    asks: list[Level]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """State and counts of one symbol's capture since its collector started.

    state: `live`, `syncing`, `gap`, `starting`, `connecting` (no connection carries depth), `degraded` (the disk takes
    nothing, see `error`; the live book goes on), `delisted` (the venue ended the contract; its journal is sealed),
    `failed` (see `error`), `down`, `silent`.
    collector: the name of the collector process that carries the symbol.
    exchange_ms: exchange time of the last applied event. age_s: seconds since the last frame, per stream kind.
    frames, frames_per_s: messages kept, and their rate over the last 10 s. bytes: of messages, as received.
    frames_by_kind: messages kept, per stream kind. duplicates: frames that equal one already kept from the other
    connection. wins: frames kept, per connection letter. connected: connections up that carry the symbol's depth.
    bytes_on_disk: compressed, all files of this run. held_bytes: received, not on disk because that takes nothing.
    dropped: frames given up because the memory limit was reached. latency_ms: per stream kind (median, 99th percentile)
    from the exchange's event time to arrival over the last 1000 messages, corrected by clock_offset_ms (exchange minus
    this machine). queued: items that wait for the writer of the collector. silences: watchdog breaches. last_silence:
    the latest of them, in words.
    """

    symbol: str
    state: str
    pid: int
    collector: str = ""
    error: str | None = None
    uptime_s: float = 0.0
    last_update_id: int = 0
    exchange_ms: int = 0
    best_bid: Level | None = None
    best_ask: Level | None = None
    age_s: dict[str, float] = field(default_factory=dict)
    frames: int = 0
    frames_by_kind: dict[str, int] = field(default_factory=dict)
    frames_per_s: float = 0.0
    bytes: int = 0
    bytes_on_disk: int = 0
    held_bytes: int = 0
    dropped: int = 0
    duplicates: int = 0
    wins: dict[str, int] = field(default_factory=dict)
    connected: int = 0
    undecodable: int = 0
    gaps: int = 0
    divergences: int = 0
    resyncs: int = 0
    reconnects: int = 0
    silences: int = 0
    last_silence: str | None = None
    queued: int = 0
    snapshots: int = 0
    request_weight: int = 0
    latency_ms: dict[str, tuple[float, float]] = field(default_factory=dict)
    clock_offset_ms: float | None = None
    n_files: int = 0
    journal_path: str | None = None

    @property
    def spread_bps(self) -> float | None:
        """Spread over the mid, bps; None without a live book."""
        if self.best_bid is None or self.best_ask is None:
            return None
        bid, ask = float(self.best_bid[0]), float(self.best_ask[0])
        return 2e4 * (ask - bid) / (ask + bid)

    @property
    def bytes_per_hour(self) -> float | None:
        """Growth on disk; None in the first seconds, when it says nothing."""
        return self.bytes_on_disk / self.uptime_s * 3600 if self.uptime_s >= 5 else None


class RateMeter:
    """Counts per second over the last 10 whole seconds."""

    def __init__(self) -> None:
        self._counts: deque[tuple[int, int]] = deque()
        self._started_s = time.monotonic()

    def count(self, mono_s: float) -> None:
        """One more at this moment of the monotonic clock."""
        second = int(mono_s)
        if self._counts and self._counts[-1][0] == second:
            self._counts[-1] = (second, self._counts[-1][1] + 1)
        else:
            self._counts.append((second, 1))
        while self._counts[0][0] < second - RATE_WINDOW_S:
            self._counts.popleft()

    def per_second(self, mono_s: float) -> float:
        """The rate up to the last whole second."""
        now = int(mono_s)
        total = sum(count for second, count in self._counts if now - RATE_WINDOW_S <= second < now)
        return total / max(min(float(RATE_WINDOW_S), mono_s - self._started_s), 1.0)


class LatencyMeter:
    """Time from the exchange's event to arrival, over the last messages."""

    def __init__(self) -> None:
        self._samples_ms: deque[float] = deque(maxlen=LATENCY_SAMPLES)

    def add(self, latency_ms: float) -> None:
        """One message's latency."""
        self._samples_ms.append(latency_ms)

    def quantiles_ms(self) -> tuple[float, float] | None:
        """(median, 99th percentile); None without samples."""
        if not self._samples_ms:
            return None
        ordered = sorted(self._samples_ms)
        return ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
