"""The collector against exchanges that are told what to do, and against the simulated one."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path

import pytest

from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.venues import get_venue
from tests.capture.running import collecting, frame_numbers, journals, raw_lines, replayed, until, whole_book
from tests.capture.scripted import ScriptedExchange


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions at once: how long they wait is test_backoff's business."""
    monkeypatch.setattr("midas_ray.capture.link.full_jitter_s", lambda _attempt: 0.01)
    monkeypatch.setattr("midas_ray.capture.snapshots.full_jitter_s", lambda _attempt: 0.01)


async def _live(exchange: ScriptedExchange, collector: object) -> None:
    """Send updates until the book is live."""
    await until(lambda: exchange.listeners > 0, "a connection")
    await exchange.depth({"100.0": "1.5"}, {})
    await until(lambda: bool(exchange.requests and "depth" in exchange.requests[-1]), "a snapshot request")
    await until(lambda: collector.fetched > 0, "a snapshot")  # type: ignore[attr-defined]
    await exchange.depth({}, {"100.1": "2.5"})
    await until(lambda: collector.state == "live", "a live book")  # type: ignore[attr-defined]


@pytest.mark.parametrize("venue", ["binance-futures", "binance-spot"])
async def test_live_book_is_the_exchanges_and_the_journals(tmp_path: Path, venue: str) -> None:
    async with SimulatedExchange(["btcusdt"], seed=3, venue=venue) as exchange:
        async with collecting(exchange.url, tmp_path, venue=venue) as collector:
            await until(lambda: collector.recorder.counters.frames.get("depth", 0) >= 20, "20 depth messages")
            top = collector.top(10)
        live = collector.recorder.book
        bids, asks = exchange.referee["btcusdt"].book(top.last_update_id)
    assert top.state == "live"
    best_bids, best_asks = sorted(bids.items(), reverse=True)[:10], sorted(asks.items())[:10]
    assert [(Decimal(px), Decimal(size)) for px, size in top.bids] == best_bids
    assert [(Decimal(px), Decimal(size)) for px, size in top.asks] == best_asks
    (path,) = journals(tmp_path)
    again = replayed(path, get_venue(venue))
    assert (again.last_id, again.clock_ms, again.live) == (live.last_id, live.clock_ms, True)
    assert whole_book(again) == whole_book(live)


async def test_nothing_received_is_missing_from_the_sealed_file(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path) as collector:
        await _live(exchange, collector)
        for size in range(1, 400):
            await exchange.depth({"99.9": str(size)}, {})
        await until(lambda: collector.recorder.book.last_id == exchange.last_id, "the last update")
        frames = collector.health().frames
    (path,) = journals(tmp_path)
    lines = raw_lines(path)
    numbers = frame_numbers(lines)
    assert numbers == list(range(1, len(numbers) + 1))
    assert sum(line["kind"] == "ws" for line in lines) == frames >= 401
    assert [line["event"] for line in lines if line["kind"] == "event"][:2] == ["unsynced", "open"]
    assert (lines[-1]["event"], lines[-1]["reason"]) == ("shutdown", "the test is over")
    assert not list(tmp_path.rglob("*.open"))
    assert not list(tmp_path.rglob(".tmp-*"))
    recv = [line["recv_ns"] for line in lines if line["kind"] == "ws"]
    assert recv == sorted(recv)


async def test_what_cannot_be_decoded_is_kept_and_harms_nothing(tmp_path: Path) -> None:
    ack = '{"result":null,"id":7}'
    truncated = '{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpda'
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path) as collector:
        await _live(exchange, collector)
        for text in (ack, truncated, "two\nlines"):
            await exchange.say(text)
        await exchange.depth({"99.9": "7"}, {})
        await until(lambda: collector.recorder.book.last_id == exchange.last_id, "the update after it")
        health = collector.health()
        assert collector.state == "live"
    assert health.undecodable == 2
    assert health.gaps == 0
    lines = [line for line in raw_lines(journals(tmp_path)[0]) if line["kind"] == "ws"]
    assert [line.get("payload", line.get("text")) for line in lines[-4:-1]] == [
        json.loads(ack),
        truncated,
        "two\nlines",
    ]


async def test_a_lost_message_is_a_gap_and_one_snapshot_mends_it(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path) as collector:
        await _live(exchange, collector)
        expected = exchange.last_id
        await exchange.depth({"99.9": "8"}, {}, lose=True)
        await exchange.depth({"99.8": "9"}, {})
        await until(lambda: collector.fetched == 2, "a second snapshot")
        await exchange.depth({"100.0": "4"}, {})
        await until(lambda: collector.recorder.book.last_id == exchange.last_id, "the last update")
        assert collector.state == "live"
        top, health = collector.top(3), collector.health()
    assert top.bids == [("100.0", "4.0"), ("99.9", "8.0"), ("99.8", "9.0")]
    assert (health.gaps, health.resyncs, health.reconnects) == (1, 1, 0)
    assert sum("depth" in path for path in exchange.requests) == 2
    events = {line["event"]: line for line in raw_lines(journals(tmp_path)[0]) if line["kind"] == "event"}
    assert events["gap"]["expected_id"] == expected
    assert (events["resync"]["cause"], events["resync"]["expected_id"]) == ("venue", expected)


async def test_a_broken_connection_is_opened_again_and_told(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path) as collector:
        await _live(exchange, collector)
        await exchange.drop()
        await until(lambda: collector.state == "connecting", "the end of the connection")
        assert collector.top(1).bids == []
        await exchange.depth({"99.9": "5"}, {})
        await until(lambda: exchange.listeners == 1, "a new connection")
        await exchange.depth({"99.9": "6"}, {})
        await until(lambda: collector.fetched == 2, "a second snapshot")
        await exchange.depth({"99.9": "7"}, {})
        await until(lambda: collector.state == "live", "a live book again")
        health = collector.health()
    assert (health.gaps, health.reconnects) == (1, 1)
    events = [line for line in raw_lines(journals(tmp_path)[0]) if line["kind"] == "event"]
    told = [(line["event"], line.get("streams")) for line in events if "depth" in (line.get("streams") or [])]
    names = [event for event, _ in told if event != "unsynced"]
    assert names == ["connect", "disconnect", "connect", "disconnect"]
    assert [line["cause"] for line in events if line["event"] == "resync"] == ["network"]
    connections = [line["conn"] for line in events if line["event"] == "connect"]
    assert sorted(set(connections)) == ["a-1", "a-2", "a-3"]


async def test_too_old_snapshots_are_asked_again_one_at_a_time(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange:
        await exchange.depth({"99.9": "5"}, {}, lose=True)
        exchange.stale = 2
        async with collecting(exchange.url, tmp_path) as collector:
            await until(lambda: exchange.listeners > 0, "a connection")
            for size in range(1, 2000):
                await exchange.depth({"99.9": str(size)}, {})
                if collector.state == "live":
                    break
                await asyncio.sleep(0.005)
            assert collector.state == "live"
    assert sum("depth" in path for path in exchange.requests) == 3


async def test_refused_snapshots_are_kept_and_waited_for(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange:
        exchange.refusals = [
            (429, {"code": -1003, "msg": "Too many requests"}, {"Retry-After": "1"}),
            (200, "<html>maintenance</html>", {}),
        ]
        async with collecting(exchange.url, tmp_path) as collector:
            await until(lambda: exchange.listeners > 0, "a connection")
            await exchange.depth({"99.9": "5"}, {})
            await until(lambda: collector.fetched == 3, "the third answer")
            await exchange.depth({"99.9": "6"}, {})
            await until(lambda: collector.state == "live", "a live book")
    answers = [
        line for line in raw_lines(journals(tmp_path)[0]) if line["kind"] == "rest" and "/depth?" in line["path"]
    ]
    assert [line["status"] for line in answers] == [429, 200, 200]
    assert answers[1]["text"] == "<html>maintenance</html>"
    assert answers[1]["sent_ns"] - answers[0]["recv_ns"] >= 0.9e9  # Retry-After was obeyed


async def test_rotation_by_size_keeps_every_frame_and_each_file_stands_alone(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path, journal_max_mb=1) as collector:
        collector.recorder._journal._max_bytes = 2000
        await _live(exchange, collector)
        for size in range(1, 300):
            await exchange.depth({f"{50 + size / 10:.1f}": str(size)}, {})
            if size % 50 == 0:
                await until(lambda: collector.recorder.book.last_id == exchange.last_id, "the update")
                collector.capture.flush()
        await until(lambda: collector.recorder.book.last_id == exchange.last_id, "the last update")
        collector.recorder.flush()
    paths = journals(tmp_path)
    assert len(paths) >= 2
    files = [raw_lines(path) for path in paths]
    numbers = [n for lines in files for n in frame_numbers(lines)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert all(lines[0]["kind"] == "book" for lines in files[1:])
    assert collector.health().n_files == len(paths)


async def test_levels_beyond_the_known_depth_are_not_shown(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange:
        exchange.bids |= {f"{98 + level / 10:.1f}": "1" for level in range(4)}  # 7 bids: the snapshot cuts off 2
        async with collecting(exchange.url, tmp_path, snapshot_limit=5) as collector:
            await _live(exchange, collector)
            await exchange.depth({"97.0": "9"}, {})
            await until(lambda: collector.recorder.book.last_id == exchange.last_id, "the update")
            top = collector.top(10)
    assert [px for px, _ in top.bids] == ["100.0", "99.9", "99.8", "98.3", "98.2"]
