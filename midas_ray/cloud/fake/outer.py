"""`python -m midas_ray.cloud.fake.outer COMMAND...`: a command in namespaces of its own, with a bridge for machines.

Nothing in there meets anything else on this machine: neither ports nor processes nor files under the home and /tmp.
Everything that it started ends with it, at the latest with this process.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from midas_ray.cloud.fake import bridge, isolation
from midas_ray.errors import UsageError

PROGRAMS = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
    "bash": "bash",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "rsync": "rsync",
}
"""What is needed, and the Debian package of each."""
NAMESPACES = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]
RUN_MB, TMP_MB, HOME_MB, SHM_MB = 64, 8192, 4096, 2048
"""Most that files may take there: they are in memory."""


def program(name: str) -> str | None:
    """Its path; sshd lies where not every PATH leads."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")


def available() -> str | None:
    """None where machines can be made on this host; else what is missing and how to get it, in one line."""
    if sys.platform != "linux":
        return f"fake machines: expected Linux (namespaces), found {sys.platform}; leave out --machines namespaces"
    missing = [name for name in PROGRAMS if program(name) is None]
    if missing:
        packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
        return f"fake machines: expected {', '.join(missing)}, found none; apt-get install {packages}"
    probe = f"unshare --mount --net --pid --ipc --uts --fork bash -c '{bridge.SETUP} && ip link add midas1 type veth'"
    tried = subprocess.run(["bash", "-c", probe], check=False, capture_output=True, text=True, timeout=20)
    if tried.returncode:
        said = (tried.stderr.strip().splitlines() or ["no reason given"])[-1]
        return (
            "fake machines: expected the right to make namespaces and a bridge in them, "
            f"found: {said}; run as root, a container with --privileged"
        )
    return None


@contextmanager
def started(
    command: Sequence[str],
    *,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    private_home: bool = True,
    pipes: bool = False,
) -> Iterator[subprocess.Popen[str]]:
    """Run `command` in an outer namespace; on leaving the block everything in it is killed.

    private_home: its home, /tmp and /dev/shm are empty; else those of this machine.
    pipes: stdout and stderr are for the caller.
    Raises UsageError where namespaces or a program are not to be had.
    """
    reason = available()
    if reason is not None:
        raise UsageError(reason)
    end = subprocess.PIPE if pipes else None
    init = [sys.executable, str(Path(__file__).with_name("outer_init.py")), _setup(private_home)]
    # --kill-child ends the namespace with unshare, and setpriv unshare with this process.
    launch = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, *init, *command]
    process = subprocess.Popen(launch, env=env, cwd=cwd, stdout=end, stderr=end, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def _setup(private_home: bool) -> str:
    kept = isolation.needed()
    private = {isolation.home(): HOME_MB, Path("/tmp"): TMP_MB, Path("/dev/shm"): SHM_MB}
    folders = private if private_home else {}
    return "\n".join(
        [
            f"mount -t tmpfs -o size={RUN_MB}m,mode=755 private /run",
            isolation.private_folders(Path("/run/kept"), folders, kept),
            f"mkdir -p {isolation.RUN}",
            bridge.SETUP,
        ]
    )


def first_process(outer: subprocess.Popen[str]) -> int:
    """The pid, in this namespace, of the first process in the outer one. Raises UsageError where it has ended."""
    while outer.poll() is None:
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.01)
    raise UsageError("fake machines: expected their namespace to run, found it has ended")


def run(command: Sequence[str], *, private_home: bool = True, told: Callable[[int], None] | None = None) -> int:
    """Run `command` there in the foreground; gives its exit code. SIGTERM and SIGINT are handed on as SIGTERM, unless
    a terminal sends SIGINT, which the command then gets itself.

    told: of the pid of the first process in there, once there is one.
    """
    with started(command, private_home=private_home) as process:

        def hand_on(number: int, _frame: FrameType | None) -> None:
            if number == signal.SIGTERM or not sys.stdin.isatty():
                os.kill(first_process(process), signal.SIGTERM)

        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, hand_on) for number in numbers]
        try:
            if told is not None:
                told(first_process(process))
            return process.wait()
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


if __name__ == "__main__":
    try:
        sys.exit(run(sys.argv[1:] or ["bash"]))
    except UsageError as error:
        sys.exit(str(error))
