"""One machine: namespaces of its own with a real sshd, and what may happen to it."""

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

from midas_ray.cloud.fake import isolation
from midas_ray.cloud.fake.bridge import Bridge
from midas_ray.cloud.fake.machine_boot import BOOTED, INSIDE, Sizes, script, write_files
from midas_ray.cloud.fake.outer import NAMESPACES, program

BOOT_S = 20.0
"""How long its set-up, and then its sshd, may take."""
ONSTART, ONSTART_LOG = "onstart.sh", "/var/log/onstart.log"
"""In its home, as on Vast.ai; and what the script says."""
SSHD_LOG = "/var/log/sshd.log"


class Machine:
    """A host with an sshd at (`host`, `port`). Its methods block; `stop` and `kill` may come from any thread."""

    def __init__(self, name: str, bridge: Bridge, *, env: dict[str, str], public_keys: str, sizes: Sizes) -> None:
        """env: of SSH sessions and of onstart, beside HOME, USER and PATH. public_keys: who may log in, one a line."""
        self.name = name
        self._bridge = bridge
        self._cable = bridge.reserve()
        self.host, self.port = self._cable.address, self._cable.ssh_port
        self._env = _environment(env)
        self._public_keys, self._sizes = public_keys, sizes
        self._state = isolation.RUN / self._cable.device
        self._process: subprocess.Popen[bytes] | None = None
        self._pid, self._space = 0, 0
        self._lock = threading.Lock()
        self._ended = False

    def boot(self) -> None:
        """Bring it up; returns once its sshd answers. Raises OSError with what kept it, and leaves nothing."""
        with self._lock:
            if self._ended:
                raise OSError(f"machine {self.name}: expected to boot, found it ended meanwhile")
            try:
                self._boot()
            except BaseException:
                self._end()
                raise

    def _boot(self) -> None:
        self._state.mkdir(parents=True, mode=0o700)
        write_files(self._state, self.name, self.host, self.port, self._env, self._public_keys)
        _make_host_key(self._state / "files" / "host_key")
        boot, log = self._state / "boot.sh", self._state / "boot.log"
        boot.write_text(script(self._state, self.name, self._sizes))
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                ["unshare", *NAMESPACES, "bash", str(boot)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
            )
        if not self._says_booted():
            raise OSError(f"machine {self.name}: its set-up failed: {log.read_text().strip()[-300:]}")
        self._pid = int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0])
        # Held open: the kernel gives the number of a namespace that is gone to the next one.
        held = os.open(f"/proc/{self._pid}/ns/pid", os.O_RDONLY)
        weakref.finalize(self, os.close, held)
        self._space = os.fstat(held).st_ino
        self._bridge.plug(self._cable, self._pid)
        self.serve_ssh()

    def _says_booted(self) -> bool:
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as said:
            ready, _, _ = select.select([said], [], [], BOOT_S)
            return bool(ready) and said.readline().decode().strip() == BOOTED

    def run(self, command: str, *, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run a bash command in it as root, beside SSH."""
        return subprocess.run(
            [*self._enter, "bash", "-c", f"cd\n{command}"],
            check=False,
            env=self._env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self._pid), "--mount", "--net", "--pid", "--ipc", "--uts"]

    def must(self, command: str) -> str:
        """Likewise; gives stdout. Raises OSError where it fails."""
        done = self.run(command)
        if done.returncode:
            raise OSError(f"machine {self.name}: {command}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def begin(self, onstart: str) -> None:
        """Run the start script, as Vast.ai does: by bash in the home, without waiting for it."""
        self.path(isolation.home() / ONSTART).write_text(onstart)
        self.must(f"setsid nohup bash ~/{ONSTART} > {ONSTART_LOG} 2>&1 < /dev/null &")

    def path(self, inside: Path) -> Path:
        """Where the outer namespace sees a file or folder of this machine."""
        return Path(f"/proc/{self._pid}/root") / inside.relative_to("/")

    def serve_ssh(self) -> None:
        """Start sshd with the present host key; returns once it answers."""
        self.must(f"{program('sshd')} -f {INSIDE}/sshd_config -E {SSHD_LOG}")
        until = time.monotonic() + BOOT_S
        while not self.answers():
            if time.monotonic() > until:
                raise OSError(f"machine {self.name}: sshd does not answer: {self.must(f'tail -n 3 {SSHD_LOG}')}")
            time.sleep(0.02)

    def answers(self, timeout_s: float = 1.0) -> bool:
        """Whether its sshd greets who connects, within so many seconds."""
        try:
            with socket.create_connection((self.host, self.port), timeout_s) as connection:
                connection.settimeout(timeout_s)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def make_host_key(self) -> None:
        """Another host key, which sshd shows once it is started anew."""
        _make_host_key(self._state / "new_key")
        shutil.copy(self._state / "new_key", self.path(INSIDE / "host_key"))

    def processes(self) -> dict[int, str]:
        """What runs in it, or still does: pid in the outer namespace -> command line."""
        found: dict[int, str] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if self._space and (entry / "ns" / "pid").stat().st_ino == self._space:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
        return found

    def silence(self) -> None:
        """Its packets are lost from now on, and nobody is told: as with a broken line, or a host without power."""
        self._bridge.silence(self._cable)

    def restore(self) -> None:
        """End a silence."""
        self._bridge.restore(self._cable)

    def stop(self) -> None:
        """End it and everything in it, as when its container is removed; ended is fine."""
        self._ended = True
        with self._lock:
            self._end()

    def kill(self) -> None:
        """End it as a host that loses power: nobody at the other end of a connection is told."""
        self.silence()
        self.stop()

    def _end(self) -> None:
        self._ended = True
        if self._process is None:
            self._bridge.unplug(self._cable)
            return
        if self._process.poll() is None:
            # The first process is the last to go: the kernel ends all others in its namespace before.
            os.kill(self._pid or self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._bridge.unplug(self._cable)
        shutil.rmtree(self._state, ignore_errors=True)


def _environment(env: dict[str, str]) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    own = {"HOME": str(isolation.home()), "USER": "root", "LOGNAME": "root", "SHELL": "/bin/bash"}
    return own | {"PATH": path, "LANG": "C.UTF-8"} | env


def _make_host_key(path: Path) -> None:
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
