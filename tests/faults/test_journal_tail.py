"""A kill between any two of the journal's system calls, or in the middle of one: what was spilled is sealed, once."""

import errno
import itertools
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.capture import journal_file
from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.journal import event_line, seal
from midas_ray.capture.journal_file import JournalFile
from midas_ray.capture.journal_run import JournalRun
from midas_ray.capture.journal_tail import Tail, tail_of
from midas_ray.errors import StorageError
from tests.faults.journal_lines import START_NS, SYMBOL, VENUE, lines_of, sealed_files

CALLS = ("open", "pwrite", "ftruncate", "fsync", "rename", "unlink")


class Camera:
    """Copies `root` to `album` before each system call of the journal, after the last one, and in the middle of writes.

    failing: numbers of the calls that fail, writes after a half. failed: whether one has.
    """

    def __init__(self, root: Path, album: Path, failing: frozenset[int] = frozenset()) -> None:
        self.pictures: list[tuple[Path, int, int]] = []
        self.promised = 0
        self.written = 0
        self.failed = False
        self._root, self._album, self._failing = root, album, failing
        self._numbers = itertools.count()
        self._real = {name: getattr(os, name) for name in CALLS}
        self._at_work = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._call(name))
            yield
            self.shoot()

    def shoot(self) -> None:
        """What a kill would leave now, and how many lines must, and may, be there."""
        copy = self._album / str(len(self.pictures))
        self._at_work = True
        shutil.copytree(self._root, copy)
        self._at_work = False
        self.pictures.append((copy, self.promised, self.written))

    def _call(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if self._at_work:
                return self._real[name](*arguments, **options)
            self.shoot()
            fails = next(self._numbers) in self._failing
            if name == "pwrite" and len(arguments[1]) > 1:
                half = arguments[1][: len(arguments[1]) // 2]
                self._real[name](arguments[0], half, arguments[2])
                self.shoot()
            if fails:
                self.failed = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self._real[name](*arguments, **options)

        return call


def line(number: int, noise_bytes: int = 10) -> bytes:
    noise = random.Random(number).randbytes(noise_bytes).hex()
    return event_line(START_NS, None, "a-1", number, "clock", noise=noise)


def assert_keeps(root: Path, promised: int, written: int, *, holes: bool = False) -> None:
    """The next collector finds the lines from the first one on, each once and in order, as many as promised.

    holes: behind these, lines of a file that could not be made or written may lack, though later files are there.
    """
    with claim_symbol(root, VENUE, SYMBOL):
        pass
    found = [told["n"] for path in sealed_files(root) for told in lines_of(path)]
    assert found[:promised] == list(range(promised))
    assert found == (sorted({*found}) if holes else list(range(len(found))))
    assert len(found) <= written
    assert [path.name for path in root.rglob("*.open*")] == []


def collect(root: Path, camera: Camera, steps: list[str]) -> None:
    """Write lines, counting those that are to outlive a kill from then on."""
    run = JournalRun(root, VENUE, SYMBOL, max_bytes=2**30, level=3, hold=True)
    (root / "raw").mkdir(parents=True)
    recv_ns = START_NS
    with camera.watching():
        run.begin(recv_ns)
        for step in steps:
            if step in ("lines", "much"):
                for _ in range(3):
                    camera.written += 1
                    run.write(line(camera.written - 1, 50_000 if step == "much" else 10), recv_ns)
            elif step == "spill":
                run.spill()
                if not camera.failed:
                    camera.promised = camera.written
            else:
                if step == "flush":
                    run.flush()
                elif step == "recover":
                    if run.recover():
                        run.flush()  # a file without a failure has nothing to recover
                else:
                    recv_ns += 1
                    run.begin(recv_ns)
                if run.failure is None:
                    camera.failed, camera.promised = False, camera.written
        with suppress(StorageError):
            run.recover()
            run.close()
            camera.promised = camera.written


steps = st.lists(
    st.sampled_from(["lines", "lines", "spill", "spill", "flush", "flush", "much", "recover", "rotate"]), max_size=14
)


@given(steps, st.frozensets(st.integers(0, 40), max_size=6))
@settings(deadline=None, max_examples=60)
def test_wherever_it_is_killed_what_was_spilled_is_sealed(
    tmp_path_factory: pytest.TempPathFactory, todo: list[str], failing: frozenset[int]
) -> None:
    root = tmp_path_factory.mktemp("kill")
    camera = Camera(root / "data", root / "album", failing)
    collect(root / "data", camera, todo)
    for picture, promised, written in camera.pictures:
        assert_keeps(picture, promised, written, holes=bool(failing))
    shutil.rmtree(root)


def left(root: Path, flushed: int, spilled: int) -> JournalFile:
    """A file that its collector left, with so many lines in it and in its tail."""
    file = JournalFile(root, VENUE, SYMBOL, START_NS)
    for number in range(flushed + spilled):
        if number == flushed:
            file.flush()
        file.write(line(number), START_NS)
    file.spill() if spilled else file.flush()
    file.abandon()
    return file


@pytest.mark.parametrize(("flushed", "spilled"), [(0, 3), (3, 0), (3, 3)])
def test_a_kill_during_the_seal_loses_nothing(tmp_path: Path, flushed: int, spilled: int) -> None:
    left(tmp_path / "data", flushed, spilled)
    camera = Camera(tmp_path / "data", tmp_path / "album")
    with camera.watching(), claim_symbol(tmp_path / "data", VENUE, SYMBOL):
        pass
    assert len(camera.pictures) >= 4
    for picture, _, _ in camera.pictures:
        assert_keeps(picture, flushed + spilled, flushed + spilled)


@pytest.mark.parametrize(
    ("first", "last", "kept"),
    [(5, 9, 9), (3, 9, 9), (0, 9, 9), (3, 5, 5), (0, 2, 5), (6, 9, 5)],
    ids=["fits", "overlaps", "from the start", "all known", "old", "behind a hole"],
)
def test_a_tail_adds_what_lies_behind_the_readable_end(tmp_path: Path, first: int, last: int, kept: int) -> None:
    lines = [line(number) for number in range(10)]
    file = left(tmp_path, 5, 0)
    tail = Tail(file.path)
    for number in range(first, last):
        tail.append(sum(map(len, lines[:number])), lines[number])
    tail.release()
    assert_keeps(tmp_path, kept, kept)


@pytest.mark.parametrize("damage", ["torn", "flipped", "zeros", "empty", "noise"])
def test_a_damaged_tail_costs_its_last_lines_only(tmp_path: Path, damage: str) -> None:
    file = left(tmp_path, 5, 0)
    lines = [line(number) for number in range(10)]
    tail = Tail(file.path)
    for number in range(5, 10):
        tail.append(sum(map(len, lines[:number])), lines[number])
    tail.release()
    path = tail_of(file.path)
    whole = path.read_bytes()
    at = len(whole) - len(lines[9]) // 2
    damaged = {
        "torn": whole[:at],
        "flipped": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
        "zeros": whole[:at] + bytes(len(whole) - at),
        "empty": b"",
        "noise": random.Random(1).randbytes(1000),
    }
    path.write_bytes(damaged[damage])
    kept = 9 if damage in ("torn", "flipped", "zeros") else 5
    assert_keeps(tmp_path, kept, kept)


def test_older_records_behind_a_newer_one_count_nothing(tmp_path: Path) -> None:
    """Lines of the same length, so that the old records lie where the next ones would."""
    file = JournalFile(tmp_path, VENUE, SYMBOL, START_NS)
    for number in range(4):
        file.write(line(number), START_NS)
        file.spill()
    file.flush()
    file.write(line(4), START_NS)
    file.spill()
    assert tail_of(file.path).stat().st_size > 3 * len(line(0))
    file.abandon()
    assert_keeps(tmp_path, 5, 5)


def test_a_spill_that_fails_is_silent_and_the_flush_does_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = JournalFile(tmp_path, VENUE, SYMBOL, START_NS, hold=True)
    calls = list[str]()

    def full(*_: Any) -> int:
        calls.append("pwrite")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file.write(line(0), START_NS)
    file.spill()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        for number in range(1, 4):
            file.write(line(number), START_NS)
            file.spill()
        assert (file.failure, len(calls)) == (None, 1)  # not again and again on a full disk
        file.flush()
        assert file.failure is not None
        file.write(line(4), START_NS)
        file.spill()
        assert len(calls) == 2
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "raw", copy / "raw")
    assert_keeps(copy, 1, 1)
    assert file.recover()
    file.write(line(5), START_NS)
    file.spill()
    file.abandon()
    assert_keeps(tmp_path, 6, 6)


def test_an_end_in_good_order_leaves_no_tail(tmp_path: Path) -> None:
    for number, end in enumerate((JournalFile.close, JournalFile.discard)):
        file = JournalFile(tmp_path, VENUE, SYMBOL, START_NS + number)
        file.write(line(0), START_NS)
        file.spill()
        assert tail_of(file.path).exists()
        end(file)
        assert not tail_of(file.path).exists()


def test_a_tail_alone_is_removed_and_one_that_is_written_stays(tmp_path: Path) -> None:
    file = JournalFile(tmp_path, VENUE, SYMBOL, START_NS)
    file.write(line(0), START_NS)
    file.spill()
    alone = tail_of(file.path.with_name(f"{START_NS + 5}-1.jsonl.zst.open"))
    alone.write_bytes(tail_of(file.path).read_bytes())
    with claim_symbol(tmp_path, VENUE, SYMBOL) as sealed:
        assert sealed == []
    assert not alone.exists()
    assert tail_of(file.path).exists()
    file.abandon()
    assert seal(file.path) is not None
    assert not tail_of(file.path).exists()


def test_a_tail_goes_on_behind_what_was_packed_while_the_disk_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "BUFFER_BYTES", 1000)
    monkeypatch.setattr(journal_file, "PACK_BYTES", 1000)
    file = JournalFile(tmp_path, VENUE, SYMBOL, START_NS, hold=True)
    file.write(line(0), START_NS)
    file.spill()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda *_: 0)
        file.flush()
        file.write(line(1, 1000), START_NS)
    assert file.held_bytes < len(line(1, 1000))  # packed, and no line waits beside it
    assert file.recover()
    file.write(line(2), START_NS)
    file.spill()
    file.abandon()
    assert_keeps(tmp_path, 3, 3)
