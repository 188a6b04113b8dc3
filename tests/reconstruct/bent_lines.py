"""Journal lines bent in every way that JSON can be: what the strict scan must read as the plain decoder, or refuse."""

import random
from collections.abc import Callable
from typing import Any

from midas_ray.capture.journal import event_line, verbatim_line

Members = list[tuple[str, str]]
"""Keys and values of an object as JSON text, in order."""

NUMBERS = [
    *("0", "00", "-0", "1", "01", "-1", "1.0", "1.5", "1e3", "1E-2", "1e400", ".5", "5.", "+1", "0x10", "NaN", "1_000"),
    *("9223372036854775807", "9223372036854775808", "8999999999999999999", "-9223372036854775809", "9" * 20),
    *("123456789012345678", "1234567890123456789", "4102444799999", "4102444800000", "Infinity"),
]
TEXTS = [
    *("0", "00", "0.0", "007.50", "1", "1.", ".5", "-1", "-0", "+1", "1e3", "nan", "inf", "Infinity", "1_000", "1,5"),
    *(
        "",
        " 1",
        "1 ",
        "٣",
        "½",
        "1\\u0030",
        "\\n",
        "é",
        "MARKET",
        "BUY",
        "SELL",
        "HOLD",
        "BTCUSDT",
        "btcusdt",
        "ETHUSDT",
    ),
    *("0.00000001", "0.123456789", "0.1234567891", "0.12345678901", "12345678", "123456789", "1.50000000"),
    *("1234567.12345678", "12345678.12345678", "1234567.123456789", "99999999.9999999999", "0.1" + "0" * 19),
    *("123456789012345678", "1234567890123456789", "999999999999999999", "1000000000000000000"),
]
OTHERS = ["null", "true", "false", "tru", "nul", "{}", "[]", '{"a":1}', "[[]]", "[1,2]", '{"s":"BTCUSDT","b":[]}', ""]


def text(value: str) -> str:
    return f'"{value}"'


def joined(members: Members) -> str:
    return "{" + ",".join(f'"{key}":{value}' for key, value in members) + "}"


class BentLines:
    """Lines of a seed. `block(n)` gives n whole lines, every kind of message among them, most of them bent."""

    def __init__(self, seed: int, symbol: str = "BTCUSDT") -> None:
        self.random = random.Random(seed)
        self.symbol = symbol
        self.last_id = 10**6
        self.kinds: list[Callable[[], Members]] = [
            *[self._depth, self._trade, self._agg_trade] * 3, self._ticker, self._mark, self._force, self._kline
        ]  # fmt: skip

    def block(self, n: int) -> bytes:
        return b"".join(self.line() for _ in range(n))

    def line(self) -> bytes:
        """One line with its newline; nothing inside it is one."""
        if self.random.random() < 0.03:
            return event_line(self._int(), None, "collector", 1, "connect", stream="depth")
        members = self.random.choice(self.kinds)()
        if self.random.random() < 0.5:
            self._bend(members)
        body = joined(members)
        if self.random.random() < 0.8:
            body = self._combined(members, body)
        recv_ns, mono = 10**18 + self.random.randrange(10**9), self.random.choice([None, 5, self._int()])
        line = verbatim_line(recv_ns, mono, "a-17", self.last_id, body.encode("utf-8", "surrogatepass"))
        if self.random.random() < 0.25:
            line = self._damaged(line)
        return line.replace(b"\n", b"") + b"\n"

    def _combined(self, members: Members, body: str) -> str:
        event = dict(members).get("e", '"?"').strip('"').removesuffix("Update")
        name = self.random.choice([event, event, event, "depth@100ms", "bookTicker", "trade"])
        symbol = self.random.choice([self.symbol.lower()] * 9 + ["ethusdt", "!x", ""])
        outer = [("stream", text(f"{symbol}@{name}")), ("data", body)]
        if self.random.random() < 0.03:
            self._bend(outer)
        return joined(outer)

    def _bend(self, members: Members) -> None:
        """One to three changes of keys and values."""
        for _ in range(self.random.randint(1, 3)):
            at = self.random.randrange(len(members)) if members else 0
            key, value = members[at] if members else ("e", '"trade"')
            match self.random.randrange(9):
                case 0:
                    head, rest = members[:1], members[1:]
                    self.random.shuffle(rest)
                    members[:] = head + rest
                case 1:
                    members.insert(
                        self.random.randrange(len(members) + 1), (key, self.random.choice([value, self._any()]))
                    )
                case 2:
                    members.insert(self.random.randrange(len(members) + 1), (self._name(), self._any()))
                case 3 if members:
                    del members[at]
                case 4 | 5 if members:
                    members[at] = (key, self._like(value))
                case 6 if members:
                    members[at] = (key, self._spaced(value))
                case 7 if members:
                    members[at] = (
                        self.random.choice(
                            [self._name(), key.swapcase(), f"\\u{ord(key[0]):04x}{key[1:]}" if key else "e"]
                        ),
                        value,
                    )
                case _:
                    self.random.shuffle(members)

    def _name(self) -> str:
        return self.random.choice(
            ["st", "e", "E", "x", "X", "pu", "ps", "nq", "T", "zz", "", "é", "a b", "event", "u1", "_"]
        )

    def _any(self) -> str:
        return self.random.choice(
            [self.random.choice(NUMBERS), text(self.random.choice(TEXTS)), self.random.choice(OTHERS)]
        )

    def _like(self, value: str) -> str:
        """Another value, often of the same kind."""
        if value.startswith("[["):
            return self._levels(odd=True)
        if self.random.random() < 0.3:
            return self._any()
        return text(self.random.choice(TEXTS)) if value.startswith('"') else self.random.choice(NUMBERS)

    def _spaced(self, value: str) -> str:
        at = self.random.randrange(len(value) + 1)
        return (
            value[:at] + self.random.choice([" ", "  ", "\t", "\r", "\0", "\\", '"', ",", "]", "[", "}"]) + value[at:]
        )

    def _damaged(self, line: bytes) -> bytes:
        """Bytes flipped, dropped or doubled; the line cut; another line's end."""
        data, at = bytearray(line), self.random.randrange(len(line) - 1)
        match self.random.randrange(6):
            case 0:
                data[at] = self.random.randrange(256)
            case 1:
                del data[at]
            case 2:
                data.insert(at, data[at])
            case 3:
                del data[at:-1]
            case 4:
                data[-1:] = self.random.choice([b"\r\n", b" \n", b"}\n", b",\n", b"\0\n", b"x\n"])
            case 5:
                stop = self.random.randrange(at, len(line))
                del data[at:stop]
        return bytes(data)

    def _int(self) -> int:
        return self.random.choice([0, 1, 7, 10**12 + self.random.randrange(10**9), 2**53 + 1])

    def _ms(self) -> str:
        return str(1_767_225_600_000 + self.random.randrange(10**7))

    def _decimal(self, zero: bool = True) -> str:
        whole = self.random.choice([self.random.randrange(0 if zero else 1, 10 ** self.random.randint(1, 9)), 5])
        decimals = self.random.choice([0, 1, 2, 2, 3, 8])
        fraction = "".join(self.random.choice("0001234567890") for _ in range(decimals))
        return f"{whole}.{fraction}" if fraction else str(whole)

    def _levels(self, odd: bool = False) -> str:
        levels = []
        for _ in range(self.random.choice([0, 1, 1, 2, 5, 9])):
            level = [text(self._decimal(zero=False)), text(self._decimal())]
            if odd and self.random.random() < 0.4:
                level[self.random.randrange(2)] = text(self.random.choice(TEXTS))
            if odd and self.random.random() < 0.05:
                level = self.random.choice([level[:1], [*level, '"1"'], [], [self._any(), level[1]]])
            levels.append("[" + ",".join(level) + "]")
        separator = self.random.choice([",", ",", ",", ", ", "", ",,"]) if odd else ","
        return "[" + separator.join(levels) + "]"

    def _head(self, event: str) -> Members:
        head = [("e", text(event)), ("E", self._ms()), ("s", text(self.symbol))]
        return head + ([("st", "1")] if self.random.random() < 0.3 else [])

    def _depth(self) -> Members:
        first, self.last_id = self.last_id + 1, self.last_id + self.random.randint(1, 20)
        ids = [("U", str(first)), ("u", str(self.last_id)), ("pu", str(first - self.random.randint(1, 3)))]
        return [
            *self._head("depthUpdate"), ("T", self._ms()), *ids, ("b", self._levels()), ("a", self._levels())
        ]  # fmt: skip

    def _trade(self) -> Members:
        self.last_id += 1
        body = [("T", self._ms()), ("t", str(self.last_id)), ("p", text(self._decimal())), ("q", text(self._decimal()))]
        kind = self.random.choice(["MARKET", "MARKET", "NA", "INSURANCE_FUND", "ADL"])
        return [*self._head("trade"), *body, ("X", text(kind)), ("m", self.random.choice(["true", "false"]))]

    def _agg_trade(self) -> Members:
        first, self.last_id = self.last_id + 1, self.last_id + self.random.randint(1, 4)
        body = [("a", str(self.last_id)), ("p", text(self._decimal())), ("q", text(self._decimal()))]
        ids = [("f", str(first)), ("l", str(self.last_id)), ("T", self._ms())]
        return [*self._head("aggTrade"), *body, *ids, ("m", self.random.choice(["true", "false"]))]

    def _ticker(self) -> Members:
        prices: dict[str, Any] = {"b": "1.5", "B": "2", "a": "1.6", "A": "3"}
        quotes = [(key, text(value)) for key, value in prices.items()]
        if self.random.random() < 0.3:  # as on spot
            return [("u", str(self.last_id)), ("s", text(self.symbol)), *quotes]
        return [("e", text("bookTicker")), ("u", str(self.last_id)), ("s", text(self.symbol)), *quotes]

    def _mark(self) -> Members:
        numbers = [("p", text(self._decimal())), ("i", text(self._decimal())), ("P", text("1"))]
        return [
            *self._head("markPriceUpdate"),
            *numbers,
            ("r", text(self.random.choice(["0.0001", "-0.0002", "", "-", "--1"]))),
            ("T", self._ms()),
        ]

    def _force(self) -> Members:
        order: Members = [
            ("s", text(self.symbol)),
            ("S", text(self.random.choice(["BUY", "SELL"]))),
            ("o", text("LIMIT")),
        ]
        order += [
            ("p", text(self._decimal())),
            ("ap", text(self._decimal())),
            ("z", text(self._decimal())),
            ("T", self._ms()),
        ]
        if self.random.random() < 0.2:
            self._bend(order)
        return [("e", text("forceOrder")), ("E", self._ms()), ("o", joined(order))]

    def _kline(self) -> Members:
        bar: Members = [("t", self._ms()), ("T", self._ms()), ("s", text(self.symbol)), ("i", text("1m"))]
        bar += [(key, text(self._decimal())) for key in "ohlcvqVQ"]
        bar += [("n", "4"), ("x", self.random.choice(["true", "false"]))]
        if self.random.random() < 0.2:
            self._bend(bar)
        return [*self._head("kline"), ("k", joined(bar))]
