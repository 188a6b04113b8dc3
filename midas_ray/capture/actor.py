"""A collector process as a named, detached Ray actor that restarts: a thin shell around `Group`."""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import Any

import ray
import structlog

from midas_ray.capture.answers import Answer, answering
from midas_ray.capture.backoff import full_jitter_s
from midas_ray.capture.desired import plan_for_collector
from midas_ray.capture.group import Group
from midas_ray.capture.groups import SymbolGroup, actor_name
from midas_ray.capture.health import Health, TopOfBook
from midas_ray.capture.limits_actor import RemoteLimits
from midas_ray.capture.metrics import MetricsExporter
from midas_ray.capture.rest import RestClient
from midas_ray.capture.sessions import keep_session, session_folder
from midas_ray.capture.upload import Uploader, start_uploader
from midas_ray.errors import GeoBlockedError, MidasError, StorageError, UsageError, VenueError
from midas_ray.log import stage_logger
from midas_ray.storage import Storage
from midas_ray.venues import get_venue

SHUTDOWN_S = 20.0
"""How long a worker that Ray or SIGTERM ends waits for its journals to be sealed."""
UPLOAD_S = 20.0
"""How long a collector that is stopped goes on to upload; midas down does the rest."""
ROUND_S = 5.0
"""Metrics are exported, and symbols that could not be taken on are tried again, this often."""
GEO_BLOCK_S = 600.0
"""An exchange that does not serve this country is asked again this often."""
HOUSEKEEPING_S = 3600.0
LIMITS_S = 2.0
"""How long the limits may take to be told; a status without them is better than none."""
CRASH_LOOP_S = 60.0
CRASH_PAUSE_S = 30.0
"""What crashes within the minute will crash again: it waits, showing why, so that Ray's logs don't fill /tmp."""


class CollectorActor:
    """Collects the symbols that the plan in DATA_DIR gives its group, from its creation until `stop`.

    After a crash Ray starts it anew, elsewhere if the node is gone; it reads the plan then, so that symbols added or
    removed since its creation are known. What the user can mend (a symbol that another collector holds, a refused
    address) is shown by `healths` and tried again; anything else ends the process.

    group: its name in the plan. data_dir: absolute; a spool where `store` names the object store that sealed files go
    to.
    """

    def __init__(self, group: str, data_dir: str, store: str | None = None) -> None:
        self._name = group
        self._root = Path(data_dir)
        self._store = store
        self._uploader: Uploader | None = None
        self._log: structlog.stdlib.BoundLogger | None = None
        self._group: Group | None = None
        self._wanted: tuple[str, ...] = ()
        self._failure: str | None = None
        self._refused: dict[str, str] = {}
        self._stop_reason: str | None = None
        self._stopping = asyncio.Event()
        self._reconciling = asyncio.Lock()
        self._ending: Group | None = None
        self._limits: RemoteLimits | None = None
        self._exchange = ""
        self._files: list[str] = []
        self._lost: str | None = None
        self._started_s = time.monotonic()
        self._loop = asyncio.get_running_loop()
        with contextlib.suppress(MidasError):  # it is read again, and the error shown, by what runs below
            self._wanted = self._planned().symbols
        # Here, not in a method of its own: what a call has started is not started again after a restart.
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def __repr__(self) -> str:
        return f"Collector({self._name}: {' '.join(self._wanted) or 'no symbols'})"

    async def healths(self) -> list[Health]:
        """State and counts of every symbol that it is to collect."""
        return [self._health(symbol) for symbol in self._wanted]

    async def top(self, symbol: str, levels: int = 10) -> TopOfBook:
        """The best `levels` of each side of the live book. Raises VenueError while the symbol is not collected."""
        if self._group is None or symbol not in self._group.symbols:
            health = self._health(symbol)
            raise VenueError(f"{symbol}: not collected now ({health.error or health.state}); ask again")
        return self._group.top(symbol, levels)

    async def sync(self) -> None:
        """Take on and let go of symbols, as the plan says now. Raises DataError where it cannot be read."""
        self._wanted = self._planned().symbols
        if self._group is not None:
            await self._reconcile(self._group)

    async def stop(self, reason: str) -> list[str]:
        """Close the connections, write all that was received, seal the files; gives their paths."""
        self._stop_reason = self._stop_reason or reason
        self._stopping.set()
        if self._group is not None:
            await self._end_group(self._group)
        await asyncio.wait([self._task])
        if self._uploader is not None:
            try:
                await asyncio.to_thread(self._uploader.finish, UPLOAD_S)
            except StorageError as error:
                self._log_error("cannot upload", error=str(error))
        return self._files

    async def lost(self) -> str | None:
        """What of the last run could not be brought to disk, after `stop`; None where all was."""
        return self._lost

    async def exit(self) -> None:
        """End the actor; its name is free afterwards."""
        await self.stop("exit")
        ray.actor.exit_actor()

    def __ray_shutdown__(self) -> None:
        """Ray ends the worker (SIGTERM, a drained node): seal the journals first.

        Ray calls this on the main thread, after a SIGTERM with the event loop's own thread gone already.
        """
        if self._task.done():
            return
        ending = asyncio.wait_for(self.stop("the worker ends"), SHUTDOWN_S)
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(ending, self._loop).result()
        else:
            self._loop.run_until_complete(ending)

    def _planned(self) -> SymbolGroup:
        return plan_for_collector(self._root).groups.get(self._name) or SymbolGroup(settings={})

    def _health(self, symbol: str) -> Health:
        if self._group is not None:
            with contextlib.suppress(UsageError):  # not in the group (yet)
                return self._group.health(symbol)
        error = self._failure or self._refused.get(symbol)
        state = "starting" if error is None else "failed"
        return Health(symbol=symbol, state=state, pid=os.getpid(), collector=self._name, error=error)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(self._keep())
            await self._collect_until_stopped()
            keeping.cancel()

    async def _collect_until_stopped(self) -> None:
        attempt = 0
        while self._stop_reason is None:
            try:
                await self._collect()
                attempt = 0
            except MidasError as error:
                self._failure = str(error)
                self._log_error("cannot collect", error=str(error))
                pause_s = GEO_BLOCK_S if isinstance(error, GeoBlockedError) else 0.5 + full_jitter_s(attempt)
                attempt += 1
                await self._pause(pause_s)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _collect(self) -> None:
        planned = self._planned()
        self._wanted = planned.symbols
        if not planned.symbols:
            await self._pause(ROUND_S)  # its last symbol has been taken off; it is about to be ended
            return
        self._log = self._log or stage_logger(self._root, "collector", self._name)
        if self._store is not None and self._uploader is None:
            self._uploader = start_uploader(self._root, Storage(self._store), self._log)
        settings = planned.collect(str(self._root))
        venue = get_venue(settings.venue)
        self._exchange = settings.exchange_url or settings.venue
        limits = self._limits = RemoteLimits(venue, settings.exchange_url, self._log)
        async with RestClient(venue, settings.exchange_url, limits=limits) as rest:
            if self._stop_reason is not None:
                return
            group = Group(settings, self._root, rest, self._log, name=self._name)
            self._group, self._failure = group, None
            running = asyncio.create_task(group.run(alone=True))
            try:
                await self._reconcile(group)
                await asyncio.wait([running])
            finally:
                await self._end_group(group)
                try:
                    await running
                except StorageError as error:
                    self._lost = str(error)
                    raise
                finally:
                    self._group = None  # what it said last is not so any more
                    self._files += [str(path) for path in group.sealed]

    async def _end_group(self, group: Group) -> None:
        """Not while a symbol is being taken on: that would come to hold a claim and a file that nobody closes."""
        async with self._reconciling:
            group.stop(self._stop_reason or "failed")
            self._ending = group

    async def _keep(self) -> None:
        """Beside the capture: try refused symbols again, export metrics, keep Ray's session folder in order."""
        exporter = MetricsExporter(self._name)
        folder = session_folder()
        async with contextlib.AsyncExitStack() as open_until_the_end:
            tidy = open_until_the_end.enter_context(keep_session(folder))
            if folder is not None:
                name = actor_name(self._root, self._name)
                await open_until_the_end.enter_async_context(answering(folder, name, self._answer))
            tidied_s = -HOUSEKEEPING_S
            while True:
                await asyncio.sleep(ROUND_S)
                group = self._group
                if group is not None and self._refused:
                    await self._reconcile(group)
                for symbol in self._wanted:
                    exporter.export(self._health(symbol))
                    await asyncio.sleep(0)  # arrivals go first
                with contextlib.suppress(OSError):  # the exporter shows that by no value, the symbols by their state
                    exporter.export_disk(self._root)
                for symbol in set(exporter.symbols) - set(self._wanted):
                    exporter.forget(symbol)
                if time.monotonic() - tidied_s > HOUSEKEEPING_S:
                    await asyncio.to_thread(tidy)
                    tidied_s = time.monotonic()

    async def _answer(self) -> Answer:
        limits = None
        if self._limits is not None:
            with contextlib.suppress(TimeoutError):  # it is being started again
                async with asyncio.timeout(LIMITS_S):
                    limits = await self._limits.state()
        return Answer(await self.healths(), self._exchange, limits)

    async def _reconcile(self, group: Group) -> None:
        """Bring the group's symbols to what is wanted; one that cannot be taken on now is left for later."""
        async with self._reconciling:
            if group is self._ending:
                return
            for symbol in [symbol for symbol in group.symbols if symbol not in self._wanted]:
                await group.remove(symbol, "no longer wanted")
            refused: dict[str, str] = {}
            known = {health.symbol for health in group.healths()}  # those the venue delisted among them
            for symbol in [symbol for symbol in self._wanted if symbol not in known]:
                try:
                    await group.add(symbol)
                except MidasError as error:
                    refused[symbol] = str(error)
                    if refused[symbol] != self._refused.get(symbol):
                        self._log_error("cannot collect", symbol=symbol, error=str(error))
            self._refused = refused

    def _log_error(self, event: str, **fields: Any) -> None:
        if self._log is not None:
            self._log.error(event, **fields)

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        self._failure = f"the collector crashed ({type(error).__name__}: {error}) and is started again"
        self._log_error("collector crashed", exc_info=error)
        early = time.monotonic() - self._started_s < CRASH_LOOP_S
        self._loop.call_later(CRASH_PAUSE_S if early else 0.0, os._exit, 1)
