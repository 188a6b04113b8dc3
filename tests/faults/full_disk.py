"""Run inside a mount namespace: a journal on a small tmpfs that is full, out of inodes or read-only for a while.

unshare -m python -m tests.faults.full_disk SCENARIO FOLDER
"""

import itertools
import subprocess
import sys
from pathlib import Path

from midas_ray.capture.recorder import Recorder
from midas_ray.venues import get_venue
from tests.faults.journal_lines import HOUR_NS, START_NS, SYMBOL, VENUE, assert_holds_all, take_snapshot, trade_frame

SCENARIOS = ("full", "no-inodes", "read-only")
FRAMES = 4000


class SmallDisk:
    """1 MiB and 40 inodes at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _mount("-t", "tmpfs", "-o", "size=1m,nr_inodes=40,mode=700", "midas-test", str(folder))
        self._ballast: list[Path] = []

    def fill(self) -> None:
        """Leave not a byte."""
        path = self.folder / "ballast"
        self._ballast.append(path)
        try:
            with path.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError as error:
            print(error, file=sys.stderr)

    def take_inodes(self) -> None:
        """Leave no room for another file."""
        try:
            for number in range(100):
                path = self.folder / f"ballast-{number}"
                path.touch()
                self._ballast.append(path)
        except OSError as error:
            print(error, file=sys.stderr)

    def free(self) -> None:
        for path in self._ballast:
            path.unlink()
        self._ballast.clear()


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def main(scenario: str, folder: Path) -> None:
    disk = SmallDisk(folder)
    numbers = itertools.count(1).__next__
    recorder = Recorder(get_venue(VENUE), SYMBOL, folder, next_n=numbers, hold_on_failure=True)
    if scenario == "read-only":
        _mount("-o", "remount,ro", str(folder))
    recorder.open(START_NS, 0)
    take_snapshot(recorder, START_NS)
    recorder.flush()
    frames: dict[int, bytes] = {}
    for number in range(FRAMES):
        now_ns = START_NS + number * 2 * HOUR_NS // FRAMES  # two hours: three files or more
        if number == FRAMES // 8:
            if scenario == "full":
                disk.fill()
            elif scenario == "no-inodes":
                disk.take_inodes()
        frames[number + 2] = trade_frame(number)
        recorder.frame(now_ns, 0, "a-1", frames[number + 2])
        if scenario != "no-inodes":  # a tail that is removed would make room for the next file
            recorder.spill()
        if number % 50 == 0:
            recorder.flush()
            if recorder.failure is not None:
                assert not recorder.recover(now_ns, 0)
    assert recorder.failure is not None, "the disk was never full"
    print(recorder.failure, file=sys.stderr)
    if scenario == "read-only":
        _mount("-o", "remount,rw", str(folder))
    disk.free()
    assert recorder.recover(now_ns, 0), recorder.failure
    recorder.close(now_ns, 0, "end")
    assert_holds_all(folder, frames)
    assert len(recorder.sealed) == 2
    print(f"{scenario}: nothing lost")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
