"""What a line of somebody's raw capture says, whatever the format: a frame, a REST answer, a connection."""

import re
from collections.abc import Callable
from typing import Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

from midas_ray.venues.base import StreamKind, frame_address

EntryKind = Literal["ws", "rest", "connect", "skip"]


class Entry(NamedTuple):
    """A line: kind, its timestamp as decimal text, the exchange's bytes, and the URL of a REST answer or connection.

    `skip`: what the capturing program says of itself.
    """

    kind: EntryKind
    stamp: bytes
    payload: bytes
    url: str = ""


class LineFormat(NamedTuple):
    """A capture format: how a line is split (ValueError where it is no such line) and what to expect, for errors."""

    name: str
    split: Callable[[bytes], Entry]
    expected: str


class Address(NamedTuple):
    """What a WebSocket frame is about. kind `partial`: a depth<levels> stream, whose messages are no differences."""

    kind: StreamKind | Literal["partial", "other"]
    symbol: str


_SNAPSHOT = re.compile(rb'\{\s*"lastUpdateId"')
_STREAM = re.compile(rb'\{\s*"stream"\s*:\s*"([^"@!]+)@([^"]+)"')
_KINDS: dict[str, StreamKind] = {
    "depth": "depth",
    "trade": "trade",
    "aggTrade": "aggTrade",
    "bookTicker": "bookTicker",
    "markPrice": "markPrice",
    "forceOrder": "forceOrder",
}


def split_lines(line: bytes) -> Entry:
    """`<timestamp> <json>`; a REST depth snapshot has `lastUpdateId` and no `stream`."""
    stamp, _, payload = line.partition(b" ")
    if not payload or not stamp[:1].isdigit():
        raise ValueError("no timestamp before the message")
    return Entry("rest" if _SNAPSHOT.match(payload) else "ws", stamp, payload.strip())


def split_cryptofeed(line: bytes) -> Entry:
    """A line of cryptofeed's raw data collection (its `AsyncFileCallback`):

    `<url> <-> <s>` a connection, `<url> <- <s>: <message>` a message sent, `<url> -> <s>: <body>` a REST answer,
    `<s>: <frame>`, and `configuration: <json>`, what the capturing program says of itself.
    """
    if line[:1].isdigit():
        stamp, _, payload = line.partition(b": ")
        if not payload:
            raise ValueError("no message after the timestamp")
        return Entry("ws", stamp, payload)
    if line.startswith(b"configuration: "):
        return Entry("skip", b"", b"")
    url, arrow, rest = line.partition(b" <-> ")
    if arrow and url.startswith(b"ws"):
        return Entry("connect", rest, b"", url.decode())
    url, arrow, rest = line.partition(b" <- ")
    if arrow and url.startswith(b"ws"):
        return Entry("skip", b"", b"")
    url, arrow, rest = line.partition(b" -> ")
    stamp, colon, payload = rest.partition(b": ")
    if arrow and colon and url.startswith(b"http"):
        return Entry("rest", stamp, payload, url.decode())
    raise ValueError("neither a frame, a REST answer nor a connection")


LINES = LineFormat("lines", split_lines, "lines of '<timestamp> <json>'")
CRYPTOFEED = LineFormat("cryptofeed", split_cryptofeed, "a raw capture of cryptofeed")


class Addresses:
    """Tells what frames are about, remembering the names of streams."""

    def __init__(self) -> None:
        self._known: dict[bytes, Address] = {}

    def of(self, payload: bytes) -> Address | None:
        """Kind and symbol of a frame; None where it is of no symbol (acks, all-market streams, what is not JSON)."""
        match = _STREAM.match(payload)
        if match is None:
            return _unnamed(payload)
        address = self._known.get(match[0])
        if address is None:
            symbol, stream = match[1].decode("utf-8", "replace"), match[2].decode("utf-8", "replace")
            address = self._known[match[0]] = _named(symbol, stream)
        return address


def _named(symbol: str, stream: str) -> Address:
    head = stream.partition("@")[0]
    if re.fullmatch(r"depth\d+", head):
        return Address("partial", symbol.lower())
    if head.startswith("kline_"):
        return Address("kline", symbol.lower())
    return Address(_KINDS.get(head, "other"), symbol.lower())


def _unnamed(payload: bytes) -> Address | None:
    try:
        found = frame_address(payload)
    except ValueError:
        return None
    return None if found is None else Address(*found)


def is_plain(symbol: str) -> bool:
    """Whether a symbol can name a folder and a setting: a few coins have names that are not plain letters."""
    return re.fullmatch(r"[a-z0-9_]{2,30}", symbol) is not None


def rest_path(url: str) -> str:
    """Path of a REST URL with its query."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def rest_symbol(url: str) -> str | None:
    """Symbol that a REST URL asks for, in lower case; None where it names none."""
    values = parse_qs(urlsplit(url).query).get("symbol")
    return values[0].lower() if values else None
