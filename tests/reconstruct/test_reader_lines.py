"""Lines of streams that need a second look: all-market liquidations, prints that are none, COIN-M's events."""

import json
from typing import Any

import pytest

from midas_ray.book import kernels as k
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
