"""A real capture served as a recorded venue and collected over two connections gives what importing it gives."""

import asyncio
import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

import midas_ray
from midas_ray.capture.group import Group
from midas_ray.capture.rest import RestClient
from midas_ray.importers.run import import_archives
from midas_ray.log import stage_logger
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings, Collect, Import
from midas_ray.simulate.recorded import RecordedExchange
from midas_ray.storage import Storage
from midas_ray.venues import get_venue

pytestmark = pytest.mark.real

VENUE, SYMBOL = "binance-futures", "btcusdt"
CAPTURE = "binance-futures-raw/btcusdt_20240808.gz"
FIRST_S = 60
ONLY_WHAT_IS_THERE = {
    "depth_speed_ms": 0,
    "enable_book_ticker": True,
    "enable_klines": False,
    "enable_liquidations": False,
    "enable_mark_price": False,
    "enable_open_interest": False,
}


@pytest.fixture
def first_minute(real_data: Path, tmp_path: Path) -> Path:
    """The first minute of the capture, as a file of its own in the test's folder."""
    path = tmp_path / "btcusdt_first_minute.gz"
    with gzip.open(real_data / CAPTURE) as lines, gzip.open(path, "wb") as kept:
        for line in _first_lines(lines):
            kept.write(line)
    return path


def _first_lines(lines: Iterator[bytes]) -> Iterator[bytes]:
    first_ns = None
    for line in lines:
        recv_ns = int(line.partition(b" ")[0])
        first_ns = recv_ns if first_ns is None else first_ns
        if recv_ns - first_ns > FIRST_S * 10**9:
            return
        yield line


async def collect(path: Path, root: Path) -> Group:
    """Collect the recorded venue to its end; gives the group that did."""
    async with RecordedExchange([path], VENUE, connections=2, speed=None) as exchange, asyncio.timeout(120):
        settings = Collect(exchange_url=exchange.url, data_dir=str(root), **ONLY_WHAT_IS_THERE)
        async with RestClient(get_venue(VENUE), exchange.url) as rest:
            group = Group(settings, root, rest, stage_logger(root, "collector", "test"))
            await group.add(SYMBOL)
            run = asyncio.create_task(group.run())
            try:
                await exchange.wait_finished()
            finally:
                group.stop("the capture is over")
                await run
    return group


def reconstructed(root: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Clean book, trades and gaps of the raw files under `root`."""
    storage, settings = Storage(str(root)), BookSettings()
    files = raw_files(storage, VENUE, SYMBOL)
    for task in plan_tasks(VENUE, SYMBOL, files, hour_keys(files, settings), {}):
        reconstruct_hours(str(root), task, settings)
    archive = midas_ray.open(str(root))
    return archive.book(SYMBOL).collect(), archive.trades(SYMBOL).collect(), archive.gaps(SYMBOL).collect()


async def test_collecting_equals_importing(first_minute: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported, collected = tmp_path / "imported", tmp_path / "collected"
    import_archives(Import(format="lines", paths=[str(first_minute)], venue=VENUE, data_dir=str(imported)))
    with gzip.open(first_minute) as lines:
        first_ns = int(lines.readline().partition(b" ")[0])
    behind_ns, now_ns = time.time_ns() - first_ns, time.time_ns
    # Hours are found by receive time: the collector lives at the time of the capture.
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() - behind_ns)
    group = await collect(first_minute, collected)
    monkeypatch.undo()

    health = group.health(SYMBOL)
    assert (health.gaps, health.divergences, health.undecodable, health.reconnects) == (0, 0, 0, 0)
    assert health.duplicates == health.frames > 10_000  # every frame came from both, and was kept once
    book, trades, gaps = reconstructed(imported)
    book_too, trades_too, gaps_too = reconstructed(collected)
    assert (book["state"] == "live").sum() > 580
    assert book.equals(book_too)
    assert len(trades) > 2400
    assert trades.drop("recv_ns").equals(trades_too.drop("recv_ns"))
    assert len(gaps) == len(gaps_too) == 0
