"""A one-minute kline while it grows."""

from dataclasses import dataclass

MINUTE_MS = 60_000


@dataclass(slots=True)
class Bar:
    """Prices in ticks, volumes in lots, quote volumes in ticks x lots; ids are -1 while nothing has traded."""

    start: int
    open: int
    high: int
    low: int
    close: int
    first: int = -1
    last: int = -1
    count: int = 0
    volume: int = 0
    quote: int = 0
    buy_volume: int = 0
    buy_quote: int = 0

    @classmethod
    def flat(cls, start_ms: int, close: int) -> "Bar":
        """A bar in which nothing has traded yet: all prices are the previous close."""
        return cls(start_ms, close, close, close, close)

    @property
    def end(self) -> int:
        """Last millisecond of the bar."""
        return self.start + MINUTE_MS - 1

    def add(self, trade_id: int, tick: int, lots: int, taker_sells: int) -> None:
        """Add one print."""
        if self.count == 0:
            self.first, self.open, self.high, self.low = trade_id, tick, tick, tick
        self.high, self.low, self.close = max(self.high, tick), min(self.low, tick), tick
        self.last = trade_id
        self.count += 1
        self.volume += lots
        self.quote += tick * lots
        if not taker_sells:
            self.buy_volume += lots
            self.buy_quote += tick * lots

    def fields(self) -> dict[str, int]:
        """Fields of the `kline` template, all but E and closed."""
        return {
            "start": self.start,
            "end": self.end,
            "open": self.open,
            "high": self.high,
            "low": self.low,
            "close": self.close,
            "first": self.first,
            "last": self.last,
            "count": self.count,
            "volume": self.volume,
            "quote": self.quote,
            "buy_volume": self.buy_volume,
            "buy_quote": self.buy_quote,
        }
