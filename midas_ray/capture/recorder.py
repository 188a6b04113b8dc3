"""The heart of capture without sockets: frames in, journal lines out, the live book kept.

Live collectors and importers use the same recorder, so that a real capture takes the same path as a live one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from midas_ray.book.events import decode_depth
from midas_ray.book.ladder import make_snapshot
from midas_ray.book.scale import Scale, ScaleTooSmallError
from midas_ray.book.sync import Action, BookSync, Divergence, FetchSnapshot, Gap
from midas_ray.capture import journal
from midas_ray.capture.bookline import book_fields
from midas_ray.venues.base import StreamKind, Venue, frame_address, frame_message
from midas_ray.venues.messages import DepthSnapshot, DepthUpdate, Level

HOUR_NS = 3600 * 10**9


class _TradeHead(msgspec.Struct, frozen=True):
    T: int
    t: int


_decode_depth = msgspec.json.Decoder(DepthUpdate).decode
_decode_trade_head = msgspec.json.Decoder(_TradeHead).decode
decode_snapshot = msgspec.json.Decoder(DepthSnapshot).decode


@dataclass(slots=True)
class Counters:
    """What a recorder has seen. frames by stream kind; `undecodable`: frames kept raw that no decoder understands."""

    frames: dict[str, int]
    bytes: int = 0
    undecodable: int = 0
    gaps: int = 0
    divergences: int = 0
    resyncs: int = 0


class Recorder:
    """Writes one symbol's journal and keeps its book in step.

    Args:
        root: the data folder. run_id: names the run in `open` events.
        max_bytes: compressed size at which a file is rotated; it is rotated on the UTC hour of receive time anyway.
        next_n: gives the next frame number; shared by the recorders of a collector.
        streams: kinds of streams collected, written at the head of each file: an hour without a print then differs from
            an hour in which nobody listened.

    Every method takes `recv_ns` (wall clock, ns) of what happened. Raises StorageError where the journal cannot be
    written. Not thread-safe.
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
    ) -> None:
        self.venue = venue
        self.symbol = symbol
        self.book = BookSync()
        self.counters = Counters({})
        self.last_recv_ns: dict[str, int] = {}
        self.last_event_ms: dict[str, int] = {}
        self._root = root
        self._next_n = next_n
        self._streams = sorted(streams)
        self._n = 0
        self._max_bytes = max_bytes
        self._level = level
        self._file: journal.JournalFile | None = None
        self._hour = -1
        self._last_trade: tuple[int | None, int | None] = (None, None)
        self.sealed: list[Path] = []

    @property
    def path(self) -> Path | None:
        """The growing file."""
        return None if self._file is None else self._file.path

    @property
    def bytes_on_disk(self) -> int:
        """Compressed bytes of the growing file."""
        return 0 if self._file is None else self._file.bytes_written

    def rotation_due(self, recv_ns: int) -> bool:
        """Whether something received at `recv_ns` belongs into a new file."""
        file = self._file
        return file is None or recv_ns // HOUR_NS > self._hour or file.bytes_written >= self._max_bytes

    def open(self, recv_ns: int, mono_ns: int | None, **fields: Any) -> list[Action]:
        """The collector starts. Gives what to do first: fetch a snapshot."""
        self.rotate_if_due(recv_ns, mono_ns)
        self._write_event(recv_ns, mono_ns, "collector", "open", fields)
        return self._noted(self.book.opened(), recv_ns, mono_ns, "collector")

    def frame(self, recv_ns: int, mono_ns: int | None, conn: str, payload: bytes) -> list[Action]:
        """A WebSocket frame: written first, then applied. What cannot be decoded is kept and counted."""
        self.rotate_if_due(recv_ns, mono_ns)
        self._n = self._next_n()
        self._write(journal.ws_line(recv_ns, mono_ns, conn, self._n, payload), recv_ns)
        self.counters.bytes += len(payload)
        try:
            address = frame_address(payload)
            kind: StreamKind | None = None if address is None else address[0]
            name = kind or "control"
            self.counters.frames[name] = self.counters.frames.get(name, 0) + 1
            self.last_recv_ns[name] = recv_ns
            if kind == "depth":
                return self._noted(self._depth(payload, recv_ns), recv_ns, mono_ns, conn)
            if kind == "trade":
                head = _decode_trade_head(frame_message(payload))
                self.last_event_ms["trade"] = head.T
                if self._last_trade[0] is None or head.t > self._last_trade[0]:
                    self._last_trade = (head.t, head.T)
        except (msgspec.DecodeError, ValueError, OverflowError):
            self.counters.undecodable += 1
        return []

    def rest(
        self, recv_ns: int, mono_ns: int | None, conn: str, payload: bytes, *, status: int, sent_ns: int, path: str
    ) -> list[Action]:
        """A REST answer; a depth snapshot of status 200 goes to the book. `path` is the request's, with its query."""
        self.rotate_if_due(recv_ns, mono_ns)
        self._n = self._next_n()
        line = journal.rest_line(recv_ns, mono_ns, conn, self._n, payload, status=status, sent_ns=sent_ns, path=path)
        self._write(line, recv_ns)
        if status != 200 or not path.startswith(self.venue.depth_path):
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
        if event == "disconnect" and "depth" in fields.get("streams", ("depth",)):
            self.book.blame("network")

    def flush(self) -> None:
        """What was written so far becomes readable on disk."""
        if self._file is not None:
            self._file.flush()

    def close(self, recv_ns: int, mono_ns: int | None, reason: str) -> Path | None:
        """The collector ends: say so in the journal and seal the file, whose path is returned."""
        if self._file is None:
            return None
        self._write_event(recv_ns, mono_ns, "collector", "shutdown", {"reason": reason})
        path, self._file = self._file.close(), None
        self.sealed.append(path)
        return path

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
        if not self.rotation_due(recv_ns):
            return
        if self._file is not None:
            self._write_event(recv_ns, mono_ns, "collector", "rotate", {})
            self.sealed.append(self._file.close())
            self._file = None
            self.book.barrier()
        self._file = journal.JournalFile(self._root, self.venue.name, self.symbol, recv_ns, level=self._level)
        self._hour = max(recv_ns // HOUR_NS, self._hour)
        self._write_head(recv_ns, mono_ns)

    def _write_head(self, recv_ns: int, mono_ns: int | None) -> None:
        fields: dict[str, Any] = {
            "streams": self._streams,
            "last_trade_id": self._last_trade[0],
            "last_trade_ms": self._last_trade[1],
        }
        if self.book.live:
            fields |= book_fields(self.book, self._n)
            self._write(journal.book_line(recv_ns, mono_ns, self._n, fields), recv_ns)
        else:
            self._write_event(recv_ns, mono_ns, "collector", "unsynced", fields)

    def _write_event(self, recv_ns: int, mono_ns: int | None, conn: str, event: str, fields: dict[str, Any]) -> None:
        self._write(journal.event_line(recv_ns, mono_ns, conn, self._n, event, **fields), recv_ns)

    def _write(self, line: bytes, recv_ns: int) -> None:
        if self._file is None:
            raise RuntimeError("the journal is closed")
        self._file.write(line, recv_ns)


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
