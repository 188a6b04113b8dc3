"""The simulated exchange's messages as text, in the fields and number formats of each venue's wire.

Futures messages carry `st` (1 = USD-M) as since 2026-06-30; spot has no `pu`, no `T` on depth, and eight decimals.
Arguments are ticks and lots; the milliseconds are the exchange's clock. Source: reference/exchange-protocols.md 1.3.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from midas_ray.simulate.market import BookSnapshot
from midas_ray.simulate.market_kernel import FUNDING_SCALE, PRICE_SCALE
from midas_ray.simulate.symbols import SymbolSpec

SPOT_DECIMALS = 8
MARK_DECIMALS = 8
TRADE_KINDS = ("MARKET", "NA", "INSURANCE_FUND")


def decimal_text(value: int, decimals: int, padded: int) -> str:
    """`value` / 10^decimals with `padded` digits after the point, exact (padded >= decimals)."""
    if padded == 0:
        return str(value)
    value *= 10 ** (padded - decimals)
    whole, part = divmod(value, 10**padded)
    return f"{whole}.{part:0{padded}d}"


@dataclass(slots=True)
class Bar:
    """A one-minute kline while it grows: prices in ticks, volumes in lots, quote volumes in ticks x lots."""

    start_ms: int
    open: int
    high: int
    low: int
    close: int
    first_id: int = -1
    last_id: int = -1
    count: int = 0
    lots: int = 0
    value: int = 0
    buy_lots: int = 0
    buy_value: int = 0

    def add(self, trade_id: int, tick: int, lots: int, taker_sells: int) -> None:
        """Add one print."""
        if self.count == 0:
            self.first_id, self.open, self.high, self.low = trade_id, tick, tick, tick
        self.high, self.low, self.close = max(self.high, tick), min(self.low, tick), tick
        self.last_id = trade_id
        self.count += 1
        self.lots += lots
        self.value += tick * lots
        if not taker_sells:
            self.buy_lots += lots
            self.buy_value += tick * lots


class Payloads:
    """Messages of one symbol on one venue."""

    def __init__(self, spec: SymbolSpec, spot: bool) -> None:
        self._spec = spec
        self._spot = spot
        self.name = spec.symbol.upper()
        self._px_padded = SPOT_DECIMALS if spot else spec.px_decimals
        self._sz_padded = SPOT_DECIMALS if spot else spec.sz_decimals

    def px(self, tick: int) -> str:
        """A price as the wire shows it."""
        return decimal_text(tick * self._spec.px_unit, self._spec.px_decimals, self._px_padded)

    def sz(self, lots: int) -> str:
        """A quantity as the wire shows it."""
        return decimal_text(lots * self._spec.sz_unit, self._spec.sz_decimals, self._sz_padded)

    def _value(self, value: int) -> str:
        """Ticks x lots as a quote volume."""
        spec = self._spec
        decimals = spec.px_decimals + spec.sz_decimals
        return decimal_text(value * spec.px_unit * spec.sz_unit, decimals, SPOT_DECIMALS if self._spot else decimals)

    def _mark(self, scaled: int) -> str:
        return decimal_text(
            scaled * self._spec.px_unit * 10 ** (MARK_DECIMALS - self._spec.px_decimals) // PRICE_SCALE,
            MARK_DECIMALS,
            MARK_DECIMALS,
        )

    def levels(self, rows: Iterable[tuple[int, int]]) -> str:
        """`[["price","quantity"],...]`."""
        return "[" + ",".join(f'["{self.px(tick)}","{self.sz(lots)}"]' for tick, lots in rows) + "]"

    def depth(
        self,
        event_ms: int,
        change_ms: int,
        ids: tuple[int, int, int],
        bids: list[tuple[int, int]],
        asks: list[tuple[int, int]],
    ) -> str:
        """Difference of the book; ids = (pu, U, u). Futures send both sides by rising price, spot best first."""
        previous, first, last = ids
        if self._spot:
            return (
                f'{{"e":"depthUpdate","E":{event_ms},"s":"{self.name}","U":{first},"u":{last},'
                f'"b":{self.levels(sorted(bids, reverse=True))},"a":{self.levels(sorted(asks))}}}'
            )
        return (
            f'{{"e":"depthUpdate","E":{event_ms},"T":{change_ms},"s":"{self.name}","U":{first},"u":{last},'
            f'"pu":{previous},"b":{self.levels(sorted(bids))},"a":{self.levels(sorted(asks))},'
            f'"ps":"{self.name}","st":1}}'
        )

    def trade(
        self, event_ms: int, trade_ms: int, trade_id: int, tick: int, lots: int, taker_sells: int, kind: int
    ) -> str:
        """One print; an NA row has price and quantity `0`."""
        maker_buys = "true" if taker_sells else "false"
        if self._spot:
            return (
                f'{{"e":"trade","E":{event_ms},"s":"{self.name}","t":{trade_id},"p":"{self.px(tick)}",'
                f'"q":"{self.sz(lots)}","T":{trade_ms},"m":{maker_buys},"M":true}}'
            )
        px, sz = ("0", "0") if tick == 0 else (self.px(tick), self.sz(lots))
        return (
            f'{{"e":"trade","E":{event_ms},"T":{trade_ms},"s":"{self.name}","t":{trade_id},"p":"{px}","q":"{sz}",'
            f'"X":"{TRADE_KINDS[kind]}","m":{maker_buys},"st":1}}'
        )

    def agg_trade(
        self, event_ms: int, trade_ms: int, agg_id: int, tick: int, lots: int, ids: tuple[int, int], taker_sells: int
    ) -> str:
        """The prints ids[0]..ids[1] of one taker order at one price."""
        maker_buys = "true" if taker_sells else "false"
        sz = self.sz(lots)
        head = f'{{"e":"aggTrade","E":{event_ms},"s":"{self.name}","a":{agg_id},"p":"{self.px(tick)}","q":"{sz}",'
        tail = f'"f":{ids[0]},"l":{ids[1]},"T":{trade_ms},"m":{maker_buys},'
        if self._spot:
            return head + tail + '"M":true}'
        return head + f'"nq":"{sz}",' + tail + '"st":1}'

    def book_ticker(self, change_ms: int, update_id: int, bid: tuple[int, int], ask: tuple[int, int]) -> str:
        """Best bid and ask, (tick, lots) each, after `update_id`."""
        best = (
            f'"u":{update_id},"s":"{self.name}","b":"{self.px(bid[0])}","B":"{self.sz(bid[1])}",'
            f'"a":"{self.px(ask[0])}","A":"{self.sz(ask[1])}"'
        )
        if self._spot:
            return f"{{{best}}}"
        return f'{{"e":"bookTicker",{best},"T":{change_ms},"E":{change_ms},"ps":"{self.name}","st":1}}'

    def mark_price(self, event_ms: int, mark: int, index: int, funding: int, next_funding_ms: int) -> str:
        """Mark and index price (ticks x PRICE_SCALE), funding rate (x FUNDING_SCALE). `T` is the next funding time."""
        sign = "-" if funding < 0 else ""
        rate = sign + decimal_text(abs(funding) * 10**8 // FUNDING_SCALE, 8, 8)
        return (
            f'{{"e":"markPriceUpdate","E":{event_ms},"s":"{self.name}","p":"{self._mark(mark)}",'
            f'"ap":"{self._mark(mark)}","P":"{self._mark(mark)}","i":"{self._mark(index)}",'
            f'"r":"{rate}","T":{next_funding_ms},"st":1}}'
        )

    def force_order(self, event_ms: int, trade_ms: int, taker_sells: int, limit: int, lots: int, value: int) -> str:
        """A liquidation that filled `lots` for `value` (ticks x lots)."""
        side = "SELL" if taker_sells else "BUY"
        sz, average = self.sz(lots), self.px((value + lots // 2) // lots)
        return (
            f'{{"e":"forceOrder","E":{event_ms},"o":{{"s":"{self.name}","S":"{side}","o":"LIMIT","f":"IOC","q":"{sz}",'
            f'"p":"{self.px(limit)}","ap":"{average}","X":"FILLED","l":"{sz}","z":"{sz}","T":{trade_ms},"st":1}},"st":1}}'
        )

    def kline(self, event_ms: int, bar: Bar, closed: bool) -> str:
        """State of a one-minute bar."""
        tail = "" if self._spot else ',"st":1'
        return (
            f'{{"e":"kline","E":{event_ms},"s":"{self.name}","k":{{"t":{bar.start_ms},"T":{bar.start_ms + 59_999},'
            f'"s":"{self.name}","i":"1m","f":{bar.first_id},"L":{bar.last_id},"o":"{self.px(bar.open)}",'
            f'"c":"{self.px(bar.close)}","h":"{self.px(bar.high)}","l":"{self.px(bar.low)}","v":"{self.sz(bar.lots)}",'
            f'"n":{bar.count},"x":{"true" if closed else "false"},"q":"{self._value(bar.value)}",'
            f'"V":"{self.sz(bar.buy_lots)}","Q":"{self._value(bar.buy_value)}","B":"0"}}{tail}}}'
        )

    def snapshot(self, book: BookSnapshot, event_ms: int) -> str:
        """REST depth."""
        clock = "" if self._spot else f'"E":{event_ms},"T":{book.last_change_us // 1000},'
        return (
            f'{{"lastUpdateId":{book.last_update_id},{clock}"bids":{self.levels(book.bids.tolist())},'
            f'"asks":{self.levels(book.asks.tolist())}}}'
        )
