"""Claiming a symbol where the disk takes nothing: one line, and what a dead collector left stays as it was."""

import os
from pathlib import Path

import pytest

from midas_ray.capture.claim import LOCK_NAME, claim_symbol
from midas_ray.capture.journal import read_blocks, ws_line
from midas_ray.capture.journal_file import JournalFile
from midas_ray.errors import StorageError

VENUE = "binance-futures"
START_NS = 1_767_225_600 * 10**9


def left_open(root: Path) -> Path:
    """A file whose writer is gone."""
    file = JournalFile(root, VENUE, "btcusdt", START_NS)
    file.write(ws_line(START_NS, None, "a-1", 1, b'{"x":1}'), START_NS)
    file.flush()
    file.abandon()
    return file.path


def full(*_: object) -> int:
    raise OSError(28, os.strerror(28))


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_sealing_on_a_full_disk_leaves_the_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    growing = left_open(tmp_path)
    before = growing.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with (
            pytest.raises(StorageError, match=r"cannot seal .*: No space left on device; free space") as caught,
            claim_symbol(tmp_path, VENUE, "btcusdt"),
        ):
            pass
        assert "\n" not in str(caught.value)
    assert growing.read_bytes() == before
    assert [path.name for path in growing.parent.iterdir()] == [growing.name]
    with claim_symbol(tmp_path, VENUE, "btcusdt") as sealed, sealed[0].open("rb") as stream:
        assert b"".join(read_blocks(stream, "x")) == ws_line(START_NS, None, "a-1", 1, b'{"x":1}')


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with (
            pytest.raises(StorageError, match=rf"cannot write .*{LOCK_NAME}: No space left on device; free"),
            claim_symbol(tmp_path, VENUE, "btcusdt"),
        ):
            pass
    with claim_symbol(tmp_path, VENUE, "btcusdt"):
        pass


def test_a_seal_that_was_itself_interrupted_is_done_again(tmp_path: Path) -> None:
    """Killed while it wrote its temporary file, and between the renaming and the removal."""
    growing = left_open(tmp_path)
    final = growing.with_name(growing.name.removesuffix(".open"))
    growing.with_name(f".tmp-{final.name}").write_bytes(b"half a fra")
    left = growing.read_bytes()
    with claim_symbol(tmp_path, VENUE, "btcusdt") as sealed:
        assert sealed == [final]
    data = final.read_bytes()
    growing.write_bytes(left)
    with claim_symbol(tmp_path, VENUE, "btcusdt") as sealed:
        assert sealed == [final]
    assert final.read_bytes() == data
    assert [path.name for path in final.parent.iterdir()] == [final.name]
