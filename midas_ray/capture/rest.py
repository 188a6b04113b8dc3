"""The exchange's REST, outside the message path: request weight kept, refusals said in one line."""

import asyncio
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urlencode

import aiohttp
import msgspec
import stamina

from midas_ray.errors import UnknownSymbolError, UsageError, VenueError
from midas_ray.venues.base import Venue
from midas_ray.venues.messages import ExchangeInfo, RestError, ServerTime

TIMEOUT_S = 10.0
MINUTE_NS = 60 * 10**9
WEIGHT_SHARE = 0.8
"""Share of the venue's request weight that is used: other programs behind the same address count too."""
WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
INVALID_SYMBOL = -1121
BACK_OFF_S = 60.0
"""Pause after a 429 or 418 that does not say how long."""

_decode_error = msgspec.json.Decoder(RestError).decode
_decode_info = msgspec.json.Decoder(ExchangeInfo).decode
_decode_time = msgspec.json.Decoder(ServerTime).decode


class TransientVenueError(VenueError):
    """The exchange did not answer this time, or answered with a server error: worth another try."""


@dataclass(frozen=True, slots=True)
class RestAnswer:
    """An HTTP answer of any status: `path` with its query, the body, when the request left and the body was whole."""

    path: str
    status: int
    payload: bytes
    sent_ns: int
    recv_ns: int
    mono_ns: int


class WeightBudget:
    """Request weight of the running minute, as the venue counts it, and how long it must not be called at all."""

    def __init__(self, per_minute: int) -> None:
        self.limit = per_minute
        self._used = 0
        self._minute = 0
        self._blocked_until_ns = 0

    def used(self, now_ns: int) -> int:
        """Weight used in the minute of `now_ns`."""
        return self._used if now_ns // MINUTE_NS == self._minute else 0

    def take(self, weight: int, now_ns: int) -> None:
        """Count a request before it leaves."""
        self.report(self.used(now_ns) + weight, now_ns)

    def report(self, used: int, now_ns: int) -> None:
        """What the venue says is used."""
        self._used, self._minute = used, now_ns // MINUTE_NS

    def block(self, until_ns: int) -> None:
        """The venue refuses calls until then."""
        self._blocked_until_ns = max(self._blocked_until_ns, until_ns)

    def wait_s(self, weight: int, now_ns: int) -> float:
        """Seconds to wait before a request of this weight may leave."""
        wait_ns = max(self._blocked_until_ns - now_ns, 0)
        if self.used(now_ns) + weight > WEIGHT_SHARE * self.limit:
            wait_ns = max(wait_ns, MINUTE_NS - now_ns % MINUTE_NS)
        return wait_ns / 1e9


class RestClient:
    """The venue's public REST, for all symbols of a process. Use as an async context manager.

    exchange_url: http base of a simulated exchange; None = the venue's own servers. Raises UsageError for no URL.
    """

    def __init__(self, venue: Venue, exchange_url: str | None = None) -> None:
        if exchange_url is not None and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", exchange_url):
            raise UsageError(f"--exchange-url: expected http://HOST:PORT, found {exchange_url!r}")
        self.venue = venue
        self.budget = WeightBudget(venue.weight_per_minute)
        self._exchange_url = exchange_url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "RestClient":
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        self._session = aiohttp.ClientSession(timeout=timeout, trust_env=self._exchange_url is None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, weight: int, **query: str | int) -> RestAnswer:
        """GET, once the weight budget allows it; an answer of any status. Raises VenueError where none comes."""
        if self._session is None:
            raise RuntimeError("use RestClient as an async context manager")
        await asyncio.sleep(self.budget.wait_s(weight, time.time_ns()))
        full_path = path + ("?" + urlencode(query) if query else "")
        url = self.venue.rest_url(full_path, self._exchange_url)
        self.budget.take(weight, time.time_ns())
        sent_ns = time.time_ns()
        try:
            async with self._session.get(url) as response:
                payload = await response.read()
                headers, status = response.headers, response.status
        except TimeoutError:
            raise TransientVenueError(
                f"{url}: expected an answer within {TIMEOUT_S:.0f} s, found none; check the network"
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise VenueError(f"{url}: cannot reach the exchange ({_reason(error)}); {self._advice}") from None
        except (aiohttp.ClientError, ValueError) as error:
            raise TransientVenueError(f"{url}: no answer ({str(error) or type(error).__name__}); check it") from None
        answer = RestAnswer(full_path, status, payload, sent_ns, time.time_ns(), time.monotonic_ns())
        self._count(answer, headers.get(WEIGHT_HEADER), headers.get("Retry-After"))
        return answer

    @property
    def _advice(self) -> str:
        if self._exchange_url is None:
            return "check the network"
        return "check --exchange-url, and that the simulated exchange runs (midas simulate)"

    def _count(self, answer: RestAnswer, used: str | None, retry_after: str | None) -> None:
        if used is not None and used.isdecimal():
            self.budget.report(int(used), answer.recv_ns)
        if answer.status in (418, 429):
            until = re.search(rb"until (\d{13})", answer.payload)
            wait_s = float(retry_after) if retry_after and retry_after.isdecimal() else BACK_OFF_S
            self.budget.block(int(until[1]) * 10**6 if until else answer.recv_ns + int(wait_s * 1e9))

    def refusal(self, answer: RestAnswer) -> str | None:
        """Why an answer is not what was asked, in one line; None where it is."""
        status, wait_s = answer.status, self.budget.wait_s(0, time.time_ns())
        where = self.venue.rest_url(answer.path.partition("?")[0], self._exchange_url)
        match status:
            case 200:
                return None
            case 429:
                return f"{where}: over the request weight limit (HTTP 429); calling again in {wait_s:.0f} s"
            case 418:
                return (
                    f"{where}: this address is banned (HTTP 418) for {wait_s:.0f} s more; stop other programs that call"
                )
            case 451:
                return f"{where}: not served in this country (HTTP 451); run from another location"
            case 403:
                return f"{where}: refused by the exchange's firewall (HTTP 403); wait, or use another address"
        try:
            error = _decode_error(answer.payload)
        except msgspec.DecodeError:
            return f"{where}: expected HTTP 200, found {status}; try again later"
        return f"{where}: HTTP {status}, error {error.code}: {error.msg}"

    async def depth(self, symbol: str, limit: int) -> RestAnswer:
        """A depth snapshot of `limit` levels a side."""
        weight = self.venue.depth_weight(limit)
        return await self.get(self.venue.depth_path, weight, symbol=symbol.upper(), limit=limit)

    async def check_symbols(self, symbols: Iterable[str]) -> None:
        """Raises UnknownSymbolError for a symbol the venue does not list, VenueError where it cannot be asked."""
        listed: set[str] = set()
        for symbol in symbols:
            if symbol.upper() in listed:
                continue
            info = await self._exchange_info(symbol)
            listed |= {entry.symbol for entry in info.symbols}
            if symbol.upper() not in listed:
                raise self._unknown(symbol)

    def _unknown(self, symbol: str) -> UnknownSymbolError:
        return UnknownSymbolError(f"--symbols: {self.venue.name} does not list {symbol!r}; check the spelling")

    async def _exchange_info(self, symbol: str) -> ExchangeInfo:
        answer = await self._insist(
            self.venue.exchange_info_path, self.venue.exchange_info_weight, symbol=symbol.upper()
        )
        refusal = self.refusal(answer)
        if refusal is not None:
            if answer.status == 400 and f'"code":{INVALID_SYMBOL}'.encode() in answer.payload.replace(b" ", b""):
                raise self._unknown(symbol)
            raise VenueError(refusal)
        try:
            info = _decode_info(answer.payload)
        except msgspec.DecodeError as error:
            raise VenueError(f"{answer.path}: expected the venue's exchange information, found: {error}") from None
        for limit in info.rateLimits:
            if (limit.rateLimitType, limit.interval, limit.intervalNum) == ("REQUEST_WEIGHT", "MINUTE", 1):
                self.budget.limit = limit.limit
        return info

    async def clock_offset_ms(self) -> float:
        """The exchange's clock minus this machine's, ms, taken at the middle of a round trip. Raises VenueError."""
        answer = await self._insist(self.venue.time_path, 1)
        try:
            server_ms = _decode_time(answer.payload).serverTime
        except msgspec.DecodeError:
            raise VenueError(self.refusal(answer) or f"{answer.path}: expected the server time") from None
        return server_ms - (answer.sent_ns + answer.recv_ns) / 2e6

    async def _insist(self, path: str, weight: int, **query: str | int) -> RestAnswer:
        """GET, tried up to three times where the exchange hiccups."""
        async for attempt in stamina.retry_context(on=TransientVenueError, attempts=3, wait_initial=0.2, wait_max=2.0):
            with attempt:
                answer = await self.get(path, weight, **query)
                if answer.status >= 500:
                    raise TransientVenueError(self.refusal(answer))
        return answer


def _reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.os_error
    if cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno).lower()
    return (cause.strerror or str(cause) or type(cause).__name__).lower()
