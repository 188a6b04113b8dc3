"""Messages of Binance's market-data streams and REST, typed; unknown fields are accepted and ignored.

Field names are the wire's. All times are milliseconds since the epoch, UTC; prices and quantities are decimal text.
"""

from typing import Literal

import msgspec

Level = tuple[str, str]
"""(price, quantity) as decimal text; quantity is absolute, 0 removes the level."""


class Envelope(msgspec.Struct, frozen=True):
    """Combined-stream frame: the stream's name and its message, undecoded."""

    stream: str
    data: msgspec.Raw


class EventHeader(msgspec.Struct, frozen=True):
    """The head of any event. `s` is absent from forceOrder, where `o.s` holds the symbol."""

    e: str
    s: str | None = None
    st: int | None = None


class ForceOrderSymbol(msgspec.Struct, frozen=True):
    """Whose order was forced."""

    s: str | None = None
    st: int | None = None


class ForceOrderHeader(msgspec.Struct, frozen=True):
    """The head of a forceOrder event."""

    o: ForceOrderSymbol


class DepthUpdate(msgspec.Struct, frozen=True):
    """Difference of the book between ids U and u. `T` and `pu` are absent on spot."""

    E: int
    s: str
    U: int
    u: int
    b: list[Level]
    a: list[Level]
    T: int | None = None
    pu: int | None = None


class Trade(msgspec.Struct, frozen=True):
    """One print. `m` true: the buyer was the maker, so the taker sold. `X` is absent on spot."""

    E: int
    T: int
    s: str
    t: int
    p: str
    q: str
    m: bool
    X: str | None = None


class AggTrade(msgspec.Struct, frozen=True):
    """Prints f..l of one taker order at one price."""

    E: int
    T: int
    s: str
    a: int
    p: str
    q: str
    f: int
    l: int  # noqa: E741 - the wire's name
    m: bool


class BookTicker(msgspec.Struct, frozen=True):
    """Best bid (b, B) and ask (a, A) at update id u. `E` and `T` are absent on spot."""

    u: int
    s: str
    b: str
    B: str
    a: str
    A: str
    E: int | None = None
    T: int | None = None


class MarkPrice(msgspec.Struct, frozen=True):
    """Mark price p, index price i, funding rate r. `T` is the NEXT FUNDING time, not the event's."""

    E: int
    s: str
    p: str
    i: str
    r: str
    T: int


class ForceOrderBody(msgspec.Struct, frozen=True):
    """The forced order: side S, average price ap, filled quantity z, trade time T."""

    s: str
    S: Literal["BUY", "SELL"]
    p: str
    ap: str
    z: str
    T: int


class ForceOrder(msgspec.Struct, frozen=True):
    """Liquidation; at most one a second and symbol is sent, so sums are lower bounds."""

    E: int
    o: ForceOrderBody


class KlineBody(msgspec.Struct, frozen=True):
    """Bar from t to T; x true once it is closed. V, Q: taker buy volume in base and quote."""

    t: int
    T: int
    s: str
    i: str
    o: str
    h: str
    l: str  # noqa: E741 - the wire's name
    c: str
    v: str
    q: str
    n: int
    x: bool
    V: str
    Q: str


class Kline(msgspec.Struct, frozen=True):
    """State of a bar."""

    E: int
    s: str
    k: KlineBody


class DepthSnapshot(msgspec.Struct, frozen=True):
    """REST order book at `lastUpdateId`. `E` and `T` are absent on spot."""

    lastUpdateId: int
    bids: list[Level]
    asks: list[Level]
    E: int | None = None
    T: int | None = None


class RestError(msgspec.Struct, frozen=True):
    """Error body of Binance's REST."""

    code: int
    msg: str


class RateLimit(msgspec.Struct, frozen=True):
    """One entry of exchangeInfo.rateLimits."""

    rateLimitType: str
    interval: str
    intervalNum: int
    limit: int


class SymbolFilter(msgspec.Struct, frozen=True):
    """A symbol's filter, found by `filterType`, never by position."""

    filterType: str
    tickSize: str | None = None
    stepSize: str | None = None


class SymbolInfo(msgspec.Struct, frozen=True):
    """What exchangeInfo says of a symbol. Spot has no contractType, deliveryDate and contractSize."""

    symbol: str
    status: str
    filters: list[SymbolFilter]
    quoteAsset: str | None = None
    contractType: str | None = None
    deliveryDate: int | None = None
    contractSize: float | None = None


class ExchangeInfo(msgspec.Struct, frozen=True):
    """REST exchangeInfo: limits and symbols."""

    rateLimits: list[RateLimit]
    symbols: list[SymbolInfo]


class Ticker(msgspec.Struct, frozen=True):
    """REST 24-hour ticker: traded value of the last 24 h in quote units."""

    symbol: str
    quoteVolume: str


class ServerTime(msgspec.Struct, frozen=True):
    """REST time."""

    serverTime: int
