"""The simulated exchange's REST answers: status, headers and body for a path and query. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

import msgspec

from midas_ray.simulate.market import BookSnapshot
from midas_ray.simulate.symbols import SymbolSpec
from midas_ray.simulate.wire import Format, Wire
from midas_ray.venues import Venue

FUTURES_DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
SPOT_MOST_LEVELS = 5000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
DAY_VOLUME_QUOTE = 10**10
"""Quote volume of the first symbol listed; the n-th has 1/n of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, JSON body, headers."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class RequestWeights:
    """Request weight used in the current minute of the exchange's clock, for all callers together."""

    limit: int
    used: int = 0
    _minute: int = 0

    def take(self, weight: int, now_ms: int) -> bool:
        """Count `weight`; false where the minute's limit is exceeded."""
        if now_ms // MINUTE_MS != self._minute:
            self._minute, self.used = now_ms // MINUTE_MS, 0
        self.used += weight
        return self.used <= self.limit

    @staticmethod
    def retry_after_s(now_ms: int) -> int:
        """Seconds until the next minute."""
        return (MINUTE_MS - now_ms % MINUTE_MS + 999) // 1000


def error_body(code: int, text: str) -> str:
    """Binance's error JSON."""
    return msgspec.json.encode({"code": code, "msg": text}).decode()


def _refusal(code: int, text: str) -> Answer:
    return Answer(400, error_body(code, text))


def snapshot_body(wire: Wire, book: BookSnapshot, now_ms: int) -> str:
    """Body of a REST depth answer."""
    levels = wire.levels(book.bids.tolist()), wire.levels(book.asks.tolist())
    fields = {"u": book.last_update_id, "E": now_ms, "T": book.last_change_us // 1000}
    return wire.render("snapshot", *levels, **fields)


class Quoted(Protocol):
    """What REST asks of a market: see `Market`."""

    spec: SymbolSpec

    @property
    def open_interest_lots(self) -> int: ...

    def snapshot(self, limit: int, id_share: float = 0.0) -> BookSnapshot:
        """The book now."""
        ...


class Listed(Protocol):
    """A symbol that is listed: see `SymbolFeed`."""

    wire: Wire

    @property
    def market(self) -> Quoted: ...


def _present(*_: object) -> None:
    return None


class RestApi:
    """Answers requests from the feeds' true books.

    id_share: gives the place of a snapshot's id between the last change's and the next one's, in [0, 1).
    book_of: gives the book to answer with for a symbol (lower case) and a number of levels; None = the present one.
    settling, finer: symbols (upper case) that are being delisted, and whose tick and lot are shown ten times smaller.
    """

    def __init__(
        self,
        venue: Venue,
        feeds: Mapping[str, Listed],
        id_share: Callable[[], float],
        weight_limit: int | None = None,
        book_of: Callable[[str, int], BookSnapshot | None] = _present,
    ) -> None:
        self.settling: set[str] = set()
        self.finer: set[str] = set()
        self._book_of = book_of
        self._venue = venue
        self._feeds = {feed.wire.name: feed for feed in feeds.values()}
        self._id_share = id_share
        self.weights = RequestWeights(venue.weight_per_minute if weight_limit is None else weight_limit)
        self._spot = not venue.has_previous_id
        self._handlers: dict[str, Callable[[Mapping[str, str], int], tuple[int, Answer]]] = {
            venue.depth_path: self._depth,
            venue.exchange_info_path: self._exchange_info,
            venue.time_path: self._time,
            venue.tickers_path: self._tickers,
        }
        if venue.open_interest_path is not None:
            self._handlers[venue.open_interest_path] = self._open_interest

    @property
    def paths(self) -> list[str]:
        """Every path that is answered."""
        return list(self._handlers)

    def answer(self, path: str, query: Mapping[str, str], now_ms: int) -> Answer:
        """The answer to GET `path`, with its weight counted: 429 once the minute's weight is exceeded."""
        weight, answer = self._handlers[path](query, now_ms)
        if not self.weights.take(weight, now_ms):
            text = (
                f"Too many requests; current limit is {self.weights.limit} request weight per 1 MINUTE. "
                "Please use WebSocket Streams for live updates to avoid polling the API."
            )
            retry = {"Retry-After": str(self.weights.retry_after_s(now_ms))}
            answer = Answer(429, error_body(-1003, text), retry)
        used = {"X-MBX-USED-WEIGHT-1M": str(self.weights.used)}
        return Answer(answer.status, answer.body, {**answer.headers, **used})

    def _feed(self, query: Mapping[str, str]) -> Listed | Answer:
        symbol = query.get("symbol")
        if not symbol:
            return _refusal(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        return self._feeds.get(symbol) or _refusal(-1121, "Invalid symbol.")

    def _limit(self, query: Mapping[str, str]) -> int | Answer:
        text = query.get("limit", "100" if self._spot else "500")
        if not text.isascii() or not text.isdigit():
            return _refusal(-1102, "Mandatory parameter 'limit' was not sent, was empty/null, or malformed.")
        limit = int(text)
        if self._spot:
            return min(max(limit, 1), SPOT_MOST_LEVELS)
        if limit not in FUTURES_DEPTH_LIMITS:
            return _refusal(-4021, f"{limit} is not valid depth limit.")
        return limit

    def _depth(self, query: Mapping[str, str], now_ms: int) -> tuple[int, Answer]:
        feed, limit = self._feed(query), self._limit(query)
        if isinstance(feed, Answer):
            return 1, feed
        if isinstance(limit, Answer):
            return 1, limit
        book = self._book_of(feed.wire.name.lower(), limit) or feed.market.snapshot(limit, self._id_share())
        return self._venue.depth_weight(limit), Answer(200, snapshot_body(feed.wire, book, now_ms))

    def _time(self, query: Mapping[str, str], now_ms: int) -> tuple[int, Answer]:  # noqa: ARG002 - a handler
        return 1, Answer(200, f'{{"serverTime":{now_ms}}}')

    def _open_interest(self, query: Mapping[str, str], now_ms: int) -> tuple[int, Answer]:
        feed = self._feed(query)
        if isinstance(feed, Answer):
            return 1, feed
        lots = feed.wire.number(feed.market.open_interest_lots, Format.SZ)
        return 1, Answer(200, f'{{"symbol":"{feed.wire.name}","openInterest":"{lots}","time":{now_ms}}}')

    def _tickers(self, query: Mapping[str, str], now_ms: int) -> tuple[int, Answer]:
        """24 h figures. The volumes are made up: they rank the symbols in the order listed."""
        if "symbol" not in query:
            tickers = [self._ticker(name, now_ms) for name in self._feeds]
            return self._venue.tickers_weight, Answer(200, msgspec.json.encode(tickers).decode())
        feed = self._feed(query)
        if isinstance(feed, Answer):
            return 1, feed
        weight = 2 if self._spot else 1
        return weight, Answer(200, msgspec.json.encode(self._ticker(feed.wire.name, now_ms)).decode())

    def _ticker(self, name: str, now_ms: int) -> dict[str, object]:
        feed = self._feeds[name]
        spec = feed.market.spec
        last_ticks = int(feed.market.snapshot(1).bids[0, 0])
        quote = DAY_VOLUME_QUOTE // (1 + list(self._feeds).index(name))
        return {
            "symbol": name,
            "lastPrice": feed.wire.number(last_ticks, Format.PX),
            "openPrice": feed.wire.number(spec.start_ticks, Format.PX),
            "volume": f"{quote / (last_ticks * spec.tick):.3f}",
            "quoteVolume": f"{quote}.00",
            "openTime": now_ms - DAY_MS,
            "closeTime": now_ms,
            "count": quote // 20_000,
        }

    def _exchange_info(self, query: Mapping[str, str], now_ms: int) -> tuple[int, Answer]:
        weight = self._venue.exchange_info_weight
        feeds = list(self._feeds.values())
        # Futures ignore `symbol` here and answer for all; spot narrows its answer to it.
        if self._spot and "symbol" in query:
            feed = self._feed(query)
            if isinstance(feed, Answer):
                return weight, feed
            feeds = [feed]
        body = {
            "timezone": "UTC",
            "serverTime": now_ms,
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": self.weights.limit,
                }
            ],
            "exchangeFilters": [],
            "symbols": [self._symbol_info(feed.wire.name, feed.market.spec) for feed in feeds],
        }
        return weight, Answer(200, msgspec.json.encode(body).decode())

    def _symbol_info(self, name: str, spec: SymbolSpec) -> dict[str, object]:
        base, quote = name.removesuffix("USDT"), "USDT"
        shown = Decimal("0.1") if name in self.finer else Decimal(1)
        tick, lot = f"{spec.tick * shown:f}", f"{spec.lot * shown:f}"
        common: dict[str, object] = {
            "symbol": name,
            "status": "SETTLING" if name in self.settling else "TRADING",
            "baseAsset": base,
            "quoteAsset": quote,
            "filters": [
                {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "1000000", "stepSize": lot},
                {"filterType": "MARKET_LOT_SIZE", "minQty": lot, "maxQty": "100000", "stepSize": lot},
                {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "10000000", "tickSize": tick},
            ],
        }
        if self._spot:
            return common | {"baseAssetPrecision": 8, "quoteAssetPrecision": 8, "isSpotTradingAllowed": True}
        return common | {
            "pair": name,
            "contractType": "PERPETUAL",
            "marginAsset": quote,
            "pricePrecision": spec.px_decimals,
            "quantityPrecision": spec.sz_decimals,
        }
