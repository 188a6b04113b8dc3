"""Backoff, inbox, claims, meters: the collector's parts, each alone."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.capture.arrivals import ITEM_BYTES, Arrival, Inbox
from midas_ray.capture.backoff import full_jitter_s
from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.health import Health, LatencyMeter, RateMeter
from midas_ray.capture.journal import ws_line
from midas_ray.capture.journal_file import JournalFile
from midas_ray.errors import StorageError, UsageError

VENUE = "binance-futures"
START_NS = 1_795_374_463_713_419_147


@given(st.integers(0, 2000), st.floats(0.01, 10), st.floats(0.01, 100))
def test_backoff_stays_within_its_bound(attempt: int, first_s: float, most_s: float) -> None:
    bound = min(most_s, first_s * 2.0 ** min(attempt, 32))
    assert 0 <= full_jitter_s(attempt, first_s, most_s) <= bound


def test_backoff_grows_and_spreads() -> None:
    waits = [full_jitter_s(4, 1.0, 1000.0) for _ in range(400)]
    assert min(waits) < 4 < 12 < max(waits) <= 16


class _Socket(asyncio.ReadTransport):
    """Counts how often it was paused."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def _arrival(n: int) -> Arrival:
    return Arrival(n, n, "a-1", b"", b"")


async def test_a_full_inbox_pauses_its_sockets_and_drops_nothing() -> None:
    inbox, socket, late = Inbox(pause_bytes=10 * ITEM_BYTES, resume_bytes=2 * ITEM_BYTES), _Socket(), _Socket()
    inbox.attach(socket)
    for n in range(13):
        inbox.put(_arrival(n))
    inbox.attach(late)
    assert (inbox.paused, socket.reading, late.reading) == (True, False, False)
    taken = inbox.take(10)
    assert not socket.reading
    taken += inbox.take(1)
    assert (inbox.paused, socket.reading, late.reading) == (False, True, True)
    taken += inbox.take(100)
    assert [item.recv_ns for item in taken if isinstance(item, Arrival)] == list(range(13))


async def test_waiting_for_the_inbox_ends_with_an_item_or_the_time() -> None:
    inbox = Inbox()
    await inbox.wait(0.01)
    assert inbox.take(5) == []
    waiting = asyncio.create_task(inbox.wait(60))
    await asyncio.sleep(0)
    inbox.put(_arrival(1))
    await asyncio.wait_for(waiting, 5)
    assert inbox.take(5) == [_arrival(1)]


def test_a_symbol_has_one_collector(tmp_path: Path) -> None:
    with claim_symbol(tmp_path, VENUE, "btcusdt"):
        with claim_symbol(tmp_path, VENUE, "ethusdt"):
            pass
        with (
            pytest.raises(UsageError, match=rf"btcusdt: a collector already writes .*process {os.getpid()}\)"),
            claim_symbol(tmp_path, VENUE, "btcusdt"),
        ):
            pass
    with claim_symbol(tmp_path, VENUE, "btcusdt") as sealed:
        assert sealed == []


def test_an_unwritable_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="check --data-dir"), claim_symbol(tmp_path / "file", VENUE, "btcusdt"):
        pass


def _left_open(root: Path, pid: int, n_lines: int) -> Path:
    """A file as a dead process of this id would leave it."""
    file = JournalFile(root, VENUE, "btcusdt", START_NS + pid)
    for n in range(n_lines):
        file.write(ws_line(START_NS, None, "a-1", n + 1, b'{"x":1}'), START_NS)
    file.flush()
    path = file.path.with_name(f"{START_NS + pid + 1}-{pid}.jsonl.zst.open")
    path.write_bytes(file.path.read_bytes())
    file.discard()
    return path


def _dead_pid() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_only_what_nobody_writes_is_sealed(tmp_path: Path) -> None:
    dead = _left_open(tmp_path, _dead_pid(), 3)
    reused = _left_open(tmp_path, os.getpid(), 2)  # an id given out anew: this process has not got the file open
    empty = _left_open(tmp_path, _dead_pid() + 4_000_000, 0)
    growing = JournalFile(tmp_path, VENUE, "btcusdt", START_NS)
    with claim_symbol(tmp_path, VENUE, "btcusdt") as sealed:
        names = {path.name for path in sealed}
    assert names == {dead.name.removesuffix(".open"), reused.name.removesuffix(".open")}
    assert not dead.exists()
    assert not empty.exists()
    assert growing.path.exists()
    growing.close()


def test_latency_quantiles() -> None:
    meter = LatencyMeter()
    assert meter.quantiles_ms() is None
    for sample in range(1500):
        meter.add(float(sample))
    assert meter.quantiles_ms() == (1000.0, 1490.0)  # the last 1000 only: 500..1499


def test_rate_counts_the_last_ten_whole_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("midas_ray.capture.health.time.monotonic", lambda: 100.0)
    meter = RateMeter()
    for tenth in range(1000, 1205):
        meter.count(tenth / 10)
    assert meter.per_second(120.4) == 10.0
    assert meter.per_second(300.0) == 0.0


def test_health_derives_spread_and_growth() -> None:
    health = Health(
        symbol="x",
        state="live",
        pid=1,
        best_bid=("99.5", "1"),
        best_ask=("100.5", "1"),
        uptime_s=10,
        bytes_on_disk=1000,
    )
    assert health.spread_bps == 100.0
    assert health.bytes_per_hour == 360_000.0
    assert Health(symbol="x", state="down", pid=0).spread_bps is None
    assert Health(symbol="x", state="down", pid=0, uptime_s=1).bytes_per_hour is None
