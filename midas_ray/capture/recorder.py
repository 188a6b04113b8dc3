"""The heart of capture without sockets: frames in, journal lines out, the live book kept.

Live collectors and importers use the same recorder, so that a real capture takes the same path as a live one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from midas_ray.book import kernels as k
from midas_ray.book.events import decode_depth
from midas_ray.book.ladder import make_snapshot
from midas_ray.book.scale import Scale, ScaleTooSmallError
from midas_ray.book.sync import Action, BookSync, Divergence, FetchSnapshot, Gap, GapCause
from midas_ray.capture import journal
from midas_ray.capture.bookline import book_fields
from midas_ray.capture.frame_scan import DepthScan, event_time_ms, looks_like, trade_head
from midas_ray.capture.journal_run import JournalRun
from midas_ray.venues.base import StreamKind, Venue, frame_address, frame_message
from midas_ray.venues.messages import DepthSnapshot, DepthUpdate, Level


class _TradeHead(msgspec.Struct, frozen=True):
    T: int
    t: int


class _AggTradeHead(msgspec.Struct, frozen=True):
    T: int
    a: int
    l: int  # noqa: E741 - the wire's name


_decode_depth = msgspec.json.Decoder(DepthUpdate).decode
_decode_trade_head = msgspec.json.Decoder(_TradeHead).decode
_decode_agg_trade_head = msgspec.json.Decoder(_AggTradeHead).decode
decode_snapshot = msgspec.json.Decoder(DepthSnapshot).decode


@dataclass(slots=True)
class Counters:
    """What a recorder has seen. frames by stream kind; `undecodable`: frames kept raw that no decoder understands;
    `dropped`: frames that a full disk and full memory left no room for, in all."""

    frames: dict[str, int]
    bytes: int = 0
    undecodable: int = 0
    gaps: int = 0
    divergences: int = 0
    resyncs: int = 0
    dropped: int = 0


class Recorder:
    """Writes one symbol's journal and keeps its book in step.

    Args:
        root: the data folder. run_id: names the run in `open` events.
        max_bytes: compressed size at which a file is rotated; it is rotated on the UTC hour of receive time anyway.
        next_n: gives the next frame number; shared by the recorders of a collector.
        streams: kinds of streams collected, written at the head of each file: an hour without a print then differs from
            an hour in which nobody listened.
        connections: how many carry each stream, written there too; None for imports.
        hold_on_failure: what to do where the journal cannot be written. False: raise StorageError. True: carry on in
            memory, `failure` saying why, until `recover` succeeds; a new hour begins its file all the same.

    Every method takes `recv_ns` (wall clock, ns) of what happened, which need not rise from call to call. Not
    thread-safe.
    """

    def __init__(
        self,
        venue: Venue,
        symbol: str,
        root: Path,
        *,
        next_n: Callable[[], int],
        streams: Sequence[StreamKind] = (),
        max_bytes: int = 512 * 2**20,
        level: int = 3,
        connections: int | None = None,
        hold_on_failure: bool = False,
    ) -> None:
        self.venue = venue
        self.symbol = symbol
        self.book = BookSync()
        self._scan = DepthScan(venue, symbol)
        self.counters = Counters({})
        self.last_recv_ns: dict[str, int] = {}
        self.last_event_ms: dict[str, int] = {}
        self._journal = JournalRun(
            *(root, venue.name, symbol),
            max_bytes=max_bytes,
            level=level,
            hold=hold_on_failure,
            is_live=connections is not None,
        )
        self._next_n = next_n
        self._streams = sorted(streams)
        self._n = 0
        self._connections = connections
        self._degraded_ns: int | None = None
        self._dropped_before = 0
        self._most_held_bytes = 0
        self._dropping: set[str] = set()
        self._is_fresh = False
        self._newest: tuple[int, int | None] = (0, None)
        self._last_trade: tuple[int | None, int | None] = (None, None)
        self._last_agg: tuple[int, int, int] | None = None
        self._unproven: dict[str, GapCause] = {}

    @property
    def path(self) -> Path | None:
        """The growing file."""
        return self._journal.path

    @property
    def sealed(self) -> list[Path]:
        """The files that are done."""
        return self._journal.sealed

    @property
    def bytes_on_disk(self) -> int:
        """Compressed bytes of the growing file."""
        return self._journal.bytes_on_disk

    @property
    def failure(self) -> str | None:
        """Why the journal cannot be written now; None while all is well."""
        return self._journal.failure

    @property
    def held_bytes(self) -> int:
        """Memory taken by lines that are not on disk yet."""
        return self._journal.held_bytes

    @property
    def last_trade_id(self) -> int | None:
        """Id of the newest print; None before the first."""
        return self._last_trade[0]

    def set_streams(self, streams: Sequence[StreamKind]) -> None:
        """Collect these kinds from now on: the next file says so."""
        self._streams = sorted(streams)

    def rotation_due(self, recv_ns: int) -> bool:
        """Whether something received at `recv_ns` belongs into a new file."""
        return self._journal.due(recv_ns)

    def open(self, recv_ns: int, mono_ns: int | None, **fields: Any) -> list[Action]:
        """The collector starts. Gives what to do first: fetch a snapshot."""
        self.rotate_if_due(recv_ns, mono_ns)
        self._write_event(recv_ns, mono_ns, "collector", "open", fields)
        return self._noted(self.book.opened(), recv_ns, mono_ns, "collector")

    def frame(self, recv_ns: int, mono_ns: int | None, conn: str, payload: bytes) -> list[Action]:
        """A WebSocket frame: written first, then applied. What cannot be decoded is kept and counted."""
        self.rotate_if_due(recv_ns, mono_ns)
        self._n = self._next_n()
        self.counters.bytes += len(payload)
        if looks_like(payload, b'"depthUpdate"'):
            line = journal.verbatim_line(recv_ns, mono_ns, conn, self._n, payload)
            events = self._scan.read(line, self.book.scale)
            if events is not None:
                self._write(line, recv_ns, mono_ns)
                self._count("depth", recv_ns)
                self.last_event_ms["depth"] = event_time_ms(payload) or int(events.table[0, k.DEPTH_MS])
                return self._noted(self.book.depth(events), recv_ns, mono_ns, conn)
        elif looks_like(payload, b'"trade"'):
            head = trade_head(payload, self.symbol)
            if head is not None:
                line = journal.verbatim_line(recv_ns, mono_ns, conn, self._n, payload)
                self._write(line, recv_ns, mono_ns)
                self._count("trade", recv_ns)
                self._traded(*head)
                return []
        return self._plain_frame(recv_ns, mono_ns, conn, payload)

    def _plain_frame(self, recv_ns: int, mono_ns: int | None, conn: str, payload: bytes) -> list[Action]:
        """A frame that the strict readers left alone."""
        self._write(journal.ws_line(recv_ns, mono_ns, conn, self._n, payload), recv_ns, mono_ns)
        try:
            address = frame_address(payload)
            self._count("control" if address is None else address[0], recv_ns)
            if address is None:
                return []
            kind, symbol = address
            if symbol != self.symbol:
                raise ValueError(f"expected frames of {self.symbol} only, found one of {symbol}")
            if kind == "depth":
                return self._noted(self._depth(payload, recv_ns), recv_ns, mono_ns, conn)
            if kind == "trade":
                head = _decode_trade_head(frame_message(payload))
                self._traded(head.t, head.T)
            elif kind == "aggTrade":
                agg = _decode_agg_trade_head(frame_message(payload))
                self.last_event_ms["aggTrade"] = agg.T
                if self._last_agg is None or agg.a > self._last_agg[0]:
                    self._last_agg = (agg.a, agg.T, agg.l)
        except (msgspec.DecodeError, ValueError, OverflowError):
            self.counters.undecodable += 1
        return []

    def _count(self, name: str, recv_ns: int) -> None:
        self.counters.frames[name] = self.counters.frames.get(name, 0) + 1
        self.last_recv_ns[name] = recv_ns
        if self._unproven:
            self._unproven.pop(name, None)

    def _traded(self, trade_id: int, exchange_ms: int) -> None:
        self.last_event_ms["trade"] = exchange_ms
        if self._last_trade[0] is None or trade_id > self._last_trade[0]:
            self._last_trade = (trade_id, exchange_ms)

    def rest(
        self,
        recv_ns: int,
        mono_ns: int | None,
        conn: str,
        payload: bytes,
        *,
        status: int,
        sent_ns: int,
        path: str,
        used: bool = True,
    ) -> list[Action]:
        """A REST answer; a depth snapshot of status 200 goes to the book, unless not `used`. `path` is the request's,
        with its query."""
        self.rotate_if_due(recv_ns, mono_ns)
        self._n = self._next_n()
        line = journal.rest_line(
            recv_ns, mono_ns, conn, self._n, payload, status=status, sent_ns=sent_ns, path=path, used=used
        )
        self._write(line, recv_ns, mono_ns)
        if not used or status != 200 or not path.startswith(self.venue.depth_path):
            return []
        try:
            actions = apply_snapshot(self.book, payload, path)
        except (msgspec.DecodeError, ValueError, OverflowError):
            self.counters.undecodable += 1
            return []
        return self._noted(actions, recv_ns, mono_ns, conn)

    def event(self, recv_ns: int, mono_ns: int | None, conn: str, event: str, **fields: Any) -> None:
        """Something happened to the collector: connect, disconnect, shutdown, ..."""
        self.rotate_if_due(recv_ns, mono_ns)
        self._write_event(recv_ns, mono_ns, conn, event, fields)
        if event == "disconnect":
            for kind in fields.get("streams", self._streams):
                self._unproven.setdefault(kind, "network")
            if "depth" in fields.get("streams", ("depth",)):
                self.book.blame("network")

    def missed(self, recv_ns: int, mono_ns: int | None, stream: StreamKind, cause: GapCause, **fields: Any) -> None:
        """The next frame of this stream shows that something was missed: whose doing it is."""
        self.rotate_if_due(recv_ns, mono_ns)
        self._write_event(recv_ns, mono_ns, "collector", "missed", {"stream": stream, "cause": cause, **fields})
        self._unproven[stream] = cause
        if stream == "depth":
            self.book.blame(cause)

    def abandon(self, recv_ns: int, mono_ns: int | None, reason: str) -> list[Action]:
        """Nothing that arrives continues the book any more: begin it anew. Gives what to do: fetch a snapshot."""
        self.rotate_if_due(recv_ns, mono_ns)
        self._write_event(recv_ns, mono_ns, "collector", "abandoned", {"reason": reason})
        return self._noted(self.book.abandoned(), recv_ns, mono_ns, "collector")

    def drop(self, recv_ns: int, mono_ns: int | None, stream: StreamKind) -> None:
        """A frame for which neither the disk nor the memory has room: counted, neither written nor applied.

        The first one of each stream is said in the journal, as `missed` because of the disk.
        """
        self.counters.dropped += 1
        if stream not in self._dropping:
            self._dropping.add(stream)
            self.missed(recv_ns, mono_ns, stream, "disk")

    def flush(self) -> None:
        """What was written so far becomes readable on disk. Call it each second."""
        self._journal.flush()
        self._say_if_degraded()

    def spill(self) -> None:
        """What was written so far outlives the process, if not the machine. Cheap; call it often. Never raises."""
        if self._is_fresh:
            self._is_fresh = False
            self._journal.spill()

    def recover(self, recv_ns: int, mono_ns: int | None) -> bool:
        """Try to write what is held; True where nothing is wrong (any more). Call it each second after a failure."""
        self._most_held_bytes = max(self._most_held_bytes, self.held_bytes)
        if not self._journal.recover():
            return False
        if self._degraded_ns is not None:
            dropped = self.counters.dropped - self._dropped_before
            self._degraded_ns, self._dropped_before = None, self.counters.dropped
            self._dropping.clear()
            fields = {"held_bytes": self._most_held_bytes, "dropped": dropped}
            self._write_event(recv_ns, mono_ns, "collector", "recovered", fields)
        self._most_held_bytes = 0
        return True

    def close(self, recv_ns: int, mono_ns: int | None, reason: str) -> Path | None:
        """The collector ends: say so in the journal and seal the file, whose path is returned.

        Raises StorageError where that cannot be done: what is on disk stays readable, what is in memory only is lost.
        """
        if not self._journal.growing:
            return None
        self.recover(recv_ns, mono_ns)
        self._write_event(recv_ns, mono_ns, "collector", "shutdown", {"reason": reason})
        return self._journal.close()

    def _say_if_degraded(self) -> None:
        if self._degraded_ns is None and self.failure is not None:
            self._degraded_ns, mono_ns = self._newest
            fields = {"reason": self.failure, "since_ns": self._degraded_ns}
            self._write_event(self._degraded_ns, mono_ns, "collector", "degraded", fields)

    def _depth(self, payload: bytes, recv_ns: int) -> list[Action]:
        message = _decode_depth(frame_message(payload))
        venue = self.venue
        while True:
            try:
                events = decode_depth(message, recv_ns, venue.depth_clock, venue.has_previous_id, self.book.scale)
            except ScaleTooSmallError as error:
                self.book.rescale(error.scale)
                continue
            self.last_event_ms["depth"] = message.E
            return self.book.depth(events)

    def _noted(self, actions: list[Action], recv_ns: int, mono_ns: int | None, conn: str) -> list[Action]:
        """Put what the book says into the journal and the counters."""
        for action in actions:
            if isinstance(action, Gap):
                self.counters.gaps += 1
                self._write_event(recv_ns, mono_ns, conn, "resync", _gap_fields(action))
            elif isinstance(action, Divergence):
                self.counters.divergences += 1
                fields = {"divergence_at_id": action.last_id, "T": action.clock_ms}
                self._write_event(recv_ns, mono_ns, conn, "resync", fields)
            elif isinstance(action, FetchSnapshot) and action.reason == "gap":
                self.counters.resyncs += 1
                fields = {"expected_id": self.book.last_id, "T": self.book.clock_ms}
                self._write_event(recv_ns, mono_ns, conn, "gap", fields)
        return actions

    def rotate_if_due(self, recv_ns: int, mono_ns: int | None) -> None:
        """Go over to a new file where one is due. Every other method does so by itself; a caller that must not wait for
        the disk calls this first, in a thread."""
        if not self._journal.due(recv_ns):
            return
        if self._journal.growing:
            self._write_event(recv_ns, mono_ns, "collector", "rotate", {})
            self.book.barrier()
        self._journal.begin(recv_ns)
        self._write_head(recv_ns, mono_ns)

    def _write_head(self, recv_ns: int, mono_ns: int | None) -> None:
        fields: dict[str, Any] = {
            "streams": self._streams,
            "connections": self._connections,
            "last_trade_id": self._last_trade[0],
            "last_trade_ms": self._last_trade[1],
        }
        if self._last_agg is not None:
            fields |= dict(zip(("last_agg_id", "last_agg_ms", "last_agg_trade_id"), self._last_agg, strict=True))
        if self._unproven:
            fields["unproven"] = self._unproven
        if self.book.live:
            fields |= book_fields(self.book, self._n)
            self._write(journal.book_line(recv_ns, mono_ns, self._n, fields), recv_ns, mono_ns)
        else:
            self._write_event(recv_ns, mono_ns, "collector", "unsynced", fields)

    def _write_event(self, recv_ns: int, mono_ns: int | None, conn: str, event: str, fields: dict[str, Any]) -> None:
        self._write(journal.event_line(recv_ns, mono_ns, conn, self._n, event, **fields), recv_ns, mono_ns)

    def _write(self, line: bytes, recv_ns: int, mono_ns: int | None) -> None:
        self._journal.write(line, recv_ns)
        self._is_fresh = True
        self._newest = recv_ns, mono_ns
        if self._degraded_ns is None:
            self._say_if_degraded()


def apply_snapshot(book: BookSync, payload: bytes, path: str) -> list[Action]:
    """Give a REST depth answer to the book, at whatever decimal scale it needs. Raises DecodeError, ValueError."""
    message = decode_snapshot(payload)
    limits = parse_qs(urlsplit(path).query).get("limit")
    limit = int(limits[0]) if limits else None
    while True:
        try:
            snapshot = make_snapshot(message.lastUpdateId, message.bids, message.asks, limit, book.scale)
        except ScaleTooSmallError as error:
            book.rescale(_scale_of([*message.bids, *message.asks], error.scale))
            continue
        return book.snapshot(snapshot)


def _scale_of(levels: list[Level], scale: Scale) -> Scale:
    for px, size in levels:
        scale = scale.widened(px, size)
    return scale


def _gap_fields(gap: Gap) -> dict[str, Any]:
    return {
        "start_ms": gap.start_ms,
        "end_ms": gap.end_ms,
        "cause": gap.cause,
        "expected_id": gap.expected_id,
        "found_id": gap.found_id,
    }
