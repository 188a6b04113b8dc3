"""The follower gives every line of a growing journal once and in order, whatever the writer and itself go through."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.capture.journal import read_blocks, seal
from midas_ray.capture.journal_file import JournalFile
from midas_ray.capture.journal_run import JournalRun
from midas_ray.capture.journal_tail import tail_of
from midas_ray.live.follow import JournalFollower, JournalRewrittenError

VENUE, SYMBOL = "v", "s"
START_NS = 1_767_225_600 * 10**9


class Writer:
    """A collector's journal whose every step the test chooses."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "raw" / f"venue={VENUE}" / f"symbol={SYMBOL}"
        self.now_ns = START_NS
        self.written = b""
        self.run = self._begin()

    def _begin(self) -> JournalRun:
        run = JournalRun(self.root, VENUE, SYMBOL, max_bytes=2**30, level=3, hold=True, is_live=True)
        run.begin(self.now_ns)
        return run

    def write(self, count: int) -> None:
        for _ in range(count):
            self.now_ns += 10**6
            line = b'{"recv_ns":%d,"text":"%s"}\n' % (self.now_ns, b"x" * (self.now_ns // 10**6 % 97))
            self.run.write(line, self.now_ns)
            self.written += line

    def rotate(self, seconds: int) -> None:
        self.now_ns += seconds * 10**9
        self.run.begin(self.now_ns)

    def kill(self, *, spilled: bool) -> None:
        """The process is gone; lines that were neither flushed nor spilled are lost with it. The next claim seals."""
        if spilled:
            self.run.spill()
        file = self.run._file
        assert file is not None
        lost = b"".join(file._lines[file._spilled :])
        self.written = self.written.removesuffix(lost)
        file.abandon()
        seal(file.path)
        self.now_ns += 10**9
        self.run = self._begin()


step = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 40)),
    st.sampled_from([("spill",), ("flush",), ("poll",), ("poll",), ("restart",), ("kill", True), ("kill", False)]),
    st.tuples(st.just("rotate"), st.sampled_from([1, 3600, 86_400])),
)


@given(st.lists(step, max_size=40))
@settings(max_examples=150, deadline=None)
def test_every_line_once_and_in_order(steps: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Path(folder))
        follower, got = JournalFollower(writer.folder), b""
        for name, *arguments in steps:
            if name == "write":
                writer.write(*arguments)
            elif name == "spill":
                writer.run.spill()
            elif name == "flush":
                writer.run.flush()
            elif name == "rotate":
                writer.rotate(*arguments)
            elif name == "kill":
                writer.kill(spilled=arguments[0])
            elif name == "restart":
                follower.close()
                follower, got = JournalFollower(writer.folder), b""
            else:
                for block in follower.poll():
                    assert block.endswith(b"\n")
                    got += block
                assert writer.written.startswith(got)
        writer.run.close()
        got += b"".join(follower.poll())
        assert got == writer.written
        assert follower.path is None


def test_a_line_is_there_as_soon_as_it_is_spilled(tmp_path: Path) -> None:
    writer, got = Writer(tmp_path), b""
    follower = JournalFollower(writer.folder)
    for at in range(30):
        writer.write(3)
        writer.run.flush() if at % 7 == 6 else writer.run.spill()
        got += b"".join(follower.poll())
        assert got == writer.written
    follower.close()
    writer.run.close()


def test_it_begins_with_the_file_it_is_given(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write(5)
    begin = len(writer.written)
    writer.rotate(3600)
    writer.write(5)
    writer.run.close()
    names = sorted(path.name for path in writer.folder.rglob("*.zst"))
    assert b"".join(JournalFollower(writer.folder, names[1]).poll()) == writer.written[begin:]


def test_a_failed_write_that_is_taken_back_is_read_anew(tmp_path: Path) -> None:
    file = JournalFile(tmp_path, VENUE, SYMBOL, START_NS, hold=True)
    follower = JournalFollower(tmp_path / "raw" / f"venue={VENUE}" / f"symbol={SYMBOL}")
    file.write(b'{"first":1}\n', START_NS)
    file.flush()
    good = file.path.read_bytes()
    with file.path.open("ab") as stream:
        stream.write(b"\x05\x00")  # the disk filled up in the middle of a block
    assert b"".join(follower.poll()) == b'{"first":1}\n'
    file.path.write_bytes(good)
    file.write(b'{"second":2}\n', START_NS)
    file.flush()
    assert b"".join(follower.poll()) == b'{"second":2}\n'
    follower.close()
    file.close()


def test_a_sealed_file_that_holds_less_than_was_read_is_said(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.write(50)
    writer.run.flush()
    writer.write(5)
    writer.run.spill()
    follower = JournalFollower(writer.folder)
    assert b"".join(follower.poll()) == writer.written
    growing = next(writer.folder.rglob("*.open"))
    tail_of(growing).unlink()  # the machine's end: the tail is never synced
    file = writer.run._file
    assert file is not None
    file.abandon()
    sealed = seal(growing)
    assert sealed is not None
    with sealed.open("rb") as stream:
        assert len(b"".join(read_blocks(stream, "sealed"))) < len(writer.written)
    with pytest.raises(JournalRewrittenError, match="were read before"):
        list(follower.poll())
