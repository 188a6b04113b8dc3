"""Frames of the streams: consistent with the one true book, the same however time is cut."""

import json
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from midas_ray.simulate.feed import FUTURES_ROUTES, SPOT_ROUTES, SymbolFeed
from midas_ray.simulate.market import Market
from midas_ray.simulate.referee import SymbolReferee
from midas_ray.simulate.rest import snapshot_body
from midas_ray.simulate.symbols import spec_of
from tests.simulate.dict_book import DictBook

START_US = 1_767_571_170_000_000  # half a minute before midnight
Frames = dict[str, list[dict[str, Any]]]


class Run:
    """150 s of a feed, advanced in uneven steps."""

    def __init__(self, *, spot: bool, symbol: str = "btcusdt", step_us: int = 70_001) -> None:
        self.market = Market(spec_of(symbol), 5, START_US, futures=not spot)
        self.feed = SymbolFeed(self.market, START_US, spot=spot)
        book = self.market.snapshot(1 << 20)
        self.first = json.loads(snapshot_body(self.feed.wire, book, START_US // 1000))
        self.referee = SymbolReferee(self.market.spec, book)
        self.text: list[tuple[str, str]] = []
        self.frames: Frames = defaultdict(list)
        routes = SPOT_ROUTES if spot else FUTURES_ROUTES
        for until_us in [*range(START_US, START_US + 150_000_000, step_us), START_US + 150_000_000]:
            frames, logs = self.feed.advance(until_us, routes.keys())
            assert all(frame.sent_us <= until_us for frame in frames)
            for log in logs:
                self.referee.record(log)
            for frame in frames:
                self.text.append((frame.stream, frame.payload))
                self.frames[frame.stream].append(json.loads(frame.payload))


@pytest.fixture(scope="module")
def futures() -> Run:
    return Run(spot=False)


@pytest.fixture(scope="module")
def spot() -> Run:
    return Run(spot=True)


def test_frames_do_not_depend_on_when_they_are_asked_for(futures: Run) -> None:
    other = Run(spot=False, step_us=1_900_003)
    by_stream: dict[str, list[str]] = defaultdict(list)
    for stream, payload in other.text:
        by_stream[stream].append(payload)
    for stream in FUTURES_ROUTES:
        assert [payload for name, payload in futures.text if name == stream] == by_stream[stream], stream


@pytest.mark.parametrize("stream", ["depth", "depth@0ms", "depth@100ms", "depth@250ms", "depth@500ms"])
def test_futures_depth_chain_replays_to_the_true_book(futures: Run, stream: str) -> None:
    book, previous, holes = DictBook(futures.first), None, 0
    for message in futures.frames[stream]:
        if previous is not None:
            assert message["pu"] == previous["u"]
            assert message["E"] > previous["E"]
        assert message["pu"] < message["U"] <= message["u"]
        assert message["T"] <= message["E"]
        assert message["b"] == sorted(message["b"], key=lambda level: Decimal(level[0]))
        holes += message["U"] - 1 > message["pu"]
        assert book.apply(message)
        previous = message
    assert previous is not None
    assert holes > 0.9 * book.applied
    assert (book.bids, book.asks) == futures.referee.book(book.last_id)


def test_spot_depth_has_dense_ids_and_eight_decimals(spot: Run) -> None:
    book, previous = DictBook(spot.first), None
    for message in spot.frames["depth@100ms"]:
        assert "pu" not in message
        assert "T" not in message
        if previous is not None:
            assert message["U"] == previous["u"] + 1
        assert all(len(text.partition(".")[2]) == 8 for level in message["b"] + message["a"] for text in level)
        assert book.apply(message)
        previous = message
    assert (book.bids, book.asks) == spot.referee.book(book.last_id)
    assert not set(spot.frames) & {"markPrice@1s", "forceOrder"}


def test_book_ticker_is_the_top_of_the_book(futures: Run) -> None:
    book, tickers = DictBook(futures.first), iter(futures.frames["bookTicker"])
    ticker = following = next(tickers)
    compared = 0
    for message in futures.frames["depth@100ms"]:
        book.apply(message)
        while following is not None and following["u"] <= book.last_id:
            ticker, following = following, next(tickers, None)
        (bid,), (ask,) = book.top(1)
        assert bid == (Decimal(ticker["b"]), Decimal(ticker["B"]))
        assert ask == (Decimal(ticker["a"]), Decimal(ticker["A"]))
        compared += 1
    assert compared > 1000


@pytest.mark.parametrize("venue", ["futures", "spot"])
def test_closed_klines_equal_the_trades(venue: str, request: pytest.FixtureRequest) -> None:
    run: Run = request.getfixturevalue(venue)
    prints = [t for t in run.frames["trade"] if t.get("X", "MARKET") == "MARKET"]
    closed = [message["k"] for message in run.frames["kline_1m"] if message["k"]["x"]]
    assert len(closed) == 3  # 23:59, 00:00, 00:01
    for bar in closed:
        inside = [t for t in prints if bar["t"] <= t["T"] <= bar["T"]]
        prices = [Decimal(t["p"]) for t in inside]
        assert bar["n"] == len(inside) > 10
        assert [Decimal(bar[key]) for key in "ohlc"] == [prices[0], max(prices), min(prices), prices[-1]]
        assert (bar["f"], bar["L"]) == (inside[0]["t"], inside[-1]["t"])
        bought = [t for t in inside if not t["m"]]
        assert Decimal(bar["v"]) == sum(Decimal(t["q"]) for t in inside)
        assert Decimal(bar["V"]) == sum(Decimal(t["q"]) for t in bought)
        assert Decimal(bar["q"]) == sum(Decimal(t["q"]) * Decimal(t["p"]) for t in inside)
        assert Decimal(bar["Q"]) == sum(Decimal(t["q"]) * Decimal(t["p"]) for t in bought)


def test_aggregate_trades_cover_every_print_once(futures: Run) -> None:
    prints = {t["t"]: t for t in futures.frames["trade"] if t["X"] == "MARKET"}
    covered = []
    for aggregate in futures.frames["aggTrade"]:
        members = [prints[i] for i in range(aggregate["f"], aggregate["l"] + 1)]
        assert {(m["p"], m["m"], m["T"]) for m in members} == {(aggregate["p"], aggregate["m"], aggregate["T"])}
        assert sum(Decimal(m["q"]) for m in members) == Decimal(aggregate["q"])
        covered += [m["t"] for m in members]
    assert covered == sorted(prints)
    ids = [aggregate["a"] for aggregate in futures.frames["aggTrade"]]
    assert ids == list(range(ids[0], ids[0] + len(ids)))


def test_referee_knows_the_prints(futures: Run) -> None:
    sent = [
        (t["t"], t["T"], Decimal(t["p"]), Decimal(t["q"]), "sell" if t["m"] else "buy")
        for t in futures.frames["trade"]
        if t["X"] == "MARKET"
    ]
    truth = [(p.trade_id, p.ts_ms, p.px, p.qty, p.side) for p in futures.referee.prints()]
    assert sent == truth
    assert {side for *_, side in sent} == {"buy", "sell"}


def test_rows_that_are_no_prints_keep_the_ids_continuous() -> None:
    busy_us = START_US + 14 * 3_600_000_000
    feed = SymbolFeed(Market(spec_of("btcusdt"), 5, busy_us), busy_us, spot=False)
    frames, _ = feed.advance(busy_us + 1_200_000_000, {"trade", "forceOrder"})
    trades = [json.loads(frame.payload) for frame in frames if frame.stream == "trade"]
    ids = [trade["t"] for trade in trades]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    odd = [trade for trade in trades if trade["X"] == "NA"]
    assert odd
    assert all((trade["p"], trade["q"]) == ("0", "0") for trade in odd)
    forced = [json.loads(frame.payload) for frame in frames if frame.stream == "forceOrder"]
    assert forced
    for message in forced:
        order = message["o"]
        assert order["s"] == "BTCUSDT"
        inside = Decimal(order["ap"]) - Decimal(order["p"])
        assert inside <= 0 if order["S"] == "BUY" else inside >= 0
        hits = [t for t in trades if t["T"] == order["T"] and t["m"] == (order["S"] == "SELL")]
        assert sum(Decimal(t["q"]) for t in hits) >= Decimal(order["z"])


def test_mark_price_each_second_with_the_next_funding_time(futures: Run) -> None:
    marks = futures.frames["markPrice@1s"]
    assert [b["E"] - a["E"] for a, b in pairwise(marks)] == [1000] * (len(marks) - 1)
    midnight_ms = 1_767_571_200_000
    for mark in marks:
        assert mark["T"] == midnight_ms + (0 if mark["E"] < midnight_ms else 8 * 3_600_000)
        assert abs(Decimal(mark["p"]) / Decimal("95000") - 1) < Decimal("0.01")


def test_futures_messages_carry_st(futures: Run) -> None:
    for stream in FUTURES_ROUTES:
        if futures.frames[stream]:
            assert futures.frames[stream][0]["st"] == 1, stream
    assert futures.frames["depth@100ms"][0]["ps"] == "BTCUSDT"
