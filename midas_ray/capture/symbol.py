"""One symbol of a collector, behind the sockets: merge of its connections, journal, live book, figures of them."""

import contextlib
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import structlog

from midas_ray.book.sync import Action, FetchSnapshot, Gap
from midas_ray.capture.arrivals import Answer, Arrival, Note
from midas_ray.capture.connection import STOPPED
from midas_ray.capture.health import LatencyMeter, RateMeter
from midas_ray.capture.merge import DepthMerge, Duplicates, Ids, Jump, Released, TradeChain
from midas_ray.capture.recorder import Recorder
from midas_ray.capture.rest import RestAnswer, RestClient
from midas_ray.capture.snapshots import SnapshotFetcher
from midas_ray.settings import Collect
from midas_ray.venues.base import Stream, StreamKind

_EVENT_TIME = re.compile(rb'"E":(\d{13})')
_TRADE_ID = re.compile(rb'"t":(\d+)')
_HEAD_BYTES = 160
"""Where the event's time stands in a message, at the latest; bookTicker has it at its end and is not timed."""


STUCK_S = 30.0
STUCK_FRAMES = 20
"""A book that takes none of so many depth messages, for so long, will take none: the venue's ids went back."""


class _DepthIds(msgspec.Struct, frozen=True):
    U: int
    u: int
    pu: int | None = None


class _DepthFrame(msgspec.Struct, frozen=True):
    data: _DepthIds


_decode_depth_ids = msgspec.json.Decoder(_DepthFrame).decode


def depth_ids(payload: bytes) -> Ids | None:
    """Ids of a combined depth frame; None where they cannot be read: the frame is then kept as it comes."""
    try:
        data = _decode_depth_ids(payload).data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    previous = data.U - 1 if data.pu is None else data.pu
    return Ids(data.U, data.u, previous) if previous < data.U <= data.u else None


class SymbolCapture:
    """Everything of one symbol between its connections and its journal. Not thread-safe; see `Group` for who calls.

    full: says whether memory is used up while the disk takes nothing. deliver: gets the REST answers for the inbox.
    """

    def __init__(
        self,
        symbol: str,
        settings: Collect,
        root: Path,
        rest: RestClient,
        log: structlog.stdlib.BoundLogger,
        *,
        next_n: Callable[[], int],
        full: Callable[[], bool],
        deliver: Callable[[RestAnswer, bool], None],
    ) -> None:
        self.symbol = symbol
        self.streams = rest.venue.streams(symbol, settings)
        self.recorder = Recorder(
            rest.venue,
            symbol,
            root,
            next_n=next_n,
            streams=[stream.kind for stream in self.streams],
            max_bytes=settings.journal_max_mb * 2**20,
            level=settings.compression_level,
            connections=settings.connections,
            hold_on_failure=True,
        )
        self.log = log.bind(symbol=symbol)
        self.snapshots = SnapshotFetcher(rest, symbol, settings.snapshot_limit, deliver, self.log)
        self.ever_live = False
        self.ended: str | None = None
        self.silences = 0
        self.last_silence: str | None = None
        self.bytes_on_disk = 0
        self._sealed_bytes = 0
        self._n_measured = 0
        self._venue = rest.venue
        self._full = full
        self._duplicates = Duplicates()
        self._merge: DepthMerge[Arrival] = DepthMerge(settings.connections, self._duplicates.brought_by)
        self._chain = TradeChain(settings.connections, self._duplicates.brought_by)
        self._stuck_id, self._stuck_frames, self._stuck_since_s = -1, 0, 0.0
        self._up: dict[str, set[StreamKind]] = {}
        self.n_duplicates = 0
        self.wins: dict[str, int] = {}
        self.rate = RateMeter()
        self.latencies: dict[str, LatencyMeter] = {}
        self.started_s = time.monotonic()
        self.clock_offset_ms: float | None = None

    def opened(self) -> None:
        """The collector starts with this symbol."""
        self._obey(self.recorder.open(time.time_ns(), time.monotonic_ns()))

    def arrived(self, item: Arrival, kind: StreamKind | None) -> None:
        """A frame of this symbol: kept unless another connection brought it."""
        if self.recorder.failure is not None and self._full():
            self._drop(item, kind)
            return
        now_s = item.mono_ns / 1e9
        digest, is_new = self._duplicates.first(item.conn, item.payload, now_s)
        self.n_duplicates += not is_new
        if kind == "depth":
            ids = depth_ids(item.payload)
            if ids is not None:
                merge = self._merge
                released = (
                    merge.offer(item.conn, ids, item, digest, now_s) if is_new else merge.again(item.conn, ids, now_s)
                )
                self._keep_all(released)
                return
        elif kind == "trade" and (found := _TRADE_ID.search(item.payload, 0, _HEAD_BYTES)) is not None:
            if is_new:
                self._chain.offer(item.conn, int(found[1]), digest, item.recv_ns, now_s)
            else:
                self._chain.again(item.conn, int(found[1]), now_s)
        if is_new:
            self._keep(item, kind)

    def noted(self, note: Note, kinds: Iterable[StreamKind], overrun: bool) -> None:
        """A connection that carries (some of) this symbol's streams came up, ended or fell silent.

        overrun: the sockets were paused lately, so that a connection may have ended for that.
        """
        recorder, when = self.recorder, (note.recv_ns, note.mono_ns, note.conn)
        if note.event == "connect":
            self._up.setdefault(note.conn, set()).update(kinds)
            if "depth" in kinds:
                self._merge.came(note.conn)
            if "trade" in kinds:
                self._chain.witnesses.came(note.conn)
            recorder.event(*when, "connect", streams=sorted(kinds), **note.fields)
        elif note.event == "disconnect":
            carried = self._up.pop(note.conn, set())
            left = {kind for up in self._up.values() for kind in up}
            lost = sorted(carried - left)
            recorder.event(*when, "disconnect", streams=lost, carried=sorted(carried), **note.fields)
            if note.fields["reason"] == STOPPED:
                return  # what is missing now is nobody's but this collector's: it ends
            if "depth" in carried:
                self._merge.lost(note.conn, note.mono_ns / 1e9)
            if "trade" in carried:
                self._chain.lost(note.conn, note.mono_ns / 1e9)
            if "depth" in lost:
                self.snapshots.new_epoch()
            if overrun:
                self._overrun(note, lost)
        else:
            self.silences += 1
            self.last_silence = f"{note.fields['stream']} on {note.conn}: {note.fields['reason']}"
            recorder.event(*when, note.event, **note.fields)

    def answered(self, item: Answer) -> None:
        """A REST answer."""
        answer, undecodable = item.answer, self.recorder.counters.undecodable
        self._obey(
            self.recorder.rest(
                *(answer.recv_ns, answer.mono_ns, "rest", answer.payload),
                status=answer.status,
                sent_ns=answer.sent_ns,
                path=answer.path,
                used=item.used,
            )
        )
        if self.recorder.counters.undecodable > undecodable:
            self.log.warning("snapshot cannot be decoded", bytes=len(answer.payload))
            self.snapshots.request("undecodable")

    def due(self, now_s: float) -> None:
        """Keep what has waited long enough."""
        if self._merge.next_due_s is not None:
            self._keep_all(self._merge.due(now_s))
        if self._chain.next_due_s is not None:
            self._tell_jumps(self._chain.due(now_s))

    @property
    def next_due_s(self) -> float | None:
        """When `due` is to be called (monotonic clock); None where nothing waits."""
        times_s = [due_s for due_s in (self._merge.next_due_s, self._chain.next_due_s) if due_s is not None]
        return min(times_s, default=None)

    def close(self, reason: str) -> Path | None:
        """Keep what waits, say why it ends, seal the journal. Raises StorageError."""
        for witnesses in (self._merge.witnesses, self._chain.witnesses):
            witnesses.blamed = witnesses.blamed or "down"
        self._keep_all(self._merge.rest())
        self._tell_jumps(self._chain.due(float("inf")))
        path = self.recorder.close(time.time_ns(), time.monotonic_ns(), reason)
        self.measure_disk()
        return path

    def flush(self) -> None:
        """Bring the journal to disk; where that failed before, try again."""
        recorder = self.recorder
        if recorder.failure is not None and recorder.recover(time.time_ns(), time.monotonic_ns()):
            self.log.info("disk recovered")
        recorder.flush()
        self.measure_disk()

    def measure_disk(self) -> None:
        """Compressed bytes of this run's files; each sealed one is looked at once."""
        for path in self.recorder.sealed[self._n_measured :]:
            self._n_measured += 1
            with contextlib.suppress(FileNotFoundError):  # it is in the store already
                self._sealed_bytes += path.stat().st_size
        self.bytes_on_disk = self.recorder.bytes_on_disk + self._sealed_bytes

    def event(self, event: str, **fields: object) -> None:
        """Something happened that the journal is to know."""
        self.recorder.event(time.time_ns(), time.monotonic_ns(), "collector", event, **fields)

    def _keep_all(self, released: list[Released[Arrival]]) -> None:
        for item, cause in released:
            if cause is not None:
                self.log.warning("depth events missed", cause=cause, last_update_id=self.recorder.book.last_id)
                self.recorder.missed(item.recv_ns, item.mono_ns, "depth", cause)
            self._keep(item, "depth")

    def _tell_jumps(self, jumps: list[Jump]) -> None:
        for jump in jumps:
            self.log.warning("trades missed", cause=jump.cause)
            self.recorder.missed(jump.at_ns, None, "trade", jump.cause)

    def _keep(self, item: Arrival, kind: StreamKind | None) -> None:
        self.rate.count(item.mono_ns / 1e9)
        letter = item.conn[0]
        self.wins[letter] = self.wins.get(letter, 0) + 1
        self._obey(self.recorder.frame(item.recv_ns, item.mono_ns, item.conn, item.payload))
        if kind is None:
            return
        event_time = _EVENT_TIME.search(item.payload, 0, _HEAD_BYTES)
        if event_time is not None and self.clock_offset_ms is not None:  # two clocks say nothing without it
            meter = self.latencies.get(kind) or self.latencies.setdefault(kind, LatencyMeter())
            meter.add(item.recv_ns / 1e6 + self.clock_offset_ms - int(event_time[1]))
        if kind == "depth":
            self.snapshots.flowing.set()
            if self.recorder.book.live:
                self.ever_live = True
                self.snapshots.served()
            self._check_progress(item)

    def _check_progress(self, item: Arrival) -> None:
        """Begin the book anew where messages arrive that it takes for old ones for ever."""
        book, now_s = self.recorder.book, item.mono_ns / 1e9
        if not book.anchored or book.last_id != self._stuck_id:
            self._stuck_id, self._stuck_frames, self._stuck_since_s = book.last_id, 0, now_s
            return
        self._stuck_frames += 1
        if self._stuck_frames >= STUCK_FRAMES and now_s - self._stuck_since_s >= STUCK_S:
            reason = f"{self._stuck_frames} depth messages with ids below {book.last_id}"
            self.log.warning("beginning the book anew", reason=reason)
            self._merge.forget()
            self._obey(self.recorder.abandon(item.recv_ns, item.mono_ns, reason))

    def _drop(self, item: Arrival, kind: StreamKind | None) -> None:
        if self.recorder.counters.dropped == 0:
            self.log.error("memory is full while the disk takes nothing: dropping", reason=self.recorder.failure)
        self.recorder.drop(item.recv_ns, item.mono_ns, kind or "depth")
        self._merge.blame("disk")
        self._chain.witnesses.blamed = "disk"

    def _overrun(self, note: Note, lost: Iterable[StreamKind]) -> None:
        """Connections ended because this process could not keep up."""
        if "depth" in lost:
            self._merge.blame("overrun")
        if "trade" in lost:
            self._chain.witnesses.blamed = "overrun"
        if "aggTrade" in lost:
            self.recorder.missed(note.recv_ns, note.mono_ns, "aggTrade", "overrun")

    def _obey(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, FetchSnapshot):
                if action.reason == "gap":
                    self.log.warning("book gap; resyncing", last_update_id=self.recorder.book.last_id)
                self.snapshots.request(action.reason)
            elif isinstance(action, Gap):
                self.log.warning(
                    "book recovered",
                    cause=action.cause,
                    start_ms=action.start_ms,
                    end_ms=action.end_ms,
                    expected_id=action.expected_id,
                    found_id=action.found_id,
                )
            else:
                self.log.error("snapshot contradicts the book", last_update_id=action.last_id)

    @property
    def connected(self) -> int:
        """Connections that carry depth."""
        return sum("depth" in kinds for kinds in self._up.values())

    @property
    def state(self) -> str:
        """See `Health`."""
        if self.ended is not None:
            return self.ended
        if self.recorder.failure is not None:
            return "degraded"
        return self.recorder.book.state_name if self.connected else "connecting"

    @property
    def last_trade_id(self) -> int | None:
        """The newest trade's."""
        return self.recorder.last_trade_id

    def fall_back(self) -> None:
        """`trade`, which the venue does not document, stays silent: take aggregate trades beside it."""
        self.streams = [*self.streams, self._venue.agg_trades(self.symbol)]
        self.recorder.set_streams([stream.kind for stream in self.streams])
        self.event("fallback", stream=f"{self.symbol}@trade", to=f"{self.symbol}@aggTrade")
        self.log.warning("trade stays silent; collecting aggTrade")

    def trade_stream(self) -> Stream | None:
        """The stream of prints; None where trades are not collected."""
        return next((stream for stream in self.streams if stream.kind == "trade"), None)
