"""The collector as a named, detached Ray actor that restarts: a thin shell around `Collector`."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import ray

from midas_ray.capture.backoff import full_jitter_s
from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.collector import Collector, failed_health
from midas_ray.capture.health import Health, TopOfBook
from midas_ray.capture.rest import RestClient
from midas_ray.errors import MidasError, VenueError
from midas_ray.log import stage_logger
from midas_ray.settings import Collect
from midas_ray.venues import get_venue

SHUTDOWN_S = 20.0
"""How long a worker that Ray or SIGTERM ends waits for its journal to be sealed."""


class CollectorActor:
    """Runs the collector of one symbol from its creation until `stop`; after a crash Ray starts it anew.

    settings: the fields of `Collect`; data_dir is absolute. What the user can mend (a full disk, another collector that
    holds the symbol) is shown by `health` and tried again; anything else ends the process, and Ray restarts it.
    """

    def __init__(self, symbol: str, settings: dict[str, Any]) -> None:
        self._symbol = symbol
        self._settings = Collect(**settings)
        self._root = Path(self._settings.data_dir)
        self._log = stage_logger(self._root, "collector", symbol)
        self._collector: Collector | None = None
        self._failure: MidasError | None = None
        self._stop_reason: str | None = None
        self._files: list[str] = []
        self._loop = asyncio.get_running_loop()
        # Here, not in a method of its own: what a call has started is not started again after a restart.
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._ended)

    def __repr__(self) -> str:
        return f"Collector({self._symbol})"

    async def health(self) -> Health:
        """State and counts."""
        if self._collector is not None:
            return self._collector.health()
        return failed_health(self._symbol, self._failure or VenueError("starting"))

    async def top(self, levels: int = 10) -> TopOfBook:
        """The best `levels` of each side of the live book. Raises VenueError while the collector does not run."""
        if self._collector is None:
            raise self._failure or VenueError(f"{self._symbol}: the collector is starting; ask again")
        return self._collector.top(levels)

    async def stop(self, reason: str) -> list[str]:
        """Close the connections, write all that was received, seal the files; gives their paths."""
        self._stop_reason = reason
        if self._collector is not None:
            self._collector.stop(reason)
        elif not self._task.done():
            self._task.cancel()
        await asyncio.wait([self._task])
        return self._files

    async def exit(self) -> None:
        """End the actor; its name is free afterwards."""
        await self.stop("exit")
        ray.actor.exit_actor()

    def __ray_shutdown__(self) -> None:
        """Ray ends the worker (SIGTERM, a drained node): seal the journal first.

        Ray calls this on the main thread, after a SIGTERM with the event loop's own thread gone already.
        """
        if self._task.done():
            return
        ending = asyncio.wait_for(self.stop("the worker ends"), SHUTDOWN_S)
        if self._loop.is_running():
            asyncio.run_coroutine_threadsafe(ending, self._loop).result()
        else:
            self._loop.run_until_complete(ending)

    async def _run(self) -> None:
        attempt = 0
        while self._stop_reason is None:
            try:
                await self._collect()
            except MidasError as error:
                self._failure = error
                self._log.error("cannot collect", error=str(error))
                await asyncio.sleep(full_jitter_s(attempt))
                attempt += 1
            finally:
                self._collector = None

    async def _collect(self) -> None:
        settings = self._settings
        with claim_symbol(self._root, settings.venue, self._symbol) as sealed:
            if sealed:
                self._log.warning("sealed what an earlier collector left open", files=[str(path) for path in sealed])
            async with RestClient(get_venue(settings.venue), settings.exchange_url) as rest:
                collector = Collector(self._symbol, settings, self._root, rest, self._log)
                self._collector, self._failure = collector, None
                try:
                    await collector.run()
                finally:
                    self._files += [str(path) for path in collector.recorder.sealed]

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:
            return
        with contextlib.suppress(OSError):  # the process ends either way
            self._log.error("collector crashed", exc_info=task.exception())
        os._exit(1)
