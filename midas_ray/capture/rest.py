"""The exchange's REST, outside the message path: limits kept, refusals told apart and said in one line."""

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

from midas_ray.capture.contracts import Contract, contracts_of, most_traded
from midas_ray.capture.limits import IpLimits, Limits, Priority, VenueMinute
from midas_ray.capture.refusal import Refusal, refusal_of
from midas_ray.errors import GeoBlockedError, UnknownSymbolError, UsageError, VenueError
from midas_ray.venues.base import Venue
from midas_ray.venues.messages import ExchangeInfo, ServerTime, Ticker

stamina.instrumentation.set_on_retry_hooks(())  # it would print each repetition on the user's terminal
TIMEOUT_S = 10.0
WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
INVALID_SYMBOL = -1121
MOST_NAMED = 100
"""Symbols asked for by name in one exchangeInfo; for more, the whole list is shorter than the URL is allowed to be."""

_decode_info = msgspec.json.Decoder(ExchangeInfo).decode
_decode_time = msgspec.json.Decoder(ServerTime).decode
_decode_tickers = msgspec.json.Decoder(list[Ticker]).decode


class TransientVenueError(VenueError):
    """The exchange did not answer this time, or answered with a server error: worth another try."""


@dataclass(frozen=True, slots=True)
class RestAnswer:
    """An HTTP answer of any status: `path` with its query, the body, when the request left and the body was whole.

    sent_mono_ns: when it left, by the monotonic clock. refusal: why it is not what was asked; None where it is.
    """

    path: str
    status: int
    payload: bytes
    sent_ns: int
    recv_ns: int
    mono_ns: int
    sent_mono_ns: int = 0
    refusal: Refusal | None = None

    def check(self) -> None:
        """Raises GeoBlockedError, TransientVenueError (the server's fault) or VenueError where it was refused."""
        if self.refusal is None:
            return
        match self.refusal.kind:
            case "geo":
                raise GeoBlockedError(self.refusal.text)
            case "server":
                raise TransientVenueError(self.refusal.text)
        raise VenueError(self.refusal.text)


@dataclass(frozen=True, slots=True)
class ClockSample:
    """offset_ms: the exchange's clock minus this machine's, right to half of round_trip_ms."""

    offset_ms: float
    round_trip_ms: float


class RestClient:
    """The venue's public REST, for all symbols of a process. Use as an async context manager.

    exchange_url: http base of a simulated exchange; None = the venue's own servers. limits: shared by all that call the
    venue from this address; None = this process is alone. Raises UsageError for no URL.
    """

    def __init__(self, venue: Venue, exchange_url: str | None = None, limits: IpLimits | None = None) -> None:
        if exchange_url is not None and not re.fullmatch(r"https?://[^/\s]+(/\S*)?", exchange_url):
            raise UsageError(f"--exchange-url: expected http://HOST:PORT, found {exchange_url!r}")
        self.venue = venue
        self.limits: IpLimits = limits or Limits(venue.weight_per_minute, venue.connections_per_5_min)
        self._used = VenueMinute()
        self._refused = 0
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

    @property
    def used_weight(self) -> int:
        """Request weight of the running minute, as the venue last said."""
        return self._used.used(time.time_ns())

    async def get(self, path: str, weight: int, priority: Priority = Priority.POLL, **query: str | int) -> RestAnswer:
        """GET, once the limits allow it; an answer of any status. Raises VenueError where none comes."""
        await self.limits.weight(weight, priority)
        return await self.send(path, **query)

    async def send(self, path: str, **query: str | int) -> RestAnswer:
        """GET at once, for a caller that has waited for `limits` itself; as `get`."""
        if self._session is None:
            raise RuntimeError("use RestClient as an async context manager")
        full_path = path + ("?" + urlencode(query) if query else "")
        url = self.venue.rest_url(full_path, self._exchange_url)
        sent_ns, sent_mono_ns = time.time_ns(), time.monotonic_ns()
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
        recv_ns, mono_ns = time.time_ns(), time.monotonic_ns()
        where = self.venue.rest_url(path, self._exchange_url)
        refusal = None if status == 200 else refusal_of(status, headers, payload, where, recv_ns)
        await self._tell(headers.get(WEIGHT_HEADER), refusal, recv_ns)
        return RestAnswer(full_path, status, payload, sent_ns, recv_ns, mono_ns, sent_mono_ns, refusal)

    @property
    def _advice(self) -> str:
        if self._exchange_url is None:
            return "check the network"
        return "check --exchange-url, and that the simulated exchange runs (midas simulate)"

    async def _tell(self, used: str | None, refusal: Refusal | None, recv_ns: int) -> None:
        """Tell all that share the address what the venue said of it."""
        if used is not None and used.isdecimal():
            self._used.report(int(used), recv_ns)
            await self.limits.report(int(used))
        self._refused = 0 if refusal is None else self._refused + 1
        wait_s = None if refusal is None else refusal.wait_again_s(self._refused)
        if refusal is not None and wait_s is not None:
            until_ns = recv_ns + int(wait_s * 1e9)
            await self.limits.block(until_ns, refusal.text, sockets=refusal.stops_sockets)

    async def check_symbols(self, symbols: Iterable[str]) -> None:
        """Raises UnknownSymbolError naming all that the venue does not list, VenueError where it cannot be asked."""
        asked = tuple(symbols)
        listed = await self.contracts(asked)
        unknown = [repr(symbol) for symbol in asked if symbol not in listed]
        if unknown:
            raise UnknownSymbolError(
                f"--symbols: {self.venue.name} does not list {', '.join(unknown)}; check the spelling"
            )

    async def contracts(self, symbols: Iterable[str]) -> dict[str, Contract]:
        """Terms of those of `symbols` that the venue lists. Raises VenueError where it cannot be asked."""
        asked = tuple(symbols)
        return contracts_of(await self._exchange_info(asked), asked)

    async def top_symbols(self, n: int) -> tuple[str, ...]:
        """At most n symbols by the value traded in 24 h, highest first: in USDT, trading, perpetual on futures.

        Raises VenueError where it cannot be asked or has none.
        """
        info = await self._exchange_info(())
        answer = await self._insist(self.venue.tickers_path, self.venue.tickers_weight)
        try:
            found = most_traded(info, _decode_tickers(answer.payload), n)
        except (msgspec.DecodeError, ValueError) as error:
            raise VenueError(f"{answer.path}: expected the venue's 24-hour tickers, found: {error}") from None
        if not found:
            raise VenueError(f"{answer.path}: expected symbols in USDT that are traded, found none; name the symbols")
        return found

    async def _exchange_info(self, symbols: tuple[str, ...]) -> ExchangeInfo:
        """exchangeInfo, narrowed to `symbols` where the venue does so and lists all of them."""
        query = {}
        if self.venue.exchange_info_by_symbol and 0 < len(symbols) <= MOST_NAMED:
            query["symbols"] = msgspec.json.encode(tuple(symbol.upper() for symbol in symbols)).decode()
        path, weight = self.venue.exchange_info_path, self.venue.exchange_info_weight
        answer = await self._ask(path, weight, **query)
        if query and answer.refusal is not None and answer.refusal.code == INVALID_SYMBOL:
            answer = await self._ask(path, weight)  # one of them is not listed: which one, the whole list tells
        answer.check()
        try:
            info = _decode_info(answer.payload)
        except msgspec.DecodeError as error:
            raise VenueError(f"{answer.path}: expected the venue's exchange information, found: {error}") from None
        for limit in info.rateLimits:
            if (limit.rateLimitType, limit.interval, limit.intervalNum) == ("REQUEST_WEIGHT", "MINUTE", 1):
                await self.limits.set_weight_limit(limit.limit)
        return info

    async def clock(self) -> ClockSample:
        """The exchange's clock against this machine's, from one round trip. Raises VenueError."""
        answer = await self.get(self.venue.time_path, 1, Priority.CLOCK)
        answer.check()
        try:
            server_ms = _decode_time(answer.payload).serverTime
        except msgspec.DecodeError as error:
            raise VenueError(f"{answer.path}: expected the server time, found: {error}") from None
        round_trip_ns = answer.mono_ns - answer.sent_mono_ns
        # Whole milliseconds, cut off: half of one is what they lack on average.
        return ClockSample(server_ms + 0.5 - (answer.recv_ns - round_trip_ns / 2) / 1e6, round_trip_ns / 1e6)

    async def _insist(self, path: str, weight: int, **query: str | int) -> RestAnswer:
        """GET, tried up to three times where the exchange hiccups; a good answer. Raises VenueError."""
        answer = await self._ask(path, weight, **query)
        answer.check()
        return answer

    async def _ask(self, path: str, weight: int, **query: str | int) -> RestAnswer:
        """GET, tried up to three times where the exchange hiccups; an answer below 500."""
        async for attempt in stamina.retry_context(on=TransientVenueError, attempts=3, wait_initial=0.2, wait_max=2.0):
            with attempt:
                answer = await self.get(path, weight, Priority.CONTRACT, **query)
                if answer.refusal is not None and answer.refusal.kind == "server":
                    answer.check()
        return answer


def _reason(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientSSLError):
        return f"its certificate is not trusted: {error.os_error}; SSL_CERT_FILE names further authorities"
    cause = error.os_error
    if cause.errno is not None and cause.errno > 0:
        return os.strerror(cause.errno).lower()
    return (cause.strerror or str(cause) or type(cause).__name__).lower()
