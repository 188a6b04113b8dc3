"""kill -9 while the journal is written, spilled, sealed, rotated or opened: what was spilled stays, each line once."""

import itertools
import os
import random
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.recorder import Recorder
from midas_ray.venues import get_venue
from tests.faults.journal_lines import START_NS, SYMBOL, VENUE, lines_of, sealed_files, trade_frame

KILLS = 50
FLUSH_S = 0.005
ROTATE_BYTES = 20_000


def _collect(root: Path, first: int, told: int) -> None:
    """What the child does until it is killed: frames `first`, ...; tells of each number once it is spilled.

    Each child has the process id 1 and starts in the same nanosecond, as in containers whose clocks stand still.
    """
    with claim_symbol(root, VENUE, SYMBOL):
        venue = get_venue(VENUE)
        recorder = Recorder(venue, SYMBOL, root, next_n=itertools.count(1).__next__, max_bytes=ROTATE_BYTES)
        recorder.open(START_NS, 0)
        flushed_s = time.monotonic()
        rng = random.Random(first)
        for number in itertools.count(first):
            recorder.frame(START_NS, 0, "a-1", trade_frame(number))
            if rng.random() < 0.5:
                recorder.spill()
                os.write(told, struct.pack("<q", number))
            if time.monotonic() - flushed_s >= FLUSH_S:
                recorder.flush()
                flushed_s = time.monotonic()


def _killed_after(root: Path, first: int, wait_s: float, *, writing: bool) -> int:
    """The last frame that a child, killed after `wait_s`, had told of; `first` - 1 where it came to none.

    writing: the time counts from its first frame, not from its birth.
    """
    source, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(source)
            os.getpid = lambda: 1
            _collect(root, first, told)
        finally:
            os._exit(1)
    os.close(told)
    begun = os.read(source, 8) if writing else b""
    time.sleep(wait_s)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the child ended by itself"
    with os.fdopen(source, "rb") as reports:
        numbers = [number for (number,) in struct.iter_unpack("<q", begun + reports.read())]
    return numbers[-1] if numbers else first - 1


def _numbers(path: Path) -> Iterator[int]:
    for line in lines_of(path):
        if line["kind"] == "ws":
            yield line["payload"]["data"]["t"]


def test_no_spilled_line_is_lost_in_50_kills(tmp_path: Path) -> None:
    rng = random.Random(1)
    runs: list[tuple[int, int]] = []
    sealed: dict[Path, bytes] = {}
    for run in range(KILLS):
        first = run * 10**7
        runs.append((first, _killed_after(tmp_path, first, rng.uniform(0.0, 0.05), writing=run % 2 == 0)))
        if rng.random() < 0.5:  # else the next child seals what this one left, and may be killed at that
            with claim_symbol(tmp_path, VENUE, SYMBOL):
                sealed |= {path: path.read_bytes() for path in sealed_files(tmp_path) if path not in sealed}
    with claim_symbol(tmp_path, VENUE, SYMBOL):
        pass
    assert sum(spilled >= first for first, spilled in runs) >= KILLS // 2
    assert list(tmp_path.rglob("*.open*")) == []
    assert all(path.read_bytes() == data for path, data in sealed.items())
    kept = sorted(number for path in sealed_files(tmp_path) for number in _numbers(path))
    for first, spilled in runs:
        own = [number for number in kept if first <= number < first + 10**7]
        assert own == list(range(first, first + len(own)))  # each once, none missing in between
        assert first + len(own) > spilled
