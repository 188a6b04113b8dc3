"""A disk that is full, read-only or failing: nothing is lost while the memory suffices, each file is whole after."""

import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midas_ray.book.sync import Gap
from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.recorder import Recorder
from midas_ray.errors import StorageError, TruncatedFileError
from midas_ray.venues import get_venue
from tests.faults import full_disk
from tests.faults.journal_lines import (
    HOUR_NS,
    START_NS,
    SYMBOL,
    VENUE,
    assert_holds_all,
    depth_frame,
    lines_of,
    sealed_files,
    take_snapshot,
    trade_frame,
)

CALLS = ("open", "pwrite", "ftruncate", "fsync", "rename", "mkdir")
MS = 10**6


class Disk:
    """The operating system's calls below the journal, of which those in `failing` (numbered from 0) fail.

    failing: (errno, share of the bytes that a failing write still takes) by number of the call.
    """

    def __init__(self, failing: dict[int, tuple[int, float]]) -> None:
        self.failing = failing
        self.count = 0
        self._calls = {name: getattr(os, name) for name in CALLS}

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Inside, calls may fail."""
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._call(name))
            yield

    def _call(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            number, self.count = self.count, self.count + 1
            if number not in self.failing:
                return self._calls[name](*arguments, **options)
            code, share = self.failing[number]
            if name == "pwrite" and (done := int(len(arguments[1]) * share)):
                self.failing[number + 1] = code, 0.0  # a short write; the next one says why
                return self._calls[name](arguments[0], arguments[1][:done], arguments[2])
            raise OSError(code, os.strerror(code))

        return call


def make_recorder(root: Path, *, hold: bool = True, **options: Any) -> Recorder:
    numbers = itertools.count(1).__next__
    return Recorder(get_venue(VENUE), SYMBOL, root, next_n=numbers, hold_on_failure=hold, **options)


@st.composite
def failures(draw: st.DrawFn) -> dict[int, tuple[int, float]]:
    """Runs of failing calls."""
    failing: dict[int, tuple[int, float]] = {}
    codes = st.sampled_from([errno.ENOSPC, errno.EROFS, errno.EIO])
    for start, length, code, share in draw(
        st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12), codes, st.floats(0, 0.99)), max_size=4)
    ):
        failing |= dict.fromkeys(range(start, start + length), (code, share))
    return failing


steps = st.lists(
    st.sampled_from(["frames", "frames", "spill", "flush", "flush", "recover", "hour", "size"]), max_size=30
)


def assert_loses_nothing(root: Path, disk: Disk, todo: list[str], *, synced: bool) -> None:
    """Collect on a disk that fails now and then and is well in the end: every line is written once and in order."""
    frames, now_ns = dict[int, bytes](), START_NS
    with disk.broken():
        recorder = make_recorder(root, max_bytes=2000)
        recorder.open(now_ns, None)
        if synced:
            take_snapshot(recorder, now_ns)
        for step in todo:
            now_ns += MS
            if step == "flush":
                recorder.flush()
            elif step == "spill":
                recorder.spill()
            elif step == "recover":
                recorder.recover(now_ns, None)
            elif step == "hour":
                now_ns += HOUR_NS
            count = {"size": 200, "frames": 4}.get(step, 0)
            for number in range(len(frames), len(frames) + count):
                frame = depth_frame(number // 2) if number % 2 else trade_frame(number)
                frames[number + 1 + synced] = frame
                assert recorder.frame(now_ns, None, "a-1", frame) == []
    assert recorder.recover(now_ns, None)
    assert (recorder.failure, recorder.counters.undecodable) == (None, 0)
    recorder.close(now_ns, None, "end")
    assert sorted(recorder.sealed) == sealed_files(root)
    lines = assert_holds_all(root, frames)
    events = [line["event"] for line in lines if line["kind"] == "event"]
    told = [event for event in events if event in ("degraded", "recovered")]
    assert told == ["degraded", "recovered"] * (len(told) // 2)
    last_u = 1000
    for line in lines:
        if line["kind"] == "ws" and "u" in line["payload"]["data"]:
            last_u = line["payload"]["data"]["u"]
        elif line["kind"] == "book":
            assert line["last_update_id"] == last_u


@given(steps, failures(), st.booleans())
@settings(deadline=None, max_examples=200)
def test_wherever_the_disk_fails_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, todo: list[str], failing: dict[int, tuple[int, float]], synced: bool
) -> None:
    assert_loses_nothing(tmp_path_factory.mktemp("disk"), Disk(failing), todo, synced=synced)


HOURS = [
    "frames",
    "spill",
    "flush",
    "frames",
    "recover",
    "flush",
    "hour",
    "frames",
    "flush",
    "recover",
    "size",
    "spill",
    "flush",
    "frames",
    "spill",
]


@pytest.mark.parametrize(("length", "share"), [(1, 0.0), (1, 0.6), (3, 0.6), (100, 0.0)])
def test_whichever_call_fails_nothing_is_lost(tmp_path: Path, length: int, share: float) -> None:
    """Every call in turn, alone or with those after it."""
    whole = Disk({})
    assert_loses_nothing(tmp_path / "whole", whole, HOURS * 2, synced=True)
    assert whole.count > 20
    for first in range(whole.count):
        failing = dict.fromkeys(range(first, first + length), (errno.ENOSPC, share))
        assert_loses_nothing(tmp_path / str(first), Disk(failing), HOURS * 2, synced=True)


def test_what_is_held_is_told_and_packed_small(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recorder.open(START_NS, 0)
    recorder.flush()
    frames = {number: trade_frame(number) for number in range(1, 30_001)}
    with Disk(dict.fromkeys(range(10**6), (errno.ENOSPC, 0.5))).broken():
        for number, frame in frames.items():
            recorder.frame(START_NS + number, number, "a-1", frame)
            if number % 1000 == 0:
                recorder.flush()
                assert not recorder.recover(START_NS + number, number)
        assert "No space left on device" in str(recorder.failure)
        assert recorder.held_bytes < sum(map(len, frames.values())) / 2
        held = recorder.held_bytes
    for first in (1, 2, 3, 2):  # the disk takes some of it, then no more
        with Disk(dict.fromkeys(range(first, 100), (errno.ENOSPC, 0.5))).broken():
            assert not recorder.recover(START_NS + HOUR_NS - 1, 40_000)
    assert 0 < recorder.held_bytes < held
    assert recorder.recover(START_NS + HOUR_NS - 1, 40_000)
    recorder.close(START_NS + HOUR_NS - 1, 40_001, "end")
    lines = assert_holds_all(tmp_path, frames)
    degraded, recovered = (line for line in lines if line.get("event") in ("degraded", "recovered"))
    before = lines[lines.index(degraded) - 1]
    assert degraded["since_ns"] == degraded["recv_ns"] == before["recv_ns"] <= START_NS + 1000
    assert degraded["reason"] == f"cannot write {tmp_path}/raw/venue={VENUE}/symbol={SYMBOL}/date=2026-01-01/" + (
        f"{START_NS}-{os.getpid()}.jsonl.zst.open: No space left on device"
    )
    assert held <= recovered["held_bytes"] < 2 * held
    assert recovered["dropped"] == 0


def test_what_memory_has_no_room_for_is_a_gap_because_of_the_disk(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    recorder.open(START_NS, 0)
    take_snapshot(recorder, START_NS)
    recorder.frame(START_NS, 0, "a-1", depth_frame(0))
    with Disk(dict.fromkeys(range(10**6), (errno.ENOSPC, 0.0))).broken():
        recorder.flush()
        for _ in range(3):
            recorder.drop(START_NS + 1, 0, "depth")
        recorder.drop(START_NS + 2, 0, "trade")
    assert recorder.recover(START_NS + 3, 0)
    recorder.frame(START_NS + 4, 0, "a-1", depth_frame(5))
    (gap,) = take_snapshot(recorder, START_NS + 5, 1055)
    assert isinstance(gap, Gap)
    assert (gap.cause, gap.expected_id, gap.found_id) == ("disk", 1010, 1050)
    with Disk(dict.fromkeys(range(10**6), (errno.ENOSPC, 0.0))).broken():
        recorder.flush()
        recorder.drop(START_NS + 6, 0, "depth")
    recorder.close(START_NS + 7, 0, "end")
    (path,) = sealed_files(tmp_path)
    lines = lines_of(path)
    assert [(line["stream"], line["cause"]) for line in lines if line.get("event") == "missed"] == [
        ("depth", "disk"), ("trade", "disk"), ("depth", "disk"),
    ]  # fmt: skip
    assert [line["dropped"] for line in lines if line.get("event") == "recovered"] == [4, 1]
    assert recorder.counters.dropped == 5


def test_an_end_while_the_disk_fails_says_what_is_lost_and_leaves_the_rest_readable(tmp_path: Path) -> None:
    with claim_symbol(tmp_path, VENUE, SYMBOL):
        recorder = make_recorder(tmp_path)
        recorder.open(START_NS, 0)
        recorder.frame(START_NS, 0, "a-1", trade_frame(1))
        recorder.flush()
        with Disk(dict.fromkeys(range(10**6), (errno.ENOSPC, 0.3))).broken():
            recorder.frame(START_NS, 0, "a-1", trade_frame(2))
            recorder.flush()
            path = recorder.path
            assert path is not None
            with pytest.raises(StorageError, match=r"No space left on device.* 3 lines could not be written") as caught:
                recorder.close(START_NS + 1, 0, "end")  # the frame, `degraded` and `shutdown`
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert path.exists()
        with pytest.raises(TruncatedFileError):
            lines_of(path)
    with claim_symbol(tmp_path, VENUE, SYMBOL) as sealed:
        assert [line.get("n") for line in lines_of(sealed[0]) if line["kind"] == "ws"] == [1]


def test_an_end_while_the_disk_is_well_again_loses_nothing(tmp_path: Path) -> None:
    recorder = make_recorder(tmp_path)
    with Disk(dict.fromkeys(range(10**6), (errno.EROFS, 0.0))).broken():
        recorder.open(START_NS, 0)
        recorder.frame(START_NS, 0, "a-1", trade_frame(1))
        recorder.flush()
        assert list(tmp_path.rglob("*.zst*")) == []
    recorder.close(START_NS + 1, 0, "end")
    lines = assert_holds_all(tmp_path, {1: trade_frame(1)})
    assert [line["event"] for line in lines if line["kind"] == "event"] == [
        "unsynced", "degraded", "open", "recovered", "shutdown",
    ]  # fmt: skip


@pytest.mark.parametrize("call", range(6))
def test_without_holding_the_first_failure_is_raised(tmp_path: Path, call: int) -> None:
    recorder = make_recorder(tmp_path, hold=False)

    def collect() -> None:
        recorder.open(START_NS, 0)
        for number in range(10):
            recorder.frame(START_NS, 0, "a-1", trade_frame(number))
            recorder.flush()

    with (
        Disk(dict.fromkeys(range(call, 100), (errno.EIO, 0.5))).broken(),
        pytest.raises(StorageError, match="Input/output error; free space or fix permissions") as caught,
    ):
        collect()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scenario", full_disk.SCENARIOS)
def test_on_a_real_small_disk(tmp_path: Path, scenario: str) -> None:
    """A tmpfs of 1 MiB in a mount namespace of its own, filled up and freed again, or read-only for a while."""
    allowed = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if allowed.returncode != 0:
        pytest.skip(f"no mount namespace here: {allowed.stderr.decode().strip()}")
    command = ["unshare", "-m", sys.executable, "-m", full_disk.__name__, scenario, str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=root)
    assert (done.returncode, done.stdout) == (0, f"{scenario}: nothing lost\n"), done.stderr
