"""Is a stream of prints silent because nothing is traded? The exchange's REST knows the last trade's id."""

import asyncio

import msgspec
import structlog

from midas_ray.capture.limits import Priority
from midas_ray.capture.rest import RestClient
from midas_ray.capture.watch import FIRST_S, MOST_PATIENCE_S, Watch
from midas_ray.errors import VenueError
from midas_ray.venues.base import Stream


class _LastTrade(msgspec.Struct, frozen=True):
    lastId: int


_decode = msgspec.json.Decoder(_LastTrade).decode


class _Doubt:
    """Of one symbol: the exchange's last trade id when first asked, and when to ask next (monotonic clock)."""

    def __init__(self, now_s: float) -> None:
        self.next_s = now_s
        self.pause_s = FIRST_S
        self.first_id: int | None = None
        self.asking: asyncio.Task[None] | None = None


class TradeProbe:
    """Asks for streams of prints that no connection brings, ever more rarely; tells the watch of trades it missed."""

    def __init__(self, rest: RestClient, watch: Watch, log: structlog.stdlib.BoundLogger) -> None:
        self._rest = rest
        self._watch = watch
        self._log = log
        self._doubts: dict[str, _Doubt] = {}

    def look(self, stream: Stream, last_trade_id: int | None, now_s: float) -> None:
        """Called each second. last_trade_id: the newest print received."""
        if self._watch.quiet_s(stream, now_s) < FIRST_S:
            self._doubts.pop(stream.symbol, None)
            return
        doubt = self._doubts.setdefault(stream.symbol, _Doubt(now_s))
        if now_s >= doubt.next_s and (doubt.asking is None or doubt.asking.done()):
            doubt.next_s = now_s + doubt.pause_s
            doubt.pause_s = min(2 * doubt.pause_s, MOST_PATIENCE_S)
            doubt.asking = asyncio.create_task(self._ask(stream, doubt, last_trade_id, now_s))

    def close(self) -> None:
        """Ask no more."""
        for doubt in self._doubts.values():
            if doubt.asking is not None:
                doubt.asking.cancel()

    async def _ask(self, stream: Stream, doubt: _Doubt, last_trade_id: int | None, now_s: float) -> None:
        """One question; where it is not answered, the next one will be."""
        try:
            answer = await self._rest.get(self._rest.venue.tickers_path, 1, Priority.POLL, symbol=stream.symbol.upper())
            answer.check()
            newest_id = _decode(answer.payload).lastId
        except (VenueError, msgspec.DecodeError) as error:
            self._log.warning("the last trade's id is unknown", symbol=stream.symbol, error=str(error))
            return
        known_id = doubt.first_id if last_trade_id is None else last_trade_id
        if known_id is not None and newest_id > known_id:
            self._watch.traded(stream.symbol, now_s)
        if doubt.first_id is None:
            doubt.first_id = newest_id
