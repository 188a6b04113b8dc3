"""The simulated exchange's messages, one template each: the server renders them in Python, history in a kernel.

`<name>` in a template is a field of `FIELDS`, written in that field's format. Futures messages carry `st` (1 = USD-M)
as since 2026-06-30; spot has no `pu`, no `T` on depth, and eight decimals. Source: reference/exchange-protocols.md 1.3.
"""

import re
from collections.abc import Iterable
from enum import IntEnum

import numpy as np

from midas_ray.simulate.market_kernel import PRICE_SCALE
from midas_ray.simulate.symbols import SymbolSpec

SPOT_DECIMALS = 8
MARK_DECIMALS = 8


class Format(IntEnum):
    """How a field's integer is written.

    PX: ticks; SZ: lots; VALUE: ticks x lots; MARK: ticks x PRICE_SCALE; RATE: 1e-8.
    """

    INT = 0
    PX = 1
    SZ = 2
    VALUE = 3
    MARK = 4
    RATE = 5
    BOOL = 6
    SIDE = 7
    BIDS = 8
    ASKS = 9


FIELDS: dict[str, Format] = {
    "E": Format.INT, "T": Format.INT,
    "U": Format.INT, "u": Format.INT, "pu": Format.INT, "bids": Format.BIDS, "asks": Format.ASKS,
    "id": Format.INT, "first": Format.INT, "last": Format.INT, "px": Format.PX, "qty": Format.SZ, "sells": Format.BOOL,
    "bid": Format.PX, "bid_qty": Format.SZ, "ask": Format.PX, "ask_qty": Format.SZ,
    "mark": Format.MARK, "index": Format.MARK, "rate": Format.RATE, "next_funding": Format.INT,
    "side": Format.SIDE, "limit": Format.PX,
    "start": Format.INT, "end": Format.INT, "open": Format.PX, "high": Format.PX, "low": Format.PX, "close": Format.PX,
    "volume": Format.SZ, "count": Format.INT, "closed": Format.BOOL, "quote": Format.VALUE,
    "buy_volume": Format.SZ, "buy_quote": Format.VALUE,
}  # fmt: skip

_FUTURES_TRADE = '{"e":"trade","E":<E>,"T":<T>,"s":"SYMBOL","t":<id>,"p":"%s","q":"%s","X":"%s","m":<sells>,"st":1}'
_BEST = '"u":<u>,"s":"SYMBOL","b":"<bid>","B":"<bid_qty>","a":"<ask>","A":"<ask_qty>"'
_BAR = (
    '{"t":<start>,"T":<end>,"s":"SYMBOL","i":"1m","f":<first>,"L":<last>,"o":"<open>","c":"<close>","h":"<high>",'
    '"l":"<low>","v":"<volume>","n":<count>,"x":<closed>,"q":"<quote>","V":"<buy_volume>","Q":"<buy_quote>","B":"0"}'
)
_AGG = '"a":<id>,"p":"<px>","q":"<qty>",%s"f":<first>,"l":<last>,"T":<T>,"m":<sells>'

FUTURES_TEMPLATES = {
    "depth": '{"e":"depthUpdate","E":<E>,"T":<T>,"s":"SYMBOL","U":<U>,"u":<u>,"pu":<pu>,'
    '"b":[<bids>],"a":[<asks>],"ps":"SYMBOL","st":1}',
    "trade": _FUTURES_TRADE % ("<px>", "<qty>", "MARKET"),
    "trade_na": _FUTURES_TRADE % ("0", "0", "NA"),
    "trade_insurance": _FUTURES_TRADE % ("<px>", "<qty>", "INSURANCE_FUND"),
    "aggTrade": '{"e":"aggTrade","E":<E>,"s":"SYMBOL",' + _AGG % '"nq":"<qty>",' + ',"st":1}',
    "bookTicker": '{"e":"bookTicker",' + _BEST + ',"T":<T>,"E":<E>,"ps":"SYMBOL","st":1}',
    "markPrice": '{"e":"markPriceUpdate","E":<E>,"s":"SYMBOL","p":"<mark>","ap":"<mark>","P":"<mark>","i":"<index>",'
    '"r":"<rate>","T":<next_funding>,"st":1}',
    "forceOrder": '{"e":"forceOrder","E":<E>,"o":{"s":"SYMBOL","S":"<side>","o":"LIMIT","f":"IOC","q":"<qty>",'
    '"p":"<limit>","ap":"<px>","X":"FILLED","l":"<qty>","z":"<qty>","T":<T>},"st":1}',
    "kline": '{"e":"kline","E":<E>,"s":"SYMBOL","k":' + _BAR + ',"st":1}',
    "snapshot": '{"lastUpdateId":<u>,"E":<E>,"T":<T>,"bids":[<bids>],"asks":[<asks>]}',
}
SPOT_TEMPLATES = {
    "depth": '{"e":"depthUpdate","E":<E>,"s":"SYMBOL","U":<U>,"u":<u>,"b":[<bids>],"a":[<asks>]}',
    "trade": '{"e":"trade","E":<E>,"s":"SYMBOL","t":<id>,"p":"<px>","q":"<qty>","T":<T>,"m":<sells>,"M":true}',
    "aggTrade": '{"e":"aggTrade","E":<E>,"s":"SYMBOL",' + _AGG % "" + ',"M":true}',
    "bookTicker": "{" + _BEST + "}",
    "kline": '{"e":"kline","E":<E>,"s":"SYMBOL","k":' + _BAR + "}",
    "snapshot": '{"lastUpdateId":<u>,"bids":[<bids>],"asks":[<asks>]}',
}


def decimal_text(value: int, digits: int) -> str:
    """`value` / 10^digits with all its digits."""
    if digits == 0:
        return str(value)
    whole, part = divmod(abs(value), 10**digits)
    return f"{'-' if value < 0 else ''}{whole}.{part:0{digits}d}"


class Wire:
    """The messages of one symbol on one venue.

    multipliers, digits: per Format, an integer times its multiplier is written with that many decimals.
    """

    def __init__(self, spec: SymbolSpec, spot: bool) -> None:
        self.name = spec.symbol.upper()
        self.spot = spot
        self.templates = {
            kind: text.replace("SYMBOL", self.name)
            for kind, text in (SPOT_TEMPLATES if spot else FUTURES_TEMPLATES).items()
        }
        px, sz = spec.px_decimals, spec.sz_decimals
        self.digits = np.zeros(len(Format), np.int64)
        self.multipliers = np.ones(len(Format), np.int64)
        for kind, unit, decimals in (
            (Format.PX, spec.px_unit, px),
            (Format.SZ, spec.sz_unit, sz),
            (Format.VALUE, spec.px_unit * spec.sz_unit, px + sz),
        ):
            self.digits[kind] = SPOT_DECIMALS if spot else decimals
            self.multipliers[kind] = unit * 10 ** (int(self.digits[kind]) - decimals)
        self.digits[Format.MARK] = self.digits[Format.RATE] = MARK_DECIMALS
        self.multipliers[Format.MARK] = spec.px_unit * 10 ** (MARK_DECIMALS - px) // PRICE_SCALE
        self._pieces = {kind: re.split(r"<(\w+)>", text) for kind, text in self.templates.items()}
        self._numbers = [(int(m), int(d)) for m, d in zip(self.multipliers, self.digits, strict=True)]

    def number(self, value: int, kind: Format) -> str:
        """An integer as the wire shows it."""
        multiplier, digits = self._numbers[kind]
        return decimal_text(value * multiplier, digits)

    def levels(self, rows: Iterable[Iterable[int]]) -> str:
        """`["price","quantity"],...` of (tick, lots)."""
        (px, px_digits), (sz, sz_digits) = self._numbers[Format.PX], self._numbers[Format.SZ]
        return ",".join(
            f'["{decimal_text(tick * px, px_digits)}","{decimal_text(lots * sz, sz_digits)}"]' for tick, lots in rows
        )

    def render(self, template: str, bids: str = "", asks: str = "", /, **fields: int) -> str:
        """The message; `bids` and `asks` are texts of `levels`."""
        pieces = self._pieces[template]
        parts = [pieces[0]]
        for at in range(1, len(pieces), 2):
            name = pieces[at]
            match FIELDS[name]:
                case Format.BIDS:
                    parts.append(bids)
                case Format.ASKS:
                    parts.append(asks)
                case Format.BOOL:
                    parts.append("true" if fields[name] else "false")
                case Format.SIDE:
                    parts.append("SELL" if fields[name] else "BUY")
                case kind:
                    parts.append(self.number(fields[name], kind))
            parts.append(pieces[at + 1])
        return "".join(parts)

    def depth(self, bids: list[tuple[int, int]], asks: list[tuple[int, int]], **fields: int) -> str:
        """A difference of the book. Futures send both sides by rising price, spot best first."""
        return self.render("depth", self.levels(sorted(bids, reverse=self.spot)), self.levels(sorted(asks)), **fields)
