"""What may befall a machine that runs. Its death and its silence are in `machine.py`."""

import os
import signal
import time
from pathlib import Path

from midas_ray.cloud.fake import isolation
from midas_ray.cloud.fake.machine import Machine
from midas_ray.cloud.fake.machine_boot import INSIDE

FREEZE_S = 5.0
STOPPED = "TtZX"
"""States of a process, as in /proc, in which it does nothing."""
_LISTENER = f"$(cat {INSIDE}/sshd.pid)"


def freeze(machine: Machine) -> None:
    """Stop every process in it (SIGSTOP), as a host that hangs; connections stay, nothing answers. Raises OSError."""
    until = time.monotonic() + FREEZE_S
    while running := [pid for pid in machine.processes() if _state(pid) not in STOPPED]:
        if time.monotonic() > until:
            raise OSError(f"machine {machine.name}: expected to freeze within {FREEZE_S:g} s, found {running} running")
        for pid in running:
            _send(pid, signal.SIGSTOP)
        time.sleep(0.01)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"  # it ended by itself


def thaw(machine: Machine) -> None:
    """Let a frozen machine go on."""
    for pid in machine.processes():
        _send(pid, signal.SIGCONT)


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself


def refuse_ssh(machine: Machine) -> None:
    """New SSH connections are refused; those that are there stay."""
    machine.must(f"kill {_LISTENER}; while kill -0 {_LISTENER} 2>/dev/null; do sleep 0.01; done")


def hang_ssh(machine: Machine) -> None:
    """New SSH connections are taken, and nobody says anything; those that are there stay."""
    machine.must(f"kill -STOP {_LISTENER}")


def unhang_ssh(machine: Machine) -> None:
    """sshd answers again."""
    machine.must(f"kill -CONT {_LISTENER}")


def drop_ssh(machine: Machine) -> None:
    """End every SSH connection; new ones are taken."""
    kill = "kill -KILL $pid 2>/dev/null || ! kill -0 $pid 2>/dev/null"  # it may have ended with its parent
    machine.must(f"for pid in $(pgrep sshd); do [ $pid = {_LISTENER} ] || {kill}; done")


def change_host_key(machine: Machine) -> None:
    """sshd shows another host key from now on, as another machine at the same address does."""
    refuse_ssh(machine)
    machine.make_host_key()
    machine.serve_ssh()


def fill_disk(machine: Machine, folder: Path | None = None) -> None:
    """No space is left in `folder`, its home or /tmp, but for 4 KB where it was empty."""
    folder = folder or isolation.home()
    used = int(machine.must(f"df --output=used -k {folder}").split()[-1])
    machine.must(f"mount -o remount,size={max(used, 4)}k {folder}")  # 0 is no limit


def free_disk(machine: Machine, folder: Path | None = None, *, size_mb: int = 1024) -> None:
    """End a full disk: `size_mb` in all."""
    machine.must(f"mount -o remount,size={size_mb}m {folder or isolation.home()}")
