"""What may befall a machine that runs. Its death and its silence are in `machine.py`."""

import os
import signal
import time
from pathlib import Path

from midas_ray.cloud.fake import isolation
from midas_ray.cloud.fake.machine import Machine
from midas_ray.cloud.fake.machine_boot import INSIDE

FREEZE_S = 5.0
_LISTENER = f"$(cat {INSIDE}/sshd.pid)"


def freeze(machine: Machine) -> None:
    """Stop every process in it (SIGSTOP), as a host that hangs; connections stay, nothing answers."""
    stopped: set[int] = set()
    until = time.monotonic() + FREEZE_S
    while (running := set(machine.processes()) - stopped) and time.monotonic() < until:
        for pid in running:  # again, until nothing was forked meanwhile
            _send(pid, signal.SIGSTOP)
        stopped |= running


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
    machine.must(f"for pid in $(pgrep sshd); do [ $pid = {_LISTENER} ] || kill -KILL $pid; done")


def change_host_key(machine: Machine) -> None:
    """sshd shows another host key from now on, as another machine at the same address does."""
    refuse_ssh(machine)
    machine.make_host_key()
    machine.serve_ssh()


def fill_disk(machine: Machine, folder: Path | None = None) -> None:
    """Nothing more can be written to `folder`, its home or /tmp: no space is left."""
    folder = folder or isolation.home()
    machine.must(f"mount -o remount,size=$(df --output=used -k {folder} | tail -n 1 | tr -d ' ')k {folder}")


def free_disk(machine: Machine, folder: Path | None = None, *, size_mb: int = 1024) -> None:
    """End a full disk: `size_mb` in all."""
    machine.must(f"mount -o remount,size={size_mb}m {folder or isolation.home()}")
