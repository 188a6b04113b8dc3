"""Names, routes, URLs, weights and frame addresses of both venues."""

import msgspec
import pytest

from midas_ray.errors import UsageError
from midas_ray.settings import StreamSettings
from midas_ray.venues import get_venue
from midas_ray.venues.base import frame_address
from midas_ray.venues.messages import DepthUpdate, ForceOrder, MarkPrice, Trade

FUTURES, SPOT = get_venue("binance-futures"), get_venue("binance-spot")


def test_streams_follow_the_settings() -> None:
    every = StreamSettings(enable_book_ticker=True)
    names = {stream.name: stream.route for stream in FUTURES.streams("btcusdt", every)}
    assert names == {
        "btcusdt@depth@100ms": "public",
        "btcusdt@trade": "public",
        "btcusdt@bookTicker": "public",
        "btcusdt@kline_1m": "market",
        "btcusdt@markPrice@1s": "market",
        "!forceOrder@arr": "market",
    }
    few = StreamSettings(enable_trades=False, enable_klines=False, enable_liquidations=False, enable_mark_price=False)
    assert [stream.name for stream in FUTURES.streams("btcusdt", few)] == ["btcusdt@depth@100ms"]
    assert {stream.kind for stream in SPOT.streams("btcusdt", every)} == {"depth", "trade", "bookTicker", "kline"}


@pytest.mark.parametrize(("speed", "name"), [(0, "x@depth@0ms"), (250, "x@depth"), (500, "x@depth@500ms")])
def test_depth_speed(speed: int, name: str) -> None:
    assert FUTURES.streams("x", StreamSettings(depth_speed_ms=speed))[0].name == name


def test_connections_are_routed() -> None:
    streams = FUTURES.streams("btcusdt", StreamSettings())
    by_route = {route: [each for each in streams if each.route == route] for route in ("public", "market")}
    assert [FUTURES.connection_url(route, found) for route, found in by_route.items()] == [
        "wss://fstream.binance.com/public/stream?streams=btcusdt@depth@100ms/btcusdt@trade",
        "wss://fstream.binance.com/market/stream?streams=btcusdt@kline_1m/btcusdt@markPrice@1s/!forceOrder@arr",
    ]
    local = FUTURES.connection_url("public", [], "http://127.0.0.1:8900/")
    assert local == "ws://127.0.0.1:8900/public/stream"
    assert FUTURES.connection_url("public", [], "https://127.0.0.1:8900").startswith("wss://127.0.0.1:8900/")
    spot = SPOT.streams("x", StreamSettings())
    assert SPOT.connection_url("", spot[:1]) == "wss://stream.binance.com:9443/stream?streams=x@depth@100ms"


@pytest.mark.parametrize(("limit", "weight"), [(5, 2), (50, 2), (100, 5), (500, 10), (1000, 20)])
def test_snapshot_weight(limit: int, weight: int) -> None:
    assert FUTURES.depth_weight(limit) == weight


@pytest.mark.parametrize(
    ("frame", "address"),
    [
        (b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","s":"BTCUSDT","new":1}}', ("depth", "btcusdt")),
        (b'{"e":"trade","s":"BTCUSDT"}', ("trade", "btcusdt")),
        (b'{"stream":"btcusdt@forceOrder","data":{"e":"forceOrder","o":{}}}', ("forceOrder", "btcusdt")),
        (b'{"stream":"x@bookTicker","data":{"u":1,"s":"X","b":"1","B":"1","a":"2","A":"1"}}', ("bookTicker", "x")),
        (b'{"result":null,"id":1}', None),
        (b'{"e":"serverShutdown","E":1}', None),
        (b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","o":{}}}', None),
        (b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","o":{"s":"ETHUSDT"}}}', ("forceOrder", "ethusdt")),
        (b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","st":1,"o":{"s":"X"}}}', ("forceOrder", "x")),
        (b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","st":2,"o":{"s":"ETHUSD_PERP"}}}', None),
        (b'{"stream":"!forceOrder@arr","data":{"e":"forceOrder","o":{"s":"ETHUSD_PERP","st":2}}}', None),
        (b'{"e":"trade","s":"BTCUSDT","st":2}', None),
    ],
)
def test_frame_address(frame: bytes, address: tuple[str, str] | None) -> None:
    assert frame_address(frame) == address


def test_frame_that_is_no_json_is_an_error() -> None:
    with pytest.raises(msgspec.DecodeError):
        frame_address(b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUp')


def test_messages_accept_unknown_fields_and_say_their_clock() -> None:
    depth = msgspec.json.decode(
        b'{"e":"depthUpdate","E":3,"T":2,"s":"X","U":5,"u":6,"pu":4,"b":[["1","2"]],"a":[],"ps":"X","st":1}',
        type=DepthUpdate,
    )
    assert (depth.T, depth.pu, depth.b) == (2, 4, [("1", "2")])
    spot = msgspec.json.decode(b'{"E":3,"s":"X","U":5,"u":6,"b":[],"a":[]}', type=DepthUpdate)
    assert (spot.T, spot.pu) == (None, None)
    trade = msgspec.json.decode(b'{"E":1,"T":1,"s":"X","t":9,"p":"0","q":"0","X":"NA","m":true,"M":true}', type=Trade)
    assert (trade.X, trade.p) == ("NA", "0")
    mark = msgspec.json.decode(b'{"E":7,"s":"X","p":"1","i":"2","r":"","T":9,"ap":"1"}', type=MarkPrice)
    assert (mark.E, mark.T) == (7, 9)
    order = {"s": "X", "S": "BUY", "p": "1", "ap": "1", "z": "1", "T": 8, "o": "LIMIT"}
    forced = msgspec.json.decode(msgspec.json.encode({"E": 1, "o": order}), type=ForceOrder)
    assert forced.o.T == 8


def test_unknown_venue() -> None:
    with pytest.raises(UsageError, match="expected one of binance-futures, binance-spot"):
        get_venue("mtgox")
