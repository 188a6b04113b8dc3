"""What every venue says of itself: where its streams are, what they are called, how its book is sequenced."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from midas_ray.settings import StreamSettings
from midas_ray.venues.messages import BookTicker, Envelope, EventHeader, ForceOrderHeader

StreamKind = Literal["depth", "trade", "aggTrade", "bookTicker", "markPrice", "forceOrder", "kline"]

_EVENT_KIND: dict[str, StreamKind] = {
    "depthUpdate": "depth",
    "trade": "trade",
    "aggTrade": "aggTrade",
    "bookTicker": "bookTicker",
    "markPriceUpdate": "markPrice",
    "forceOrder": "forceOrder",
    "kline": "kline",
}

ALL_FORCED = "!forceOrder@arr"

_COMBINED = re.compile(rb'\s*\{\s*"(?:stream|data)"\s*:')
_envelope = msgspec.json.Decoder(Envelope)
_header = msgspec.json.Decoder(EventHeader)
_ticker = msgspec.json.Decoder(BookTicker)
_force_order = msgspec.json.Decoder(ForceOrderHeader)
COIN_MARGINED = 2
"""`st` of what belongs to COIN-M, which all-market streams mix in."""


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream to subscribe: its name on the wire, the route that carries it, its kind and symbol (lower case).

    symbol: empty for a stream of all symbols.
    """

    name: str
    route: str
    kind: StreamKind
    symbol: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Venue:
    """An exchange's protocol.

    depth_clock: the field of a depth event that is the exchange's clock (`T` on futures, `E` on spot).
    has_previous_id: depth events carry `pu`; where they do not, `pu` is U - 1.
    snapshot_weights: (most levels, weight) in rising order, the price of a depth snapshot.
    exchange_info_by_symbol: exchangeInfo narrows its answer to `symbols`; where it does not, it tells of all.
    """

    name: str
    ws_root: str
    rest_root: str
    routes: dict[StreamKind, str]
    depth_path: str
    exchange_info_path: str
    time_path: str
    tickers_path: str
    open_interest_path: str | None
    exchange_info_weight: int
    exchange_info_by_symbol: bool
    tickers_weight: int
    snapshot_weights: tuple[tuple[int, int], ...]
    weight_per_minute: int
    connections_per_5_min: int
    streams_per_connection: int
    depth_clock: Literal["T", "E"]
    has_previous_id: bool
    routed_urls: bool
    kinds: frozenset[StreamKind] = field(default_factory=frozenset)

    def depth_weight(self, limit: int) -> int:
        """Request weight of a depth snapshot of `limit` levels."""
        return next(weight for most, weight in self.snapshot_weights if limit <= most)

    def streams(self, symbol: str, settings: StreamSettings) -> list[Stream]:
        """The streams that `settings` asks for, of the kinds this venue has."""
        speed = settings.depth_speed_ms
        # 250 ms is the venue's unnamed default speed.
        names: dict[StreamKind, str] = {"depth": f"{symbol}@depth" + ("" if speed == 250 else f"@{speed}ms")}
        if settings.enable_trades:
            names["trade"] = f"{symbol}@trade"
        if settings.enable_klines:
            names["kline"] = f"{symbol}@kline_1m"
        if settings.enable_book_ticker:
            names["bookTicker"] = f"{symbol}@bookTicker"
        if settings.enable_mark_price:
            names["markPrice"] = f"{symbol}@markPrice@1s"
        if settings.enable_liquidations:
            # All symbols' in one stream: whether it is alive can then be told, single symbols are silent for days.
            names["forceOrder"] = ALL_FORCED
        return [
            Stream(name, self.routes[kind], kind, "" if name == ALL_FORCED else symbol)
            for kind, name in names.items()
            if kind in self.kinds
        ]

    def agg_trades(self, symbol: str) -> Stream:
        """The stream of aggregate trades: the fallback where `trade` stays silent."""
        return Stream(f"{symbol}@aggTrade", self.routes["aggTrade"], "aggTrade", symbol)

    def connection_url(self, route: str, streams: Sequence[Stream], exchange_url: str | None = None) -> str:
        """URL of a connection (combined mode) on `route` that carries `streams`, or none so far.

        exchange_url: http base of a simulated exchange; None = the venue's own servers.
        """
        root = self.ws_root if exchange_url is None else exchange_url.rstrip("/").replace("http", "ws", 1)
        path = f"/{route}/stream" if self.routed_urls else "/stream"
        names = "/".join(stream.name for stream in streams)
        return f"{root}{path}?streams={names}" if names else f"{root}{path}"

    def rest_url(self, path: str, exchange_url: str | None = None) -> str:
        """URL of a REST path on the venue's server or the simulated exchange."""
        return (self.rest_root if exchange_url is None else exchange_url.rstrip("/")) + path


def open_frame(payload: bytes) -> tuple[str | None, bytes | msgspec.Raw]:
    """(stream name, message) of a combined frame; (None, the payload itself) of a raw one.

    Raises msgspec.DecodeError where a combined frame is not JSON of the expected shape.
    """
    if not payload.startswith(b'{"stream"') and not _COMBINED.match(payload):
        return None, payload
    envelope = _envelope.decode(payload)
    return envelope.stream, envelope.data


def frame_message(payload: bytes) -> bytes | msgspec.Raw:
    """The exchange's message in a frame, combined or raw. Raises as `open_frame`."""
    return open_frame(payload)[1]


def frame_address(payload: bytes) -> tuple[StreamKind, str] | None:
    """(kind, symbol in lower case) of a WebSocket frame, combined or raw.

    None for acks and other control frames, and for COIN-M's events, which all-market streams mix in.

    Raises msgspec.DecodeError where the payload is not JSON of the expected shape.
    """
    name, data = open_frame(payload)
    name_symbol = None if name is None else name.partition("@")[0]
    try:
        header = _header.decode(data)
    except msgspec.ValidationError:
        try:
            return "bookTicker", _ticker.decode(data).s.lower()  # on spot it has no `e`
        except msgspec.ValidationError:
            if name_symbol is None:
                return None
        raise
    kind = _EVENT_KIND.get(header.e)
    if kind is None or header.st == COIN_MARGINED:
        return None
    found = header.s
    if kind == "forceOrder":
        order = _force_order.decode(data).o
        if order.st == COIN_MARGINED:
            return None
        found = order.s or found
    symbol = found.lower() if found is not None else name_symbol
    if symbol is None or symbol.startswith("!"):
        return None
    return kind, symbol
