"""A collector whose disk takes nothing, whose memory is used up, or that cannot keep up: said, bounded, mended."""

import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midas_ray.capture import journal_file
from midas_ray.errors import StorageError
from tests.capture.running import Collecting, collecting, frame_numbers, journals, raw_lines, until
from tests.capture.scripted import ScriptedExchange


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midas_ray.capture.link.full_jitter_s", lambda _attempt: 0.01)
    monkeypatch.setattr("midas_ray.capture.snapshots.full_jitter_s", lambda _attempt: 0.01)
    monkeypatch.setattr("midas_ray.capture.group.FLUSH_S", 0.05)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Switches a disk that is full on and off."""
    state = {"full": False}
    write = os.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if state["full"]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data, offset)

    monkeypatch.setattr(journal_file.os, "pwrite", pwrite)
    return lambda value: state.update(full=value)


async def _live(exchange: ScriptedExchange, collector: Collecting) -> None:
    await until(lambda: exchange.listeners == 1, "the connection")
    await exchange.depth({"100.0": "1.5"}, {})
    await until(lambda: collector.fetched > 0, "a snapshot")
    await exchange.depth({}, {"100.1": "2.5"})
    await until(lambda: collector.state == "live", "a live book")


def _lines(root: Path) -> list[dict[str, Any]]:
    return [line for path in journals(root) for line in raw_lines(path)]


async def test_a_full_disk_is_degraded_loses_nothing_and_mends_itself(
    tmp_path: Path, full: Callable[[bool], None]
) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path) as collector:
        await _live(exchange, collector)
        full(True)
        for size in range(1, 100):
            await exchange.depth({"99.9": str(size)}, {})
        await until(lambda: collector.state == "degraded", "the state")
        await until(lambda: collector.recorder.book.last_id == exchange.last_id, "the book goes on")
        health = collector.health()
        assert health.best_bid is not None
        assert health.held_bytes > 99 * 200
        assert "no space left on device" in (collector.group.health("btcusdt").error or "").lower()
        full(False)
        await until(lambda: collector.state == "live", "it mends itself")
        await exchange.depth({"99.8": "7"}, {})
        await until(lambda: collector.recorder.book.last_id == exchange.last_id, "the last update")
        assert collector.health().held_bytes == 0
        assert collector.health().gaps == 0
    lines = _lines(tmp_path)
    numbers = frame_numbers(lines)
    assert numbers == list(range(1, len(numbers) + 1))
    events = [line["event"] for line in lines if line["kind"] == "event"]
    assert events.index("degraded") < events.index("recovered")
    assert "gap" not in events


async def test_memory_is_bounded_and_what_is_dropped_is_a_gap_of_the_disk(
    tmp_path: Path, full: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path, memory_limit_mb=16) as collector:
        await _live(exchange, collector)
        full(True)
        await exchange.depth({"99.9": "1"}, {})
        await until(lambda: collector.state == "degraded", "the state")
        limit = collector.health().held_bytes + 20_000
        settings = collector.group._settings.model_copy(update={"memory_limit_mb": limit / 2**20})
        monkeypatch.setattr(collector.group, "_settings", settings)
        for size in range(2, 400):
            await exchange.depth({"99.9": str(size)}, {})
            await exchange.trade()
        await until(lambda: collector.health().dropped > 100, "frames dropped")
        assert collector.health().held_bytes < limit + 10_000
        full(False)
        await until(lambda: collector.state != "degraded", "the disk is well")
        for size in range(2, 40):
            await exchange.depth({"99.9": f"{size}.5"}, {})
            await asyncio.sleep(0.02)
        await until(lambda: collector.state == "live", "a live book again")
        await until(lambda: collector.recorder.book.last_id == exchange.last_id, "the last update")
    lines = _lines(tmp_path)
    missed = {line["stream"]: line["cause"] for line in lines if line.get("event") == "missed"}
    assert missed == {"depth": "disk", "trade": "disk"}
    assert [line["cause"] for line in lines if line.get("event") == "resync"] == ["disk"]
    (recovered,) = [line for line in lines if line.get("event") == "recovered"]
    assert recovered["dropped"] > 100
    held = frame_numbers(lines)
    assert held == sorted(held)


async def test_a_disk_that_stays_full_ends_with_its_reason(tmp_path: Path, full: Callable[[bool], None]) -> None:
    async with ScriptedExchange() as exchange:

        async def run() -> None:
            async with collecting(exchange.url, tmp_path) as collector:
                await _live(exchange, collector)
                await until(lambda: collector.capture.bytes_on_disk > 0, "a flush")
                full(True)
                await exchange.depth({"99.9": "1"}, {})
                await until(lambda: collector.state == "degraded", "the state")

        with pytest.raises(StorageError, match=r"(?i)no space left on device.*lines could not be written and are lost"):
            await run()
        await until(lambda: exchange.listeners == 0, "the end of the connections")
    (left,) = tmp_path.rglob("*.open")
    assert left.stat().st_size > 0


async def test_a_collector_that_cannot_keep_up_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sockets are paused, the exchange gives up on them: a gap, and it is the collector's."""
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path) as collector:
        await _live(exchange, collector)
        inbox = collector.group.inbox
        inbox._pause_bytes, inbox._resume_bytes = 4000, 1000
        gate = asyncio.Event()
        handle = collector.group._handle

        async def slow(item: Any) -> None:
            await gate.wait()
            await handle(item)

        monkeypatch.setattr(collector.group, "_handle", slow)
        for size in range(1, 50):
            await exchange.depth({"99.9": str(size)}, {})
        await until(lambda: inbox.paused, "the pause")
        await exchange.drop()
        await exchange.depth({"99.9": "50"}, {}, lose=True)
        gate.set()
        await until(lambda: exchange.listeners == 1, "a new connection")
        await exchange.depth({"99.9": "51"}, {})
        await until(lambda: collector.fetched == 2, "a second snapshot")
        await exchange.depth({"99.9": "52"}, {})
        await until(lambda: collector.state == "live", "a live book again")
        assert inbox.pauses >= 1
    causes = [line["cause"] for line in _lines(tmp_path) if line.get("event") == "resync"]
    assert causes == ["overrun"]


async def test_sealed_files_are_looked_at_once(tmp_path: Path) -> None:
    """A collector that runs for months has thousands of them."""
    async with ScriptedExchange() as exchange, collecting(exchange.url, tmp_path) as collector:
        await _live(exchange, collector)
        sealed = tmp_path / "sealed"
        sealed.write_bytes(b"x" * 1000)
        collector.recorder.sealed.append(sealed)
        collector.capture.measure_disk()
        before = collector.capture.bytes_on_disk - collector.recorder.bytes_on_disk
        sealed.unlink()
        collector.capture.measure_disk()
        assert before == collector.capture.bytes_on_disk - collector.recorder.bytes_on_disk == 1000
        collector.recorder.sealed.remove(sealed)
