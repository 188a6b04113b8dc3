"""A watch per stream and connection: what is silent where it should speak, and what is merely quiet."""

import itertools
from collections.abc import Iterable

import pytest

from midas_ray.capture.watch import FIRST_S, LEAST_S, MOST_PATIENCE_S, MOST_S, Breach, Watch
from midas_ray.venues.base import Stream, StreamKind

DEPTH = Stream("x@depth@100ms", "public", "depth", "x")
TRADE = Stream("x@trade", "public", "trade", "x")
KLINE = Stream("x@kline_1m", "market", "kline", "x")
FORCED = Stream("!forceOrder@arr", "market", "forceOrder", "")


class Clock:
    """A watch whose seconds a test tells; data come as `speaking` says, (connection, stream) -> period."""

    def __init__(self, conns: Iterable[str], streams: Iterable[Stream]) -> None:
        self.watch = Watch()
        self.now_s = 1000.0
        self.breaches: list[Breach] = []
        for conn in conns:
            for stream in streams:
                self.watch.subscribed(conn, stream, self.now_s)

    def run(self, seconds: float, speaking: dict[tuple[str, Stream], float], *, act: bool = False) -> list[Breach]:
        """Breaches found, with a check each second; `act` renews the connection."""
        found, ticks = [], round(seconds * 10)
        for tick in range(1, ticks + 1):
            self.now_s = round(self.now_s + 0.1, 1)
            for (conn, stream), period_s in speaking.items():
                if tick % round(period_s * 10) == 0:
                    self.watch.seen(conn, stream.name.encode(), self.now_s)
            if tick % 10 == 0:
                for breach in self.watch.check(self.now_s, 1.0):
                    found.append(breach)
                    if act:
                        self.watch.acted(breach)
                        streams = [pulse.stream for pulse in self.watch.pulses[breach.conn].values()]
                        self.watch.closed(breach.conn)
                        for stream in streams:
                            self.watch.subscribed(breach.conn, stream, self.now_s)
        return found


def test_an_ack_without_data_is_found_within_ten_seconds() -> None:
    clock = Clock(["a"], [DEPTH, TRADE])
    assert clock.run(FIRST_S, {("a", TRADE): 0.5}) == []
    (breach, *_) = clock.run(2.0, {("a", TRADE): 0.5})
    assert (breach.conn, breach.stream) == ("a", DEPTH)
    assert "no data within 10 s of subscribing" in breach.reason


def test_one_live_stream_masks_no_dead_one() -> None:
    clock = Clock(["a"], [DEPTH, TRADE])
    assert clock.run(60, {("a", DEPTH): 0.1, ("a", TRADE): 0.5}) == []
    found = clock.run(LEAST_S["depth"] + 1.5, {("a", TRADE): 0.5})
    assert found[0].stream == DEPTH
    assert "expected data within 5.0 s, as learnt" in found[0].reason


def test_a_slow_stream_is_learnt_not_hunted() -> None:
    clock = Clock(["a", "b"], [DEPTH])
    speaking = {("a", DEPTH): 8.0, ("b", DEPTH): 8.0}
    assert clock.run(300, speaking) == []
    assert clock.run(30, {}) == []  # six times its usual pause is not over yet
    assert clock.run(60, {}) != []
    patient = Clock(["a"], [DEPTH])
    patient.run(3000, {("a", DEPTH): 25.0})
    assert patient.run(MOST_S - 5, {}) == []
    assert patient.run(10, {}) != []


@pytest.mark.parametrize("stream", [TRADE, FORCED, KLINE])
def test_a_quiet_market_is_no_breach_and_the_other_connection_is_evidence(stream: Stream) -> None:
    clock = Clock(["a", "b"], [stream])
    assert clock.run(3600, {}) == []
    assert clock.run(120, {("a", stream): 40.0, ("b", stream): 40.0}) == []
    found = clock.run(120, {("a", stream): 40.0})
    assert {breach.conn for breach in found} == {"b"}
    assert "while another connection showed activity" in found[0].reason


def test_trades_are_evidence_for_klines_and_the_exchanges_word_for_trades() -> None:
    clock = Clock(["a"], [TRADE, KLINE])
    (breach, *_) = clock.run(20, {("a", TRADE): 1.0})
    assert breach.stream == KLINE
    alone = Clock(["a"], [TRADE])
    assert alone.run(100, {}) == []
    alone.watch.traded("x", alone.now_s)
    (breach, *_) = alone.run(20, {})
    assert breach.stream == TRADE
    assert "the exchange's trades" in breach.reason


def test_patience_doubles_and_is_forgotten_once_it_speaks() -> None:
    clock = Clock(["a"], [DEPTH])
    found = clock.run(4 * MOST_PATIENCE_S, {}, act=True)
    silences = [round(breach.silent_s) for breach in found]
    assert silences[:4] == [11, 21, 41, 81]
    assert all(later >= earlier for earlier, later in itertools.pairwise(silences))
    assert max(silences) <= MOST_PATIENCE_S + 1
    assert clock.watch.breaches(DEPTH) == len(found)
    clock.run(30, {("a", DEPTH): 0.1})
    assert clock.watch.breaches(DEPTH) == 0
    assert clock.run(LEAST_S["depth"] + 1.5, {}) != []


def test_a_successor_flows_once_its_steady_streams_do() -> None:
    clock = Clock(["a"], [DEPTH, TRADE])
    clock.run(5, {("a", DEPTH): 0.1, ("a", TRADE): 1.0})
    for stream in (DEPTH, TRADE):
        clock.watch.subscribed("a-2", stream, clock.now_s)
    assert not clock.watch.flows("a-2")
    clock.watch.seen("a-2", DEPTH.name.encode(), clock.now_s)
    assert clock.watch.flows("a-2")  # trades come when there are some
    assert not clock.watch.flows("nobody")


@pytest.mark.parametrize("kind", ["depth", "markPrice", "bookTicker"])
def test_steady_kinds_are_watched_from_the_start(kind: StreamKind) -> None:
    stream = Stream(f"x@{kind}", "public", kind, "x")
    clock = Clock(["a"], [stream])
    assert clock.run(FIRST_S + 2, {}) != []
