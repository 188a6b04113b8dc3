"""Two connections of one collector: what one of them misses or suffers, the journal and the book do not notice."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from midas_ray.capture.arrivals import Stop
from midas_ray.capture.group import Group
from midas_ray.capture.rest import RestClient
from midas_ray.errors import GeoBlockedError, UsageError
from midas_ray.log import stage_logger
from midas_ray.settings import Collect
from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.venues import get_venue
from tests.capture.running import Collecting, collecting, journals, raw_lines, replayed, until
from tests.capture.scripted import ScriptedExchange


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midas_ray.capture.link.full_jitter_s", lambda _attempt: 0.01)
    monkeypatch.setattr("midas_ray.capture.snapshots.full_jitter_s", lambda _attempt: 0.01)


async def _live(exchange: ScriptedExchange, collector: Collecting, connections: int = 2) -> None:
    await until(lambda: exchange.listeners == connections, "the connections")
    await exchange.depth({"100.0": "1.5"}, {})
    await until(lambda: collector.fetched > 0, "a snapshot")
    await exchange.depth({}, {"100.1": "2.5"})
    await until(lambda: collector.state == "live", "a live book")


async def _caught_up(exchange: ScriptedExchange, collector: Collecting) -> None:
    await until(lambda: collector.recorder.book.last_id == exchange.last_id, "the last update")


def _events(root: Path, *names: str) -> list[dict[str, Any]]:
    lines = [line for path in journals(root) for line in raw_lines(path)]
    return [line for line in lines if line["kind"] == "event" and line["event"] in names]


def _depth_ids(root: Path) -> list[int]:
    lines = [line for path in journals(root) for line in raw_lines(path)]
    return [line["payload"]["data"]["u"] for line in lines if "@depth" in line.get("payload", {}).get("stream", "")]


async def test_what_either_connection_misses_is_no_gap_and_stored_once(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path, connections=2) as collector:
        await _live(exchange, collector)
        for size in range(1, 40):
            await exchange.depth({"99.9": str(size)}, {}, only=None if size % 3 == 0 else size % 2)
        await _caught_up(exchange, collector)
        health = collector.health()
    assert (health.gaps, health.resyncs, health.snapshots) == (0, 0, 1)
    assert set(health.wins) == {"a", "b"}
    assert health.duplicates >= 13
    ids = _depth_ids(tmp_path)
    assert ids == list(range(1005, exchange.last_id + 1, 5))  # in the book's order, each once
    assert _events(tmp_path, "missed", "gap") == []


async def test_only_what_both_miss_is_a_gap_and_it_is_the_venues(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path, connections=2) as collector:
        await _live(exchange, collector)
        await exchange.depth({"99.9": "5"}, {}, lose=True)
        await exchange.depth({"99.9": "6"}, {})
        await until(lambda: collector.fetched == 2, "a second snapshot")
        await exchange.depth({"99.9": "7"}, {})
        await _caught_up(exchange, collector)
        assert collector.health().gaps == 1
    (missed,) = _events(tmp_path, "missed")
    assert (missed["stream"], missed["cause"]) == ("depth", "venue")
    (resync,) = _events(tmp_path, "resync")
    assert resync["cause"] == "venue"


async def test_a_connection_that_breaks_leaves_the_book_live(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path, connections=2) as collector:
        await _live(exchange, collector)
        for size in range(10, 13):
            await exchange.drop(only=0)
            await exchange.depth({"99.9": str(size)}, {})
            await _caught_up(exchange, collector)
            assert collector.state == "live"
            await until(lambda: exchange.listeners == 2, "both connections again")
            await exchange.depth({"99.8": str(size)}, {})
            await _caught_up(exchange, collector)
        health = collector.health()
    assert (health.gaps, health.snapshots, health.connected) == (0, 1, 2)
    assert health.reconnects == 3
    lost = _events(tmp_path, "disconnect")
    assert [line["streams"] for line in lost if "depth" in line["carried"]][:3] == [[], [], []]


async def test_both_gone_is_the_networks_gap(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path, connections=2) as collector:
        await _live(exchange, collector)
        await exchange.drop()
        await exchange.depth({"99.9": "5"}, {}, lose=True)
        await until(lambda: exchange.listeners == 2, "both again")
        await exchange.depth({"99.9": "6"}, {})
        await until(lambda: collector.fetched >= 2, "a second snapshot")
        await exchange.depth({"99.9": "7"}, {})
        await _caught_up(exchange, collector)
    assert [line["cause"] for line in _events(tmp_path, "resync")] == ["network"]
    assert {line["cause"] for line in _events(tmp_path, "missed")} == {"network"}


@pytest.mark.parametrize("connections", [1, 2])
async def test_a_server_that_shuts_down_is_left_before_it_does(tmp_path: Path, connections: int) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path, connections=connections) as collector:
        await _live(exchange, collector, connections)
        opened = exchange.connections
        await exchange.say('{"e":"serverShutdown","E":1795374463713}', only=0)
        await until(lambda: exchange.connections == opened + 1, "the successor")
        assert collector.state == "live"
        await exchange.depth({"99.9": "6"}, {})
        await until(lambda: exchange.listeners == connections, "the end of the old connection")
        await exchange.depth({"99.9": "7"}, {})
        await _caught_up(exchange, collector)
        health = collector.health()
    assert (health.gaps, health.snapshots, health.reconnects) == (0, 1, 0)
    assert len([line for line in raw_lines(journals(tmp_path)[0]) if "serverShutdown" in str(line.get("payload"))]) == 1


async def test_connections_are_renewed_by_age_without_a_gap_even_alone(tmp_path: Path) -> None:
    async with SimulatedExchange(["btcusdt"], seed=5) as exchange:
        settings = {"connections": 1, "connection_max_age": "1s", "enable_klines": False, "enable_mark_price": False}
        async with collecting(exchange.url, tmp_path, **settings) as collector:
            await until(lambda: len(collector.group.links.all[0].streams) > 0, "a link")
            await until(lambda: collector.group.links.all[0].renewals >= 3, "three renewals", 30)
            health = collector.health()
    assert health.state == "live"
    assert (health.gaps, health.reconnects) == (0, 0)
    assert health.duplicates > 0  # old and new connection overlap
    assert all("old: renewed" in line["reason"] for line in _events(tmp_path, "disconnect")[:3])


async def test_ids_that_go_back_begin_the_book_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midas_ray.capture.symbol.STUCK_S", 0.2)
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path, connections=2) as collector:
        await _live(exchange, collector)
        exchange.last_id = 10
        for size in range(1, 200):
            await exchange.depth({"99.9": str(size)}, {})
            await asyncio.sleep(0.01)
            if collector.health().gaps:
                break
        await _caught_up(exchange, collector)
        assert collector.state == "live"
        top = collector.top(1)
    assert top.last_update_id == exchange.last_id < 1000
    (abandoned,) = _events(tmp_path, "abandoned")
    assert "depth messages with ids below" in abandoned["reason"]
    assert [line["cause"] for line in _events(tmp_path, "resync")] == ["venue"]
    again = replayed(journals(tmp_path)[0], get_venue("binance-futures"))
    assert (again.last_id, again.live) == (exchange.last_id, True)


async def test_a_geo_block_is_final_and_clear(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange:
        exchange.handshakes = [(451, {})] * 4
        settings = Collect(exchange_url=exchange.url, data_dir=str(tmp_path))
        async with RestClient(get_venue(settings.venue), exchange.url) as rest:
            group = Group(settings, tmp_path, rest, stage_logger(tmp_path, "collector"))
            await group.add("btcusdt")
            with pytest.raises(GeoBlockedError, match="not served in this country"):
                async with asyncio.timeout(20):
                    await group.run()
    (path,) = journals(tmp_path)
    assert raw_lines(path)[-1]["event"] == "shutdown"


async def test_a_ban_is_waited_for(tmp_path: Path) -> None:
    async with ScriptedExchange() as exchange:
        exchange.handshakes = [(418, {"Retry-After": "1"})]
        async with collecting(exchange.url, tmp_path, connections=1, enable_klines=False) as collector:
            state = await collector.group.links.all[0]._wiring.limits.state()
            await until(lambda: exchange.listeners == 1, "the connection after the ban")
            await _live(exchange, collector, 1)
            assert state.weight_limit > 0
    first, second = (line["recv_ns"] for line in raw_lines(journals(tmp_path)[0])[1:3])
    assert second >= first
    assert exchange.connections >= 3


async def test_a_firewall_hiccup_does_not_cost_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midas_ray.capture.refusal.FIREWALL_S", 0.05)
    async with ScriptedExchange() as exchange:
        exchange.handshakes = [(403, {})] * 4
        async with collecting(exchange.url, tmp_path, connections=1, enable_klines=False) as collector:
            await _live(exchange, collector, 1)
            assert exchange.connections >= 4


async def test_one_symbols_gap_never_touches_anothers_book(tmp_path: Path) -> None:
    async with SimulatedExchange(["btcusdt", "ethusdt"], seed=5) as exchange:  # noqa: SIM117 - the second needs it
        async with collecting(exchange.url, tmp_path, others=["ethusdt"]) as collector:
            ethusdt = collector.group.capture_of("ethusdt")
            await until(lambda: collector.state == "live" and ethusdt.state == "live", "both books")
            before = ethusdt.recorder.book.last_id
            collector.capture._merge.last_id = 1  # what comes next seems to continue nothing
            collector.recorder.book.state[0] = 1
            await until(lambda: collector.health().gaps == 1, "a gap and its end")
            await until(lambda: ethusdt.recorder.book.last_id > before, "the other book goes on")
    assert ethusdt.recorder.counters.gaps == 0
    assert ethusdt.snapshots.fetched == 1
    assert collector.fetched == 2


async def test_symbols_come_and_go_while_it_runs(tmp_path: Path) -> None:
    async with SimulatedExchange(["btcusdt", "ethusdt", "xrpusdt"], seed=5) as exchange:  # noqa: SIM117
        async with collecting(exchange.url, tmp_path, connections=2, others=["ethusdt"]) as collector:
            group = collector.group
            await until(lambda: all(health.state == "live" for health in group.healths()), "both books")
            opened = [link.connects for link in group.links.all]
            await group.add("xrpusdt")
            await until(lambda: group.health("xrpusdt").state == "live", "the new book")
            await group.remove("ethusdt", "not wanted")
            with pytest.raises(UsageError, match="ethusdt: expected a symbol of this collector, found btcusdt"):
                group.health("ethusdt")
            seen = collector.health().frames
            await until(lambda: collector.health().frames > seen + 5, "frames after it")
            assert [link.connects for link in group.links.all] == opened  # nothing was restarted
            assert collector.health().gaps == 0
            assert await group.add("ethusdt") == []
            await until(lambda: group.health("ethusdt").state == "live", "it comes back")
    first, again = (raw_lines(path) for path in journals(tmp_path, "ethusdt"))
    assert (first[-1]["event"], first[-1]["reason"]) == ("shutdown", "not wanted")
    assert again[-1]["reason"] == "the test is over"
    symbols = {line["payload"]["data"].get("s") for line in first if "@depth" in str(line.get("payload"))}
    assert symbols == {"ETHUSDT"}


async def test_a_symbol_may_be_removed_from_a_group_that_ends_or_has_ended(tmp_path: Path) -> None:
    """Nobody is left to take it off; its file is sealed with all others."""
    async with ScriptedExchange() as exchange, asyncio.timeout(60):
        async with collecting(exchange.url, tmp_path) as collector:
            await _live(exchange, collector, 1)
            collector.group.inbox.put(Stop("the end"))
            await collector.group.remove("btcusdt", "not wanted")  # behind the end in the queue
        await collector.group.remove("btcusdt", "not wanted")
    (path,) = journals(tmp_path)
    assert raw_lines(path)[-1]["reason"] == "the end"
    assert not list(tmp_path.rglob("*.open"))


async def test_a_delisted_symbol_ends_cleanly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = "midas_ray.capture.polls.ContractWatch.__init__"
    original = __import__("midas_ray.capture.polls", fromlist=["ContractWatch"]).ContractWatch.__init__
    monkeypatch.setattr(watch, lambda *args: original(*args, period_s=0.1, confirm_s=0.1))
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path) as collector:
        await _live(exchange, collector, 1)
        exchange.tick = "0.01"
        await asyncio.sleep(0.3)
        exchange.status = "SETTLING"
        await until(lambda: not collector.group.symbols, "the end")
        health = collector.group.health("btcusdt")
    assert health.state == "delisted"
    contracts = _events(tmp_path, "contract")
    assert [line["contract"]["tick_size"] for line in contracts] == ["0.1", "0.01", "0.01"]
    assert [line["contract"]["status"] for line in contracts] == ["TRADING", "TRADING", "SETTLING"]
    assert raw_lines(journals(tmp_path)[0])[-1]["reason"] == "delisted: SETTLING"


async def test_silent_trades_are_taken_from_aggregate_trades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midas_ray.capture.group.WATCH_S", 0.05)
    for module in ("watch", "probe"):
        monkeypatch.setattr(f"midas_ray.capture.{module}.FIRST_S", 0.2)
    few = {"enable_klines": False, "enable_mark_price": False, "enable_liquidations": False}
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path, **few) as collector:
        await _live(exchange, collector, 1)

        async def market() -> None:
            while True:
                await asyncio.sleep(0.02)
                await exchange.depth({"99.9": str(exchange.last_id)}, {})
                exchange.last_trade += 1  # traded, never told

        running = asyncio.create_task(market())
        await until(lambda: bool([s for s in collector.capture.streams if s.kind == "aggTrade"]), "the fallback", 30)
        running.cancel()
    (fallback,) = _events(tmp_path, "fallback")
    assert (fallback["stream"], fallback["to"]) == ("btcusdt@trade", "btcusdt@aggTrade")
    silent = _events(tmp_path, "silent")
    assert {line["stream"] for line in silent} == {"btcusdt@trade"}
    assert all("the exchange's trades showed activity" in line["reason"] for line in silent)
