"""The collector of one symbol, without Ray: sockets -> inbox -> one writer, which alone touches the recorder.

The sockets only stamp and queue. The writer writes each frame to the journal, applies it to the book, and obeys what
the book asks for; the slow disk work (flush, rotation, sealing) runs in a thread while the writer waits for it, so that
arrivals are still stamped in time. Queries run on the same event loop and see the book between two frames.
"""

import asyncio
import itertools
import os
import time
from pathlib import Path

import structlog

from midas_ray.book import kernels as k
from midas_ray.book.events import decode_depth
from midas_ray.book.ladder import make_snapshot
from midas_ray.book.sync import Action, BookSync, FetchSnapshot, Gap
from midas_ray.capture.client import Link
from midas_ray.capture.health import Health, LatencyMeter, RateMeter, TopOfBook
from midas_ray.capture.inbox import Arrival, Inbox, Note, Stop
from midas_ray.capture.recorder import Recorder
from midas_ray.capture.rest import RestAnswer, RestClient
from midas_ray.capture.snapshots import SnapshotFetcher
from midas_ray.errors import MidasError, VenueError
from midas_ray.settings import Collect
from midas_ray.venues.messages import DepthUpdate, Level

FLUSH_S = 1.0
BATCH = 64
"""Items handled before other work of the event loop gets its turn."""


class Collector:
    """Captures one symbol into DATA_DIR until stopped. Call `claim_symbol` first; make it on the running event loop.

    rest: shared by the collectors of a process, so that they share its request weight.
    """

    def __init__(
        self, symbol: str, settings: Collect, root: Path, rest: RestClient, log: structlog.stdlib.BoundLogger
    ) -> None:
        venue = rest.venue
        streams = venue.streams(symbol, settings)
        self.symbol = symbol
        self.recorder = Recorder(
            venue,
            symbol,
            root,
            next_n=itertools.count(1).__next__,
            streams=[stream.kind for stream in streams],
            max_bytes=settings.journal_max_mb * 2**20,
            level=settings.compression_level,
        )
        self.started = asyncio.Event()
        self.ever_live = False
        self._rest = rest
        self._log = log
        self._inbox = Inbox()
        self._snapshots = SnapshotFetcher(
            rest, symbol, settings.snapshot_limit, lambda answer, _usable: self._inbox.put(answer), log
        )
        connections = itertools.count(1)
        self._links = [
            Link(
                endpoint,
                self._inbox,
                log,
                new_name=lambda: f"a-{next(connections)}",
                use_proxy=settings.exchange_url is None,
            )
            for endpoint in venue.endpoints(streams, settings.exchange_url)
        ]
        self._stop_reason: str | None = None
        self._stopping = asyncio.Event()
        self._rate = RateMeter()
        self._latency = LatencyMeter()
        self._clock_offset_ms: float | None = None
        self._started_s = time.monotonic()
        self._bytes_on_disk = 0

    def stop(self, reason: str) -> None:
        """End `run` in good order; may be called again."""
        self._stop_reason = self._stop_reason or reason
        self._stopping.set()

    async def run(self) -> None:
        """Capture until `stop`; then close the connections, write all that was received, seal the file.

        Raises StorageError where the journal cannot be written.
        """
        await asyncio.to_thread(_load_kernels)
        await self._measure_clock()
        fields = {"clock_offset_ms": self._clock_offset_ms}
        self._obey(self.recorder.open(time.time_ns(), time.monotonic_ns(), **fields))
        writer = asyncio.create_task(self._write())
        feeders = [asyncio.create_task(link.run()) for link in self._links]
        feeders.append(asyncio.create_task(self._snapshots.run()))
        stopping = asyncio.create_task(self._stopping.wait())
        self.started.set()
        self._log.info("started", journal=str(self.recorder.path), connections=len(self._links))
        try:
            await asyncio.wait([writer, stopping, *feeders], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stopping, *feeders):
                task.cancel()
            ends = await asyncio.gather(*feeders, return_exceptions=True)
            failures = [end for end in ends if isinstance(end, Exception)]
            self._inbox.put(Stop(self._stop_reason or "failed"))
            await writer
            self._log.info("stopped", reason=self._stop_reason, files=[str(path) for path in self.recorder.sealed])
        if failures:
            raise failures[0]

    async def _measure_clock(self) -> None:
        try:
            self._clock_offset_ms = (await self._rest.clock()).offset_ms
        except VenueError as error:
            self._log.warning("clock offset unknown", error=str(error))

    async def _write(self) -> None:
        """The only task that touches the recorder, from the first frame to the seal."""
        flushed_s = time.monotonic()
        while True:
            await self._inbox.wait(FLUSH_S)
            for item in self._inbox.take(BATCH):
                if isinstance(item, Stop):
                    now = time.time_ns(), time.monotonic_ns()
                    path = await asyncio.to_thread(self.recorder.close, *now, item.reason)
                    self._bytes_on_disk = self._sealed_bytes() if path is not None else self._bytes_on_disk
                    return
                await self._handle(item)
            if time.monotonic() - flushed_s >= FLUSH_S:
                self._bytes_on_disk = await asyncio.to_thread(self._flush)
                flushed_s = time.monotonic()
            else:
                await asyncio.sleep(0)

    def _flush(self) -> int:
        self.recorder.flush()
        return self.recorder.bytes_on_disk + self._sealed_bytes()

    def _sealed_bytes(self) -> int:
        return sum(path.stat().st_size for path in self.recorder.sealed if path.exists())

    async def _handle(self, item: Arrival | Note | RestAnswer) -> None:
        recorder = self.recorder
        if recorder.rotation_due(item.recv_ns):
            await asyncio.to_thread(recorder.rotate_if_due, item.recv_ns, item.mono_ns)
        if isinstance(item, Arrival):
            self._arrived(item)
        elif isinstance(item, RestAnswer):
            undecodable = recorder.counters.undecodable
            self._obey(
                recorder.rest(
                    *(item.recv_ns, item.mono_ns, "rest", item.payload),
                    status=item.status,
                    sent_ns=item.sent_ns,
                    path=item.path,
                )
            )
            if recorder.counters.undecodable > undecodable:
                self._log.warning("snapshot cannot be decoded", bytes=len(item.payload))
                self._snapshots.request("undecodable")
        else:
            recorder.event(item.recv_ns, item.mono_ns, item.conn, item.event, **item.fields)
            if item.event == "disconnect" and "depth" in item.fields["streams"]:
                self._snapshots.flowing.clear()

    def _arrived(self, item: Arrival) -> None:
        recorder = self.recorder
        depth_frames = recorder.counters.frames.get("depth", 0)
        self._rate.count(item.mono_ns / 1e9)
        self._obey(recorder.frame(*item))
        if recorder.counters.frames.get("depth", 0) == depth_frames:
            return
        self._snapshots.flowing.set()
        self.ever_live = self.ever_live or recorder.book.live
        if "depth" in recorder.last_event_ms:
            offset_ms = self._clock_offset_ms or 0.0
            self._latency.add(item.recv_ns / 1e6 + offset_ms - recorder.last_event_ms["depth"])

    def _obey(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, FetchSnapshot):
                if action.reason == "gap":
                    self._log.warning("book gap; resyncing", last_update_id=self.recorder.book.last_id)
                self._snapshots.request(action.reason)
            elif isinstance(action, Gap):
                self._log.warning(
                    "book recovered",
                    cause=action.cause,
                    start_ms=action.start_ms,
                    end_ms=action.end_ms,
                    expected_id=action.expected_id,
                    found_id=action.found_id,
                )
            else:
                self._log.error("snapshot contradicts the book", last_update_id=action.last_id)

    @property
    def state(self) -> str:
        """`starting`, `connecting`, or the book's: `live`, `syncing`, `gap`."""
        if not self.started.is_set():
            return "starting"
        carries_depth = any(link.connected for link in self._links if "depth" in link.kinds)
        return self.recorder.book.state_name if carries_depth else "connecting"

    def top(self, levels: int) -> TopOfBook:
        """The best `levels` of each side of the live book."""
        book = self.recorder.book
        sides = [self._side(side, levels) if self.state == "live" else [] for side in (0, 1)]
        return TopOfBook(
            symbol=self.symbol,
            state=self.state,
            last_update_id=book.last_id,
            exchange_ms=book.clock_ms,
            bids=sides[0],
            asks=sides[1],
        )

    def _side(self, side: int, levels: int) -> list[Level]:
        ladder = self.recorder.book.ladder
        keys, _ = ladder.side(side)
        if ladder.known[side] != k.LOWEST_KEY:
            levels = min(levels, int((keys >= ladder.known[side]).sum()))
        return ladder.levels_text(side, self.recorder.book.scale, levels) if levels else []

    def health(self) -> Health:
        """State and counts."""
        recorder, top = self.recorder, self.top(1)
        counters, now_ns, path = recorder.counters, time.time_ns(), recorder.path
        errors = [error for error in (*(link.last_error for link in self._links), self._snapshots.last_error) if error]
        return Health(
            symbol=self.symbol,
            state=self.state,
            pid=os.getpid(),
            error=errors[-1] if errors and self.state != "live" else None,
            uptime_s=time.monotonic() - self._started_s,
            last_update_id=top.last_update_id,
            exchange_ms=top.exchange_ms,
            best_bid=top.bids[0] if top.bids else None,
            best_ask=top.asks[0] if top.asks else None,
            age_s={kind: (now_ns - recv_ns) / 1e9 for kind, recv_ns in recorder.last_recv_ns.items()},
            frames=sum(counters.frames.values()),
            frames_per_s=self._rate.per_second(time.monotonic()),
            bytes=counters.bytes,
            bytes_on_disk=self._bytes_on_disk,
            undecodable=counters.undecodable,
            gaps=counters.gaps,
            divergences=counters.divergences,
            resyncs=counters.resyncs,
            reconnects=sum(max(link.connects - 1, 0) for link in self._links),
            queued=len(self._inbox),
            snapshots=self._snapshots.fetched,
            request_weight=self._rest.used_weight,
            latency_ms={} if (found := self._latency.quantiles_ms()) is None else {"depth": found},
            clock_offset_ms=self._clock_offset_ms,
            n_files=len(recorder.sealed) + (path is not None),
            journal_path=None if path is None else str(path),
        )


def _load_kernels() -> None:
    """Run the compiled book once: loading it takes some 0.5 s, in which the first arrivals would be stamped late."""
    book = BookSync()
    book.snapshot(make_snapshot(1, [("1", "1")], [("2", "1")], None, book.scale))
    message = DepthUpdate(E=1, s="", U=2, u=2, pu=1, T=1, b=[("1", "2")], a=[])
    book.depth(decode_depth(message, 0, "T", True, book.scale))


def failed_health(symbol: str, error: MidasError) -> Health:
    """Health of a collector that cannot run now."""
    return Health(symbol=symbol, state="failed", pid=os.getpid(), error=str(error))
