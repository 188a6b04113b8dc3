"""The connections of a collector: its streams packed over them by the venue's limits, each pack carried by A and B."""

import asyncio
import itertools
from collections.abc import Iterable

import structlog

from midas_ray.capture.arrivals import Inbox
from midas_ray.capture.connection import Wiring
from midas_ray.capture.link import Link
from midas_ray.capture.rest import RestClient
from midas_ray.capture.watch import Breach, Watch
from midas_ray.settings import Collect
from midas_ray.venues.base import Stream

LETTERS = "ab"


class Links:
    """Every connection of a collector. `carry` says which streams; `run` keeps the connections up."""

    def __init__(
        self, settings: Collect, rest: RestClient, inbox: Inbox, watch: Watch, log: structlog.stdlib.BoundLogger
    ) -> None:
        self._settings, self._watch = settings, watch
        self._wiring = Wiring(
            venue=rest.venue,
            inbox=inbox,
            watch=watch,
            limits=rest.limits,
            log=log,
            exchange_url=settings.exchange_url,
        )
        self._numbers = {letter: itertools.count(1) for letter in LETTERS}
        self._packs: list[tuple[str, list[Stream], list[Link]]] = []
        self._tasks: dict[Link, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    @property
    def all(self) -> list[Link]:
        """Every link."""
        return [link for _, _, links in self._packs for link in links]

    @property
    def last_error(self) -> str | None:
        """What was wrong with a connection that is down now."""
        return next((link.last_error for link in self.all if not link.connected and link.last_error), None)

    @property
    def reconnects(self) -> int:
        """Connections that came after another had failed."""
        return sum(max(link.connects - 1 - link.renewals, 0) for link in self.all)

    def carry(self, streams: Iterable[Stream]) -> None:
        """Carry these streams from now on. A stream stays on the connections that it is on."""
        wanted = dict.fromkeys(streams)
        for _, pack, _ in self._packs:
            pack[:] = [stream for stream in pack if stream in wanted]
        carried = {stream for _, pack, _ in self._packs for stream in pack}
        most = self._wiring.venue.streams_per_connection
        for stream in wanted:
            if stream in carried:
                continue
            room = [pack for route, pack, _ in self._packs if route == stream.route and len(pack) < most]
            if room:
                room[0].append(stream)
            else:
                self._packs.append((stream.route, [stream], []))
        self._packs = [entry for entry in self._packs if entry[1] or self._give_up(entry[2])]
        for route, pack, links in self._packs:
            if not links:
                links += [self._new_link(route, pack, letter) for letter in LETTERS[: self._settings.connections]]
            for link in links:
                if link.streams != pack:
                    link.set_streams(pack)
        self._changed.set()

    async def run(self) -> None:
        """Keep the connections up until cancelled; then `close`. Raises what ends a link for good: GeoBlockedError."""
        while True:
            self._changed.clear()
            for link in self.all:
                if link not in self._tasks:
                    self._tasks[link] = asyncio.create_task(link.run())
            changed = asyncio.create_task(self._changed.wait())
            try:
                done, _ = await asyncio.wait([changed, *self._tasks.values()], return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
            for task in done - {changed}:
                if not task.cancelled():
                    task.result()
            self._tasks = {link: task for link, task in self._tasks.items() if not task.done()}

    async def close(self) -> list[BaseException]:
        """End every connection; gives what ended one before."""
        for task in self._tasks.values():
            task.cancel()
        ends = await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        return [end for end in ends if isinstance(end, BaseException) and not isinstance(end, asyncio.CancelledError)]

    def renew_silent(self, breach: Breach) -> bool:
        """Renew the connection of a silent stream, unless it or its twin is being renewed: never both at a time."""
        for _, _, links in self._packs:
            link = next((link for link in links if link.carries(breach.conn)), None)
            if link is not None:
                if any(each.renewing for each in links if each is not link and each.connects) or link.renewing:
                    return False
                self._watch.acted(breach)
                link.renew(f"{breach.stream.name}: {breach.reason}")
                return True
        return False

    def _give_up(self, links: list[Link]) -> bool:
        for link in links:
            task = self._tasks.get(link)
            if task is not None:
                task.cancel()
        return False

    def _new_link(self, route: str, streams: list[Stream], letter: str) -> Link:
        age_s = self._settings.connection_max_age
        numbers = self._numbers[letter]
        return Link(
            self._wiring,
            route,
            streams,
            letter,
            new_name=lambda: f"{letter}-{next(numbers)}",
            # B is renewed half a life after A, so that one of them is always in the middle of its own.
            first_age_s=age_s if letter == LETTERS[0] else age_s / 2,
            age_s=age_s,
        )
