"""The collector of a group of symbols, without Ray: sockets -> inbox -> one writer, which alone touches the journals.

The sockets only stamp and queue. The writer merges the connections' frames, writes each to its symbol's journal,
applies it to the book, and obeys what the book asks for; the slow disk work (flush, rotation, sealing) runs in a thread
while the writer waits for it, so that arrivals are still stamped in time. Queries run on the same event loop and see a
book between two frames.
"""

import asyncio
import contextlib
import gc
import itertools
import os
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import structlog

from midas_ray.book.events import decode_depth
from midas_ray.book.ladder import make_snapshot
from midas_ray.book.sync import BookSync
from midas_ray.capture.arrivals import Answer, Arrival, Inbox, Leave, Note, Stop
from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.contracts import Contract
from midas_ray.capture.describe import health_of, top_of_book
from midas_ray.capture.health import Health, TopOfBook
from midas_ray.capture.journal import DAMAGED_SUFFIX
from midas_ray.capture.links import Links
from midas_ray.capture.polls import ClockMeter, ContractWatch, OpenInterest
from midas_ray.capture.probe import TradeProbe
from midas_ray.capture.rest import ClockSample, RestAnswer, RestClient
from midas_ray.capture.routes import Routes
from midas_ray.capture.symbol import SymbolCapture
from midas_ray.capture.watch import Watch
from midas_ray.errors import MidasError, StorageError, UsageError
from midas_ray.settings import Collect
from midas_ray.venues.messages import DepthUpdate

FLUSH_S = 1.0
BATCH = 64
"""Items handled before other work of the event loop gets its turn."""
WATCH_S = 1.0
OVERRUN_S = 60.0
"""A connection that ends so soon after the sockets were paused ended for that."""
FALLBACK_BREACHES = 2
"""So often `trade` has stayed silent against evidence before aggregate trades are taken instead."""


class Group:
    """Captures symbols of one venue into DATA_DIR through shared connections until stopped.

    Make it on the running event loop, `add` the symbols, then `run`; symbols may also be added and removed while it
    runs. rest: shared by all that call the exchange from this process. name: the collector's in `Health`.
    """

    def __init__(
        self,
        settings: Collect,
        root: Path,
        rest: RestClient,
        log: structlog.stdlib.BoundLogger,
        *,
        name: str = "collector",
    ) -> None:
        self.name = name
        self.started = asyncio.Event()
        self.inbox = Inbox()
        self.watch = Watch()
        self.links = Links(settings, rest, self.inbox, self.watch, log)
        self.symbols: dict[str, SymbolCapture] = {}
        self._settings, self._root, self._rest, self._log = settings, root, rest, log
        self._next_n = itertools.count(1).__next__
        self._claims: dict[str, contextlib.ExitStack] = {}
        self._past: dict[str, SymbolCapture] = {}
        self._routes = Routes(self.symbols)
        self._stop_reason: str | None = None
        self._stopping = asyncio.Event()
        self._paused_s = -OVERRUN_S
        self._pauses = 0
        self._watched_s = time.monotonic()
        self._failures: list[str] = []
        self._sealed: list[Path] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._writer: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._clock = ClockMeter(rest, self._clock_measured, log)
        self._probe = TradeProbe(rest, self.watch, log)

    # --- what the shell calls ---------------------------------------------------------------------------------------

    async def add(self, symbol: str) -> list[Path]:
        """Collect `symbol` from now on; gives the files of an earlier collector that were sealed.

        Raises UsageError where another collector holds it, StorageError where the folder cannot be written.
        """
        if symbol in self.symbols:
            return []
        claim = contextlib.ExitStack()
        sealed = await asyncio.to_thread(claim.enter_context, claim_symbol(self._root, self._settings.venue, symbol))
        capture = SymbolCapture(
            *(symbol, self._settings, self._root, self._rest, self._log),
            next_n=self._next_n,
            full=self._full,
            deliver=lambda answer, used: self.inbox.put(Answer(symbol, answer, used)),
        )
        capture.clock_offset_ms = self._clock.offset_ms
        for path in sealed:
            if path.name.endswith(DAMAGED_SUFFIX):
                self._log.error("a file left open could not be read to its end; it is kept", path=str(path))
        self._claims[symbol], self.symbols[symbol] = claim, capture
        self._past.pop(symbol, None)
        self._routes.know(capture)
        if self.started.is_set():
            capture.opened()
            self._begin(capture)
            self._subscribe()
        return sealed

    async def remove(self, symbol: str, reason: str) -> None:
        """Collect `symbol` no more: what was received is written and its file sealed. Nothing else is touched.

        Where the group ends meanwhile, `run` seals the file with all others, or tells why it could not.
        """
        if symbol not in self.symbols:
            return
        if self._writer is None:
            self.symbols.pop(symbol)
            self._claims.pop(symbol).close()
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.inbox.put(Leave(symbol, reason, done))
        await asyncio.wait([done, self._writer], return_when=asyncio.FIRST_COMPLETED)

    def stop(self, reason: str) -> None:
        """End `run` in good order; may be called again."""
        self._stop_reason = self._stop_reason or reason
        self._stopping.set()

    async def run(self, *, alone: bool = False) -> None:
        """Capture until `stop`; then close the connections, write all that was received, seal the files.

        alone: this process does nothing else for the rest of its life.
        Raises GeoBlockedError where the exchange does not serve this place, StorageError where a journal could not be
        finished.
        """
        await asyncio.to_thread(_load_kernels)
        if alone:
            _settle()
        for capture in self.symbols.values():
            capture.opened()
        self._writer = writer = asyncio.create_task(self._write())
        writer.add_done_callback(lambda _task: self._ended.set())
        self.started.set()
        self._start_feeders()
        stopping = asyncio.create_task(self._stopping.wait())
        ended = asyncio.create_task(self._ended.wait())
        self._log.info("started", symbols=list(self.symbols), connections=self._settings.connections)
        try:
            await asyncio.wait([stopping, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._probe.close()
            feeders = [*self._tasks.values()]
            for task in (stopping, ended, *feeders):
                task.cancel()
            ends = [*await asyncio.gather(*feeders, return_exceptions=True), *await self.links.close()]
            self.inbox.put(Stop(self._stop_reason or "failed"))
            await writer
            for claim in self._claims.values():
                claim.close()
            self._log.info("stopped", reason=self._stop_reason, files=len(self.sealed))
        failures = [end for end in ends if isinstance(end, Exception)]
        if failures:
            raise failures[0]
        if self._failures:
            raise StorageError("; ".join(self._failures))

    @property
    def sealed(self) -> list[Path]:
        """Sealed files of this run, those of removed symbols among them."""
        return [*self._sealed, *(path for capture in self.symbols.values() for path in capture.recorder.sealed)]

    def capture_of(self, symbol: str) -> SymbolCapture:
        """A symbol that is collected, or that the venue delisted. Raises UsageError for any other."""
        capture = self.symbols.get(symbol) or self._past.get(symbol)
        if capture is None:
            raise UsageError(f"{symbol}: expected a symbol of this collector, found {', '.join(self.symbols)}")
        return capture

    def health(self, symbol: str) -> Health:
        """State and counts of a symbol. Raises as `capture_of`."""
        capture = self.capture_of(symbol)
        errors = [error for error in (capture.snapshots.last_error, self.links.last_error) if error]
        return health_of(
            capture,
            pid=os.getpid(),
            collector=self.name,
            state=capture.state if self.started.is_set() else "starting",
            error=capture.recorder.failure
            or (errors[0] if errors and capture.state not in ("live", "delisted") else None),
            queued=len(self.inbox),
            reconnects=self.links.reconnects,
            request_weight=self._rest.used_weight,
        )

    def healths(self) -> list[Health]:
        """Health of every symbol, and of those the venue delisted."""
        return [self.health(symbol) for symbol in sorted({*self.symbols, *self._past})]

    def top(self, symbol: str, levels: int) -> TopOfBook:
        """The best `levels` of each side of a symbol's live book. Raises as `capture_of`."""
        return top_of_book(self.capture_of(symbol), levels)

    # --- feeders ----------------------------------------------------------------------------------------------------

    def _start_feeders(self) -> None:
        settings = self._settings
        for capture in self.symbols.values():
            self._begin(capture)
        self._spawn("links", self.links.run())
        self._subscribe()
        self._spawn("watch", self._watch_streams())
        self._spawn("clock", self._clock.run())
        self._spawn("contracts", ContractWatch(self._rest, self.symbols.keys, self._contract, self._log).run())
        if settings.enable_open_interest and self._rest.venue.open_interest_path is not None:
            poll = OpenInterest(self._rest, self.symbols.keys, self._interest, self._log)
            self._spawn("open interest", poll.run())

    def _begin(self, capture: SymbolCapture) -> None:
        self._spawn(f"snapshots {capture.symbol}", capture.snapshots.run())

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the writer; the group ends where it fails."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda done: None if done.cancelled() or done.exception() is None else self._ended.set())
        self._tasks[name] = task

    def _subscribe(self) -> None:
        self.links.carry([stream for capture in self.symbols.values() for stream in capture.streams])

    def _interest(self, symbol: str, answer: RestAnswer) -> None:
        self.inbox.put(Answer(symbol, answer, used=True))

    def _clock_measured(self, sample: ClockSample) -> None:
        for capture in self.symbols.values():
            capture.clock_offset_ms = sample.offset_ms
            offset_ms, round_trip_ms = round(sample.offset_ms, 3), round(sample.round_trip_ms, 3)
            capture.event("clock", offset_ms=offset_ms, round_trip_ms=round_trip_ms)

    def _contract(self, symbol: str, now: Contract, before: Contract | None) -> None:
        """The venue's terms of a symbol are known, or have changed."""
        capture = self.symbols.get(symbol)
        if capture is None:
            return
        was = None if before is None else msgspec.to_builtins(before)
        capture.event("contract", contract=msgspec.to_builtins(now), was=was)
        if not now.trading:
            self._log.warning("delisted", symbol=symbol, status=now.status)
            self.inbox.put(Leave(symbol, f"delisted: {now.status}", asyncio.get_running_loop().create_future()))

    async def _watch_streams(self) -> None:
        """Each second: which streams are silent where they should speak? Their connections are renewed, one by one."""
        while True:
            await asyncio.sleep(WATCH_S)
            now_s = time.monotonic()
            for breach in self.watch.check(now_s, now_s - self._watched_s):
                if self.links.renew_silent(breach):
                    fields = {
                        "stream": breach.stream.name,
                        "silent_s": round(breach.silent_s, 1),
                        "reason": breach.reason,
                    }
                    self._log.warning("silent stream; renewing its connection", conn=breach.conn, **fields)
                    names = (breach.stream.name.encode(),)
                    self.inbox.put(Note(time.time_ns(), time.monotonic_ns(), breach.conn, "silent", names, fields))
            self._watched_s = now_s
            for capture in self.symbols.values():
                self._watch_trades(capture, now_s)

    def _watch_trades(self, capture: SymbolCapture, now_s: float) -> None:
        """Prints may stay away because nothing is traded: ask the exchange before taking the stream for dead."""
        stream = capture.trade_stream()
        if stream is None:
            return
        self._probe.look(stream, capture.last_trade_id, now_s)
        never = not self.watch.speaks(stream) and self.watch.breaches(stream) >= FALLBACK_BREACHES
        if never and not any(other.kind == "aggTrade" for other in capture.streams):
            capture.fall_back()
            self._routes.know(capture)
            self._subscribe()

    # --- the writer -------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """The only task that touches the journals, from the first frame to the seal."""
        flushed_s = time.monotonic()
        while True:
            await self.inbox.wait(self._patience_s(flushed_s))
            for item in self.inbox.take(BATCH):
                if isinstance(item, Stop):
                    await asyncio.to_thread(self._close_all, item.reason)
                    return
                await self._handle(item)
            now_s = time.monotonic()
            await self._give_up_waiting(now_s)
            for capture in self.symbols.values():
                capture.recorder.spill()  # nobody asks before a kill
            if now_s - flushed_s >= FLUSH_S:
                flushed_s = now_s
                await asyncio.to_thread(self._flush_all)
            else:
                await asyncio.sleep(0)

    async def _give_up_waiting(self, now_s: float) -> None:
        """Wait no longer for what is missing, once nothing that arrived waits to be read: after a pause of this process
        the sockets hold what came meanwhile."""
        due = [capture for capture in self.symbols.values() if capture.next_due_s is not None]
        due = [capture for capture in due if (capture.next_due_s or 0.0) <= now_s]
        if not due:
            return
        for _ in range(2):  # one round of the event loop reads the sockets, one puts the messages here
            await asyncio.sleep(0)
        if len(self.inbox) == 0:
            for capture in due:
                capture.due(now_s)

    def _patience_s(self, flushed_s: float) -> float:
        """Seconds until something is to be done without an item."""
        due_s = [capture.next_due_s for capture in self.symbols.values() if capture.next_due_s is not None]
        return max(min([flushed_s + FLUSH_S, *due_s]) - time.monotonic(), 0.0)

    async def _handle(self, item: Arrival | Note | Answer | Leave) -> None:
        if isinstance(item, Arrival):
            for capture, kind in self._routes.addressees(item):
                if capture.recorder.rotation_due(item.recv_ns):
                    await asyncio.to_thread(capture.recorder.rotate_if_due, item.recv_ns, item.mono_ns)
                capture.arrived(item, kind)
        elif isinstance(item, Answer):
            asker = self.symbols.get(item.symbol)
            if asker is not None:  # else it was removed while the answer was on its way
                asker.answered(item)
        elif isinstance(item, Note):
            self._noted(item)
        else:
            await self._leave(item)

    def _noted(self, note: Note) -> None:
        if self.inbox.pauses != self._pauses:
            self._pauses, self._paused_s = self.inbox.pauses, time.monotonic()
        overrun = note.event == "disconnect" and time.monotonic() - self._paused_s < OVERRUN_S
        for capture, kinds in self._routes.concerned(note):
            capture.noted(note, kinds, overrun)

    async def _leave(self, item: Leave) -> None:
        capture = self.symbols.pop(item.symbol, None)
        if capture is not None:
            if item.reason.startswith("delisted"):
                capture.ended = "delisted"
                self._past[item.symbol] = capture
            self._routes.forget(capture)
            self._subscribe()
            task = self._tasks.pop(f"snapshots {item.symbol}", None)
            if task is not None:
                task.cancel()
            await asyncio.to_thread(self._close, capture, item.reason)
            self._sealed += capture.recorder.sealed
            self._claims.pop(item.symbol).close()
        if not item.done.done():
            item.done.set_result(None)

    def _full(self) -> bool:
        held = sum(capture.recorder.held_bytes for capture in self.symbols.values())
        return held > self._settings.memory_limit_mb * 2**20

    def _flush_all(self) -> None:
        for capture in self.symbols.values():
            capture.flush()

    def _close_all(self, reason: str) -> None:
        for capture in self.symbols.values():
            self._close(capture, reason)

    def _close(self, capture: SymbolCapture, reason: str) -> None:
        try:
            capture.close(reason)
        except MidasError as error:
            self._failures.append(str(error))
            capture.log.error("journal not sealed", error=str(error))  # noqa: TRY400 - the line says it all


def _settle() -> None:
    """What is loaded by now stays for good: full garbage collections need not look at all of it again, some 0.1 s each,
    while arrivals wait."""
    gc.collect()
    gc.freeze()


def _load_kernels() -> None:
    """Run the compiled book once: loading it takes some 0.5 s, in which the first arrivals would be stamped late."""
    book = BookSync()
    book.snapshot(make_snapshot(1, [("1", "1")], [("2", "1")], None, book.scale))
    message = DepthUpdate(E=1, s="", U=2, u=2, pu=1, T=1, b=[("1", "2")], a=[])
    book.depth(decode_depth(message, 0, "T", True, book.scale))
