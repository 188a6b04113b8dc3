"""--download against a local archive: retry, resume, checksums, and what is not published."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from midas_ray.errors import CorruptFileError, UsageError, VenueError
from midas_ray.importers.vision.fetch import ArchiveClient, TransientArchiveError
from midas_ray.importers.vision.names import ArchiveName
from tests.importers.vision.archive_server import ArchiveServer, Fault, serving
from tests.importers.vision.made_up import DAY, agg_trades, klines, run, table, tree, zip_file

Capsys = pytest.CaptureFixture[str]
PATH = "data/futures/um/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-10-18.zip"
CONTENT = os.urandom(300_000)


@pytest.fixture
def server() -> Iterator[ArchiveServer]:
    with serving() as running:
        yield running


def fetch(server: ArchiveServer, target: Path, path: str = PATH, *, timeout_s: float = 5.0, attempts: int = 3) -> bool:
    """One file; few and short waits."""

    async def work() -> bool:
        async with ArchiveClient(server.url, attempts=attempts, timeout_s=timeout_s, first_wait_s=0.01) as client:
            return await client.fetch(path, target, [].append, [].append)

    return asyncio.run(work())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "archive" / "BTCUSDT-aggTrades-2024-10-18.zip"


def test_a_file_and_its_checksum_are_brought_once(server: ArchiveServer, target: Path) -> None:
    server.publish(PATH, CONTENT)
    assert fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert sorted(path.name for path in target.parent.iterdir()) == [target.name, f"{target.name}.CHECKSUM"]
    asked = len(server.requests)
    assert fetch(server, target)
    assert len(server.requests) == asked
    target.write_bytes(CONTENT[:-1])  # damaged on disk since
    assert fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_what_is_not_published(server: ArchiveServer, target: Path) -> None:
    assert not fetch(server, target)
    server.publish(PATH, CONTENT)
    del server.files[PATH]
    assert not fetch(server, target)
    assert not target.exists()


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", 500), Fault("status", 503, retry_after="0"), Fault("status", 429, retry_after="0"),
        Fault("status", 503, retry_after="Fri, 18 Oct 2024 00:00:00 GMT"), Fault("cut"), Fault("stall"),
    ],
)  # fmt: skip
def test_hiccups_are_tried_again(server: ArchiveServer, target: Path, fault: Fault) -> None:
    server.publish(PATH, CONTENT)
    server.faults[PATH] = [fault, fault]
    server.faults[f"{PATH}.CHECKSUM"] = [fault]
    assert fetch(server, target, timeout_s=0.3)
    assert target.read_bytes() == CONTENT
    assert len(server.requests) == 5


def test_retry_after_is_heeded(server: ArchiveServer, target: Path) -> None:
    server.publish(PATH, CONTENT)
    server.faults[PATH] = [Fault("status", 429, retry_after="1")]
    before = time.monotonic()
    assert fetch(server, target)
    assert time.monotonic() - before >= 1.0


def test_a_cut_connection_is_resumed_where_it_broke_off(server: ArchiveServer, target: Path) -> None:
    server.publish(PATH, CONTENT)
    # More cuts than attempts: each brings something new.
    server.faults[PATH] = [Fault("cut", after=40_000) for _ in range(6)]
    assert fetch(server, target)
    assert target.read_bytes() == CONTENT
    starts = [int(wanted[len("bytes=") : -1]) for wanted in server.asked(PATH)[1:] if wanted]
    assert len(starts) == 6
    assert starts == sorted(starts)
    assert starts[-1] > 100_000


def test_a_server_without_range_begins_anew(server: ArchiveServer, target: Path) -> None:
    server.ranges = False
    server.publish(PATH, CONTENT)
    server.faults[PATH] = [Fault("cut", after=200_000)]
    assert fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked(PATH)[1] is not None


@pytest.mark.parametrize("left", [CONTENT, CONTENT[:1000], bytes(1000), CONTENT + b"more"])
def test_a_part_of_an_earlier_run(server: ArchiveServer, target: Path, left: bytes) -> None:
    server.publish(PATH, CONTENT)
    target.parent.mkdir()
    target.with_name(target.name + ".part").write_bytes(left)
    assert fetch(server, target)
    assert target.read_bytes() == CONTENT
    if left == CONTENT:
        assert server.asked(PATH) == []
    assert not target.with_name(target.name + ".part").exists()


def test_content_that_once_did_not_agree_is_brought_again(server: ArchiveServer, target: Path) -> None:
    server.publish(PATH, CONTENT)
    server.faults[PATH] = [Fault("wrong")]
    assert fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_content_that_never_agrees_is_refused_with_both_digests(server: ArchiveServer, target: Path) -> None:
    server.publish(PATH, CONTENT, digest="ab" * 32)
    with pytest.raises(CorruptFileError, match=f"expected SHA-256 {'ab' * 32} by its .CHECKSUM, found [0-9a-f]{{64}}"):
        fetch(server, target)
    assert list(target.parent.iterdir()) == []


def test_an_archive_that_never_answers_is_given_up(server: ArchiveServer, target: Path) -> None:
    server.publish(PATH, CONTENT)
    server.faults[PATH] = [Fault("status", 503)] * 9
    with pytest.raises(TransientArchiveError, match="found status 503"):
        fetch(server, target)
    assert len(server.asked(PATH)) == 3
    server.faults[PATH] = [Fault("status", 403)]
    with pytest.raises(VenueError, match="found status 403; check --archive-url"):
        fetch(server, target)
    server.url = "http://127.0.0.1:1"
    with pytest.raises(TransientArchiveError, match="not reached"):
        fetch(server, target)
    server.url = "ftp://there"
    with pytest.raises(UsageError, match="--archive-url"):
        fetch(server, target)


def publish_days(server: ArchiveServer, folder: Path, days: list[date]) -> None:
    """aggTrades and klines of btcusdt."""
    for at, day in enumerate(days):
        for kind, what, rows in (
            ("aggTrades", "aggTrades", agg_trades(20, day=day, first_id=1000 + 20 * at)),
            ("klines", "1m", klines(20, day=day)),
        ):
            path = Path(zip_file(folder, what, rows, day=day))
            server.publish(
                ArchiveName("btcusdt", kind, day, day).url_path("binance-futures"),  # type: ignore[arg-type]
                path.read_bytes(),
            )


def test_days_are_downloaded_and_imported(server: ArchiveServer, tmp_path: Path, capsys: Capsys) -> None:
    days = [DAY + timedelta(days=at) for at in range(4)]
    publish_days(server, tmp_path / "there", [days[0], days[1], days[3]])
    server.pause_s = 0.1  # every answer takes so long that those of several files overlap
    flags = ("--symbols", "btcusdt", "--archive-url", server.url)
    assert run(tmp_path, "--download", str(days[0]), str(days[3]), *flags) == 0
    said = capsys.readouterr().out
    assert "6 files in " in said
    assert "btcusdt aggTrades: not published (404): 2024-10-20\n" in said
    assert "btcusdt klines: not published (404): 2024-10-20\n" in said
    assert "all 6 files agree with their .CHECKSUM" in said
    assert (len(table(tmp_path, "trades")), len(table(tmp_path, "bars"))) == (60, 60)
    assert 2 <= server.most_at_once <= 4
    kept = tmp_path / "data" / "archive" / "futures" / "um" / "daily" / "klines" / "BTCUSDT" / "1m"
    assert (kept / "BTCUSDT-1m-2024-10-18.zip.CHECKSUM").is_file()
    before, asked = tree(tmp_path), len(server.requests)
    assert run(tmp_path, "--download", str(days[0]), str(days[3]), *flags) == 0
    assert len(server.requests) == asked + 2  # only what was not published is asked for again
    assert "0 B of them downloaded now" in capsys.readouterr().out
    assert tree(tmp_path) == before


def test_a_symbol_of_which_nothing_is_published(server: ArchiveServer, tmp_path: Path, capsys: Capsys) -> None:
    publish_days(server, tmp_path / "there", [DAY])
    flags = ("--symbols", "btcusdt,nonexusdt", "--kinds", "aggTrades", "--archive-url", server.url)
    assert run(tmp_path, "--download", str(DAY), str(DAY), *flags) == 1
    said = capsys.readouterr()
    assert said.err == (
        "nonexusdt: found no file at all in the archive: check --symbols, --venue, --kinds, and the days\n"
    )
    assert len(table(tmp_path, "trades")) == 20


def test_an_interrupted_download_leaves_parts_and_goes_on(server: ArchiveServer, tmp_path: Path) -> None:
    rows = agg_trades(20_000, step_ms=4_000)
    server.publish(PATH, Path(zip_file(tmp_path / "there", "aggTrades", rows)).read_bytes())
    server.chunk_bytes, server.pause_s = 20_000, 0.2
    command = [
        *(sys.executable, "-m", "midas_ray.cli", "import", "binance-vision", "--download", str(DAY), str(DAY)),
        *("--symbols", "btcusdt", "--kinds", "aggTrades", "--archive-url", server.url, "--data-dir", "data"),
    ]
    running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    archive, deadline = tmp_path / "data" / "archive", time.monotonic() + 30
    while not any(path.stat().st_size for path in archive.rglob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert (running.returncode, said) == (130, "interrupted\n")
    assert [path.suffix for path in archive.rglob("*") if path.is_file()] == [".part"]
    assert not (tmp_path / "data" / "clean").exists()
    server.pause_s = 0.0
    flags = ("--symbols", "btcusdt", "--kinds", "aggTrades", "--archive-url", server.url)
    assert run(tmp_path, "--download", str(DAY), str(DAY), *flags) == 0
    assert server.asked(PATH)[-1] is not None
    assert len(table(tmp_path, "trades")) == 20_000
