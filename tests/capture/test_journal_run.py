"""The series of a symbol's files: their names, what waits, and what is said where the end comes too early."""

import os
import subprocess
from pathlib import Path

import pytest

from midas_ray.capture.journal import event_line, read_blocks
from midas_ray.capture.journal_run import HOUR_NS, JournalRun
from midas_ray.errors import StorageError

START_NS = 1_767_225_600 * 10**9


def make(root: Path, *, hold: bool = True, max_bytes: int = 2**30) -> JournalRun:
    return JournalRun(root, "binance-futures", "btcusdt", max_bytes=max_bytes, level=3, hold=hold)


def line(number: int) -> bytes:
    return event_line(START_NS, None, "a-1", number, "clock", offset_ms=number)


def full_disk(patch: pytest.MonkeyPatch, *names: str) -> None:
    """These calls fail from now on."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    for name in names:
        patch.setattr(os, name, fail)


def text(path: Path) -> bytes:
    with path.open("rb") as stream:
        return b"".join(read_blocks(stream, path.name))


def test_names_rise_where_the_clock_steps_back(tmp_path: Path) -> None:
    run = make(tmp_path, max_bytes=1)
    for number, recv_ns in enumerate((START_NS, START_NS, START_NS - 10**9)):
        assert run.due(recv_ns)
        run.begin(recv_ns)
        run.write(line(number), recv_ns)
        run.flush()
    run.close()
    assert [text(path) for path in sorted(run.sealed)] == [line(0), line(1), line(2)]
    assert [int(path.name.partition("-")[0]) - START_NS for path in run.sealed] == [0, 1, 2]


def test_nothing_is_held_after_a_flush(tmp_path: Path) -> None:
    run = make(tmp_path)
    run.begin(START_NS)
    assert run.held_bytes == 0
    for number in range(3):
        run.write(line(number), START_NS)
        assert run.held_bytes > len(line(number))
        run.flush()
        assert run.held_bytes == 0
    assert run.bytes_on_disk > 0
    run.close()


def test_a_file_that_could_not_be_sealed_is_so_before_the_later_ones_count_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make(tmp_path)
    run.begin(START_NS)
    run.write(line(0), START_NS)
    with monkeypatch.context() as patch:
        full_disk(patch, "rename")
        assert run.due(START_NS + HOUR_NS)
        run.begin(START_NS + HOUR_NS)
        assert run.failure is not None
        run.write(line(1), START_NS + HOUR_NS)
        run.flush()
        assert not run.recover()
        assert run.held_bytes == 0  # it is all on disk, only not under its final name
    assert run.recover()
    assert run.failure is None
    assert len(run.sealed) == 1
    run.close()
    assert [text(path) for path in run.sealed] == [line(0), line(1)]


def test_an_end_seals_what_it_can_and_counts_what_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path)
    run.begin(START_NS)
    run.write(line(0), START_NS)
    run.flush()
    with monkeypatch.context() as patch:
        full_disk(patch, "pwrite")
        run.write(line(1), START_NS)
        run.write(line(2), START_NS)
        run.begin(START_NS + HOUR_NS)
    run.write(line(3), START_NS + HOUR_NS)
    with pytest.raises(StorageError, match=r"No space left on device; .* 2 lines could not be written and are lost$"):
        run.close()
    assert [text(path) for path in run.sealed] == [line(3)]
    assert not run.growing


def test_without_holding_a_file_that_cannot_be_sealed_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path, hold=False)
    run.begin(START_NS)
    full_disk(monkeypatch, "rename")
    with pytest.raises(StorageError, match="cannot seal"):
        run.begin(START_NS + HOUR_NS)


def test_a_file_lost_under_the_writer_is_reopened_or_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mount that was renewed: the open file is of no use any more, the one of its name is."""
    run = make(tmp_path)
    run.begin(START_NS)
    run.write(line(0), START_NS)
    run.flush()
    path = run.path
    assert path is not None
    with monkeypatch.context() as patch:
        full_disk(patch, "pwrite")
        run.write(line(1), START_NS)
        run.flush()
    whole, real = path.read_bytes(), os.ftruncate
    stale = next(int(fd.name) for fd in Path("/proc/self/fd").iterdir() if _target(fd) == str(path))

    def truncate(fd: int, length: int) -> None:
        if fd == stale:
            raise OSError(116, os.strerror(116))
        real(fd, length)

    monkeypatch.setattr(os, "ftruncate", truncate)
    path.write_bytes(whole[:-1])
    assert not run.recover()
    assert "shorter than what was written" in str(run.failure)
    path.write_bytes(whole)
    monkeypatch.undo()
    assert run.recover()
    assert text(run.close()) == line(0) + line(1)


def _target(fd: Path) -> str:
    try:
        return str(fd.readlink())
    except OSError:
        return ""


def test_zstdcat_reads_a_file_whose_frame_was_ended_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(tmp_path)
    run.begin(START_NS)
    for number in range(6):
        run.write(line(number), START_NS)
        with monkeypatch.context() as patch:
            if number % 2:
                full_disk(patch, "pwrite")
            run.flush()
        assert run.recover()
    path = run.close()
    data = path.read_bytes()
    assert data.count(b"\x28\xb5\x2f\xfd") == 4  # three were cut off
    assert data.count(b"\x01\x00\x00") >= 3
    if subprocess.run(["which", "zstdcat"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no zstdcat here; the library's reader is tested elsewhere")
    found = subprocess.run(["zstdcat", path], capture_output=True, check=True).stdout
    assert found == b"".join(line(number) for number in range(6))
