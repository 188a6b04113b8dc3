"""Lines of streams that need a second look: all-market liquidations, prints that are none, COIN-M's events."""

import json
from typing import Any

import pytest

from midas_ray.book import kernels as k
from midas_ray.book.kernels import MAX_MS
from midas_ray.capture.journal import ws_line
from midas_ray.reconstruct.reader import Batch, BlockReader
from midas_ray.venues import get_venue

START_NS = 1_767_225_600 * 10**9


def read(*frames: Any, spaced: bool = False) -> list[Batch]:
    separators = (", ", ": ") if spaced else (",", ":")
    block = b"".join(
        ws_line(START_NS + n, n, "a-1", n, json.dumps(frame, separators=separators).encode())
        for n, frame in enumerate(frames)
    )
    return list(BlockReader(get_venue("binance-futures"), "btcusdt").read(block))


def forced(symbol: str, stream: str = "!forceOrder@arr", **more: Any) -> dict[str, Any]:
    order = {"s": symbol, "S": "SELL", "o": "LIMIT", "p": "499", "ap": "499.5", "z": "1.5", "T": 1}
    return {"stream": stream, "data": {"e": "forceOrder", "E": 1, "o": order} | more}


def trade(**more: Any) -> dict[str, Any]:
    body = {"e": "trade", "E": 1, "T": 1, "s": "BTCUSDT", "t": 1, "p": "100.5", "q": "2", "X": "MARKET", "m": True}
    return {"stream": "btcusdt@trade", "data": body | more}


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("stream", ["!forceOrder@arr", "btcusdt@forceOrder"])
def test_a_liquidation_counts_whatever_its_stream_is_called(stream: str, spaced: bool) -> None:
    batches = read(forced("BTCUSDT", stream), spaced=spaced)
    assert [order.o.z for batch in batches for order in batch.forced] == ["1.5"]
    assert sum(batch.undecodable for batch in batches) == 0


@pytest.mark.parametrize("spaced", [False, True])
def test_coin_ms_events_are_never_counted(spaced: bool) -> None:
    depth = {"e": "depthUpdate", "E": 1, "T": 1, "s": "BTCUSDT", "U": 2, "u": 3, "pu": 1, "b": [], "a": [], "st": 2}
    batches = read(forced("BTCUSD_PERP", st=2), trade(st=2), {"stream": "btcusdt@depth", "data": depth}, spaced=spaced)
    assert not any(batch.forced or batch.depth for batch in batches)
    assert sum(0 if batch.trades is None else len(batch.trades) for batch in batches) == 0
    assert sum(batch.undecodable for batch in batches) == 0


def test_a_liquidation_of_another_symbol_is_named() -> None:
    batches = read(forced("ETHUSDT"), trade())
    assert [symbol for batch in batches for symbol in batch.foreign] == ["ethusdt"]
    assert not any(batch.forced for batch in batches)
    assert sum(0 if batch.trades is None else len(batch.trades) for batch in batches) == 1


def mark(**more: Any) -> dict[str, Any]:
    body = {"e": "markPriceUpdate", "E": 1, "s": "BTCUSDT", "p": "500.5", "i": "500.1", "r": "-0.0001", "T": 2}
    return body | more


def kline(**more: Any) -> dict[str, Any]:
    bar = {"t": 1, "T": 2, "s": "BTCUSDT", "i": "1m", "n": 4, "x": True} | dict.fromkeys("ohlcvqVQ", "1.5")
    return {"e": "kline", "E": 1, "s": more.pop("s", "BTCUSDT"), "k": bar | more}


def small(batches: list[Batch]) -> int:
    return sum(len(batch.marks) + len(batch.klines) + len(batch.forced) for batch in batches)


@pytest.mark.parametrize("spaced", [False, True])
@pytest.mark.parametrize("message", [mark, kline])
def test_marks_and_bars_of_another_symbol_are_named(message: Any, spaced: bool) -> None:
    batches = read(message(s="ETHUSDT"), message(), spaced=spaced)
    assert small(batches) == 1
    assert [symbol for batch in batches for symbol in batch.foreign] == ["ethusdt"]


@pytest.mark.parametrize(
    "frame",
    [mark(p="nan"), mark(i="1_000"), mark(r="-"), mark(E=-1), kline(o="1e5"), kline(v="inf"),
     kline(t=MAX_MS), kline(n=2**63), kline(n=-1),
     forced("BTCUSDT")["data"] | {"E": MAX_MS}],
)  # fmt: skip
def test_numbers_and_times_that_are_none_are_not_taken(frame: dict[str, Any]) -> None:
    batches = read(frame)
    assert small(batches) == 0
    assert sum(batch.undecodable for batch in batches) == 1


@pytest.mark.parametrize("spaced", [False, True])
def test_a_time_that_would_end_the_clock_is_not_taken(spaced: bool) -> None:
    depth = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 2, "u": 3, "pu": 1, "b": [], "a": []}
    batches = read(depth | {"T": MAX_MS}, depth | {"T": MAX_MS - 1}, trade(T=MAX_MS), trade(T=10**18), spaced=spaced)
    assert sum(batch.undecodable for batch in batches) == 3
    assert [row[k.DEPTH_MS] for batch in batches if batch.depth for row in batch.depth.table.tolist()] == [MAX_MS - 1]


def test_what_only_calls_itself_a_ticker_is_read_as_what_it_is() -> None:
    body: dict[str, Any] = {"e": "bookTicker", "u": 1, "s": "BTCUSDT", "T": 1, "E": 1} | dict.fromkeys("bBaA", "1.5")
    others = (body | {"s": "ETHUSDT"}, body | {"s": 7}, trade()["data"])
    batches = read(*({"stream": "btcusdt@bookTicker", "data": each} for each in (body, *others)))
    assert sum(batch.tickers for batch in batches) == 1
    assert sum(batch.undecodable for batch in batches) == 2
    assert sum(0 if batch.trades is None else len(batch.trades) for batch in batches) == 1


@pytest.mark.parametrize("spaced", [False, True])
def test_na_trades_of_price_0_count_for_the_ids_and_are_no_prints(spaced: bool) -> None:
    batches = read(
        trade(),
        trade(t=2, p="0", q="0", X="NA"),
        trade(t=3, p="0"),
        trade(t=4, X="ADL"),
        trade(t=5, st=1),
        spaced=spaced,
    )
    rows = [row for batch in batches if batch.trades is not None for row in batch.trades.tolist()]
    assert [(row[k.TRADE_ID], row[k.TRADE_PRINT]) for row in rows] == [(1, 1), (2, 0), (3, 0), (4, 0), (5, 1)]


@pytest.mark.parametrize("spaced", [False, True])
def test_another_symbol_inside_a_stream_of_ours_is_the_exchanges_mistake(spaced: bool) -> None:
    batches = read(trade(s="ETHUSDT"), trade(t=2), spaced=spaced)
    assert sum(batch.undecodable for batch in batches) == 1
    assert sum(0 if batch.trades is None else len(batch.trades) for batch in batches) == 1
    foreign = read({"stream": "ethusdt@trade", "data": trade(s="ETHUSDT")["data"]}, spaced=spaced)
    assert [symbol for batch in foreign for symbol in batch.foreign] == ["ethusdt"]
