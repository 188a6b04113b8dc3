"""From the spool to the object store: what is sealed arrives whole, once, sooner or later, and is only then deleted."""

import asyncio
import fcntl
import os
import signal
from pathlib import Path

import pytest
import structlog

from midas_ray import object_store
from midas_ray.capture import upload
from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.journal_file import JournalFile
from midas_ray.cli import main
from midas_ray.errors import StorageError
from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.storage import Storage
from tests.capture.running import MIDAS, until
from tests.fault_proxy import Fault, Faults, fault_proxy, some
from tests.s3_server import SECRET, Bucket

START_NS = 1_767_571_200 * 10**9
VENUE = "binance-futures"
LOG = structlog.stdlib.get_logger()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    object_store.open_s3.cache_clear()
    monkeypatch.setattr(upload, "ROUND_S", 0.05)
    monkeypatch.setattr(upload, "MOST_PAUSE_S", 0.2)


def _journal(spool: Path, hour: int, *, sealed: bool = True) -> Path:
    file = JournalFile(spool, VENUE, "btcusdt", START_NS + hour * 3600 * 10**9)
    file.write(b'{"recv_ns":%d}\n' % hour, START_NS)
    file.flush()
    if sealed:
        return file.close()
    file.abandon()
    return file.path


def _keys(*paths: Path) -> list[str]:
    return sorted(f"midas/raw/venue={VENUE}/symbol=btcusdt/date=2026-01-05/{path.name}" for path in paths)


def test_sealed_files_arrive_and_go_open_ones_stay(bucket: Bucket, tmp_path: Path) -> None:
    sealed, growing = [_journal(tmp_path, hour) for hour in range(3)], _journal(tmp_path, 3, sealed=False)
    contents = {key: path.read_bytes() for key, path in zip(_keys(*sealed), sealed, strict=True)}
    assert (upload.waiting(tmp_path).files, upload.waiting(tmp_path).growing) == (3, 1)
    assert upload.upload_all(tmp_path, Storage(bucket.url())) == 3
    assert {key: bucket.read(key) for key in bucket.files()} == contents
    assert upload.waiting(tmp_path) == upload.Waiting(0, 0, 1)
    assert growing.exists()


async def test_a_store_that_is_down_for_a_while_gets_all_in_the_end(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "ATTEMPTS", 1)
    down: list[Fault] = ["503"]
    faults = Faults(lambda _method, _path: down[0] if down else None)
    first = _journal(tmp_path, 0)
    with fault_proxy(bucket.port, faults) as port:
        uploader = upload.start_uploader(tmp_path, Storage(bucket.url(port=port)), LOG)
        assert uploader is not None
        await until(lambda: uploader.failure is not None, "a failure")
        assert SECRET not in str(uploader.failure)
        second = _journal(tmp_path, 1)
        assert upload.waiting(tmp_path).files == 2
        down.clear()
        await until(lambda: upload.waiting(tmp_path).files == 0 and uploader.failure is None, "both files uploaded")
        uploader.stop()
        uploader.join(20)
    assert bucket.files() == _keys(first, second)


def test_an_upload_that_the_process_did_not_live_to_note_is_known(bucket: Bucket, tmp_path: Path) -> None:
    path = _journal(tmp_path, 0)
    data = path.read_bytes()
    Storage(bucket.url()).write_bytes(_keys(path)[0].removeprefix("midas/"), data)
    assert upload.upload_all(tmp_path, Storage(bucket.url())) == 1
    assert upload.waiting(tmp_path).files == 0
    assert bucket.read(_keys(path)[0]) == data


@pytest.mark.parametrize("other", [b"another", None])
def test_another_file_of_the_same_name_is_never_replaced(bucket: Bucket, tmp_path: Path, other: bytes | None) -> None:
    clash, later = _journal(tmp_path, 0), _journal(tmp_path, 1)
    there = other or bytes(clash.stat().st_size)
    Storage(bucket.url()).write_bytes(_keys(clash)[0].removeprefix("midas/"), there)
    with pytest.raises(StorageError, match="expected no such file, found another one"):
        upload.upload_all(tmp_path, Storage(bucket.url()))
    assert clash.exists()
    assert bucket.read(_keys(clash)[0]) == there
    assert _keys(later)[0] in bucket.files()  # it does not keep the others


def test_one_process_uploads_at_a_time(bucket: Bucket, tmp_path: Path) -> None:
    path = _journal(tmp_path, 0)
    (tmp_path / ".midas").mkdir()
    with (tmp_path / ".midas" / "upload.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert upload.upload_all(tmp_path, Storage(bucket.url())) == 0
    assert path.exists()
    assert bucket.files() == []


def test_the_end_seals_what_a_dead_collector_left_but_nothing_that_is_collected(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = _journal(tmp_path, 0, sealed=False)
    with claim_symbol(tmp_path, VENUE, "ethusdt"):
        other = JournalFile(tmp_path, VENUE, "ethusdt", START_NS)
        other.flush()
        assert upload.upload_rest(tmp_path, Storage(bucket.url())) == 0
        assert other.path.exists()
        other.discard()
    assert bucket.files() == _keys(left.with_name(left.name.removesuffix(".open")))
    said = capsys.readouterr()
    assert (said.out, said.err) == (f"uploaded the last 1 raw files to s3://{bucket.name}/midas\n", "")


def test_stats_of_an_empty_store_name_what_the_spool_holds(
    bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = Storage(bucket.url(), str(tmp_path)).work_folder
    size = _journal(spool, 0).stat().st_size
    assert main(["stats", "--data-dir", bucket.url(), "--spool-dir", str(tmp_path)]) == 1
    assert f"found none (1 sealed raw files ({size} B) not uploaded yet, in {spool})" in capsys.readouterr().err


def test_what_stays_is_said_with_the_reason(bucket: Bucket, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = _journal(tmp_path, 0)
    assert upload.upload_rest(tmp_path, Storage(bucket.url(port=1))) == 1
    reason, stays = capsys.readouterr().err.splitlines()
    assert "expected an S3 server at 127.0.0.1:1" in reason
    assert stays.startswith("1 sealed raw files (")
    assert f"kept in {tmp_path}" in stays
    assert path.exists()


async def _midas(*arguments: str, until_live_in: Path | None = None) -> tuple[int | None, str, str]:
    """(exit code, output, errors); ended by SIGINT once a snapshot is in the folder, where one is given."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(MIDAS, *arguments, stdout=pipe, stderr=pipe, env=os.environ)
    if until_live_in is not None:
        growing = lambda: [path for path in until_live_in.rglob("*.open") if path.stat().st_size > 8000]  # noqa: E731
        await until(lambda: bool(growing()), "a flushed snapshot", 60)
        await asyncio.sleep(1.5)  # the book joins it
        process.send_signal(signal.SIGINT)
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_collecting_into_a_store_that_fails_now_and_then(bucket: Bucket, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    with fault_proxy(bucket.port, Faults(some(seed=3, share=0.2))) as port:
        url = bucket.url(port=port)
        async with SimulatedExchange(["btcusdt"], seed=5, keep_referee=False) as exchange:
            flags = ["--exchange-url", exchange.url, "--data-dir", url, "--spool-dir", str(spool)]
            code, out, err = await _midas("collect", *flags, until_live_in=spool)
    assert code == 0, err
    (key,) = bucket.files("midas/raw/")
    assert f"{key.removeprefix('midas/')}  uploaded" in out
    assert bucket.uploads() == []
    assert upload.waiting(Storage(url, str(spool)).work_folder) == upload.Waiting(0, 0, 0)
    logs = "".join(path.read_text() for path in spool.rglob("*.log"))
    assert '"event": "uploaded"' in logs or "uploaded the last" in out
    assert SECRET not in logs + out + err


async def test_a_collector_ends_with_an_error_where_its_files_stay(bucket: Bucket, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    refused = Faults(lambda method, path: "403" if method == "PUT" and "/raw/" in path else None)
    with fault_proxy(bucket.port, refused) as port:
        flags = ["--data-dir", bucket.url(port=port), "--spool-dir", str(spool)]
        async with SimulatedExchange(["btcusdt"], seed=5, keep_referee=False) as exchange:
            code, _, err = await _midas("collect", "--exchange-url", exchange.url, *flags, until_live_in=spool)
        assert code == 1
        assert "refuses access (ACCESS_DENIED)" in err
        assert f"1 sealed raw files ({(kept := next(spool.rglob('*.jsonl.zst'))).stat().st_size / 1000:.1f} kB)" in err
        code, _, err = await _midas("status", *flags)
        assert code == 1
        refused.choose = lambda _method, _path: None
        code, out, err = await _midas("down", *flags)
    assert (code, err) == (0, "")
    assert "uploaded the last 1 raw files" in out
    assert [key.rpartition("/")[2] for key in bucket.files("midas/raw/")] == [kept.name]
    assert not kept.exists()
