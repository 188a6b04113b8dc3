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
from midas_ray.errors import DataError
from midas_ray.reconstruct.reader import BlockReader, agg_trade_row, trade_row
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
KNOWN = set("esETUubapqmtflXMa") | {"pu", "st"}
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
    common = {"E": draw(st.integers(1, k.MAX_MS - 1)), "s": "BTCUSDT"} | draw(unknown)
    if kind == "depthUpdate":
        members = common | {"U": ids[1], "u": ids[2], "b": draw(levels), "a": draw(levels)}
        if not spot:
            members |= {"pu": ids[0], "T": draw(st.integers(1, k.MAX_MS - 1))}
        return shuffled(draw, kind, members)
    members = common | {"T": draw(st.integers(1, k.MAX_MS - 1)), "p": draw(decimals), "q": draw(decimals)}
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


@given(st.lists(lines(), min_size=1, max_size=8), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_reader_gives_every_line_at_the_scale_it_says(many: list[bytes], decimals: int) -> None:
    """Blocks of lines that need more decimals as they go: each number is right at its batch's scale."""
    reader = BlockReader(FUTURES, "btcusdt", Scale(0, decimals))
    ids, told = [], []
    wide = Scale(2, 3)
    for line in many:
        expected = plain(line.rstrip(b"\n"), scale=wide)
        assert expected is not None
        if isinstance(expected, DepthEvents):
            ids.append(int(expected.table[0, k.DEPTH_LAST_ID]))
    trades = [each for line in many if isinstance(each := plain(line.rstrip(b"\n"), scale=wide), np.ndarray)]
    rows: list[list[int]] = []
    for batch in reader.read(b"".join(many)):
        assert batch.undecodable == 0
        if batch.depth is not None:
            told += batch.depth.table[:, k.DEPTH_LAST_ID].tolist()
        if batch.trades is not None and len(batch.trades):
            table = batch.trades.copy()
            table[:, k.TRADE_PX] *= 10 ** (wide.px_decimals - batch.scale.px_decimals)
            table[:, k.TRADE_QTY] *= 10 ** (wide.sz_decimals - batch.scale.sz_decimals)
            rows += table.tolist()
    assert told == ids
    assert rows == [row for each in trades for row in each.tolist()]


@given(
    st.lists(lines(), min_size=1, max_size=5),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_reader_survives_any_damage(many: list[bytes], damage: list[tuple[float, int]]) -> None:
    """Undecodable lines are counted; a frame that has become another symbol's is the only error."""
    block = bytearray(b"".join(many))
    for where, byte in damage:
        block[int(where * (len(block) - 1))] = byte
    try:
        batches = list(BlockReader(FUTURES, "btcusdt").read(bytes(block)))
    except DataError as error:
        assert "expected only btcusdt in its raw files" in str(error)  # noqa: PT017
        return
    for batch in batches:
        for events in (batch.depth,):
            if events is not None and len(events):
                assert (events.table[:, k.DEPTH_LAST_ID] >= events.table[:, k.DEPTH_FIRST_ID]).all()
                assert int(events.table[-1, k.DEPTH_LEVELS_END]) == len(events.keys)


def test_a_number_of_too_many_decimals_does_not_change_the_scale() -> None:
    good = {"e": "trade", "E": 1, "T": 1, "s": "BTCUSDT", "t": 1, "p": "1.5", "q": "1", "m": True}
    block = b"".join(
        ws_line(10**18, None, "a", 1, json.dumps(each, separators=(",", ":")).encode())
        for each in (good, good | {"p": "1.23456789012"}, good | {"q": "123456789012.00000000"})
    )
    reader = BlockReader(FUTURES, "btcusdt")
    batches = list(reader.read(block))
    assert sum(batch.undecodable for batch in batches) == 1
    assert reader.scale == Scale(1, 0)
    rows = [row for batch in batches if batch.trades is not None for row in batch.trades.tolist()]
    assert [row[k.TRADE_QTY] for row in rows] == [1, 123456789012]


def test_one_line_that_fills_the_block() -> None:
    """A block may hold nothing but one large depth event."""
    levels_text = [[f"{at}.5", "1"] for at in range(1, 3000)]
    body = {"e": "depthUpdate", "E": 1, "T": 1, "s": "BTCUSDT", "U": 2, "u": 3, "pu": 1, "b": levels_text, "a": []}
    line = ws_line(10**18, None, "a", 1, json.dumps(body, separators=(",", ":")).encode())
    batches = list(BlockReader(FUTURES, "btcusdt").read(line))
    assert sum(len(batch.depth.keys) for batch in batches if batch.depth is not None) == 2999
