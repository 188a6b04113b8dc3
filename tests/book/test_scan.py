"""The compiled scan against the plain decoder: the same table, or a refusal; never another number."""

import json
from typing import Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.book import kernels as k
from midas_ray.book.events import DepthEvents, decode_depth
from midas_ray.book.scale import Scale, ScaleTooSmallError
from midas_ray.capture.journal import decode_line, ws_line
from midas_ray.reconstruct.reader import agg_trade_row, trade_row
from midas_ray.venues import get_venue
from midas_ray.venues.base import frame_address, frame_message
from midas_ray.venues.messages import AggTrade, DepthUpdate, Trade

FUTURES, SPOT = get_venue("binance-futures"), get_venue("binance-spot")
DEPTH, TRADE, AGG_TRADE = (msgspec.json.Decoder(kind) for kind in (DepthUpdate, Trade, AggTrade))
SCALE = Scale(2, 3)
ROOM = 64


def scan(block: bytes, venue: Any = FUTURES, scale: Scale = SCALE, symbol: str = "BTCUSDT") -> dict[str, Any]:
    """The scan's tables of a block."""
    depth = np.zeros((ROOM, k.DEPTH_COLUMNS), np.int64)
    trades = np.zeros((ROOM, k.TRADE_COLUMNS), np.int64)
    other = np.zeros((ROOM, k.OTHER_COLUMNS), np.int64)
    keys, sides, sizes = np.zeros(4096, np.int64), np.zeros(4096, np.int8), np.zeros(4096, np.int64)
    why, at, n_depth, n_trades, n_other, tickers = k.scan(
        *(np.frombuffer(block, np.uint8), 0, np.frombuffer(symbol.encode(), np.uint8), ord(venue.depth_clock)),
        *(venue.has_previous_id, scale.px_decimals, scale.sz_decimals, depth, keys, sides, sizes, trades, other),
    )
    end = int(depth[n_depth - 1, k.DEPTH_LEVELS_END]) if n_depth else 0
    events = DepthEvents(depth[:n_depth], keys[:end], sides[:end], sizes[:end])
    return {
        "why": why, "at": at, "depth": events, "trades": trades[:n_trades], "other": other[:n_other], "tickers": tickers
    }  # fmt: skip


def plain(line: bytes, venue: Any = FUTURES, scale: Scale = SCALE) -> DepthEvents | np.ndarray | None:
    """What the plain decoder makes of a line: a depth table, a trade row, or None where it refuses it."""
    try:
        journal_line = decode_line(line)
        payload = bytes(journal_line.payload)
        address = frame_address(payload)
        if journal_line.kind != "ws" or address is None or address[1] != "btcusdt":
            return None
        data, recv_ns = frame_message(payload), journal_line.recv_ns
        if address[0] == "depth":
            message = DEPTH.decode(data)
            return decode_depth(message, recv_ns, venue.depth_clock, venue.has_previous_id, scale)
        if address[0] == "trade":
            return trade_row(TRADE.decode(data), recv_ns, scale)
        if address[0] == "aggTrade":
            return agg_trade_row(AGG_TRADE.decode(data), recv_ns, scale)
    except (ValueError, OverflowError, ScaleTooSmallError):  # msgspec's DecodeError is a ValueError
        return None
    return None


def assert_same_events(left: DepthEvents, right: DepthEvents) -> None:
    """Equal but for which side's changes come first: the sides are independent."""
    assert left.table.tolist() == right.table.tolist()
    for side in range(2):
        assert left.keys[left.sides == side].tolist() == right.keys[right.sides == side].tolist()
        assert left.sizes[left.sides == side].tolist() == right.sizes[right.sides == side].tolist()


def assert_agrees(line: bytes, *, must_read: bool, venue: Any = FUTURES) -> None:
    """The scan of one line gives the plain decoder's table, or refuses it (never where `must_read`)."""
    found, expected = scan(line, venue), plain(line.rstrip(b"\n"), venue)
    if len(found["depth"]):
        assert isinstance(expected, DepthEvents)
        assert_same_events(found["depth"], expected)
    elif len(found["trades"]):
        assert isinstance(expected, np.ndarray)
        assert found["trades"].tolist() == expected.tolist()
    else:
        assert not must_read, line


decimals = st.builds(
    lambda whole, fraction: f"{whole}.{fraction}" if fraction else str(whole),
    st.integers(0, 10**9),
    st.text("0123456789", max_size=2),
)
prices = decimals.filter(lambda text: float(text) > 0)
levels = st.lists(st.tuples(prices, decimals).map(list), max_size=5)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**12), 10**12), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters='"\\'), max_size=6),
)  # fmt: skip
KNOWN = set("esETUubapqmtflXMa") | {"pu"}
unknown = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=3).filter(
        lambda key: key not in KNOWN and not key.startswith("e")
    ),
    scalars,
    max_size=3,
)


def shuffled(draw: st.DrawFn, event: str, members: dict[str, Any]) -> dict[str, Any]:
    keys = draw(st.permutations(sorted(members)))
    return {"e": event} | {key: members[key] for key in keys}


@st.composite
def messages(draw: st.DrawFn, spot: bool = False) -> dict[str, Any]:
    kind = draw(st.sampled_from(["depthUpdate", "trade", "aggTrade"]))
    ids = sorted(draw(st.lists(st.integers(1, 10**13), min_size=3, max_size=3, unique=True)))
    common = {"E": draw(st.integers(1, 2**42)), "s": "BTCUSDT"} | draw(unknown)
    if kind == "depthUpdate":
        members = common | {"U": ids[1], "u": ids[2], "b": draw(levels), "a": draw(levels)}
        if not spot:
            members |= {"pu": ids[0], "T": draw(st.integers(1, 2**42))}
        return shuffled(draw, kind, members)
    members = common | {"T": draw(st.integers(1, 2**42)), "p": draw(decimals), "q": draw(decimals)}
    members |= {"m": draw(st.booleans())}
    if kind == "aggTrade":
        return shuffled(draw, kind, members | {"a": ids[0], "f": ids[1], "l": ids[2]})
    if draw(st.booleans()):
        members |= {"X": draw(st.sampled_from(["MARKET", "NA", "ADL", "INSURANCE_FUND", "MARKETS"]))}
    return shuffled(draw, kind, members | {"t": ids[0]})


@st.composite
def lines(draw: st.DrawFn, spot: bool = False) -> bytes:
    message = json.dumps(draw(messages(spot)), separators=(",", ":"))
    if draw(st.booleans()):
        message = f'{{"stream":"btcusdt@{draw(st.sampled_from(["depth", "trade"]))}","data":{message}}}'
    mono = draw(st.one_of(st.none(), st.integers(0, 10**15)))
    return ws_line(draw(st.integers(10**18, 2 * 10**18)), mono, "a-1", draw(st.integers(0, 10**9)), message.encode())


@given(lines())
@settings(max_examples=300, deadline=None)
def test_scan_reads_every_valid_line_as_the_plain_decoder_does(line: bytes) -> None:
    assert_agrees(line, must_read=True)


@given(lines(spot=True))
@settings(max_examples=150, deadline=None)
def test_scan_reads_spot_lines_without_pu_and_T(line: bytes) -> None:
    assert_agrees(line, must_read=True, venue=SPOT)


@given(lines(), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=3))
@settings(max_examples=600, deadline=None)
def test_a_damaged_line_gives_the_plain_decoders_table_or_none(line: bytes, damage: list[tuple[float, int]]) -> None:
    damaged = bytearray(line)
    for where, byte in damage:
        damaged[int(where * (len(line) - 1))] = byte
    if b"\n" in damaged[:-1]:
        return
    assert_agrees(bytes(damaged), must_read=False)
