"""What scenarios work with, inside the outer namespace: a key, machines, and ssh to them."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from midas_ray.cloud.fake import FakeHandle, Script, running_fake
from midas_ray.cloud.fake.bridge import HOST
from midas_ray.cloud.fake.machine import Machine
from midas_ray.cloud.fake.namespaces import NamespaceMachines

API_PORT = 8300
WAIT_S = 30.0


@dataclass(frozen=True)
class Rig:
    """A fake Vast.ai with real machines, and a laptop with a key."""

    machines: NamespaceMachines
    fake: FakeHandle
    key: Path
    known_hosts: Path

    @property
    def public_key(self) -> str:
        return self.key.with_suffix(".pub").read_text().strip()

    def server(self, name: str, env: dict[str, str] | None = None) -> Machine:
        """A machine that is no instance and takes the laptop's key."""
        return self.machines.server(name, self.public_key, env)

    def ssh(self, machine: Machine, *, strict: str = "no") -> list[str]:
        """The ssh command to a machine, less the remote command. strict: StrictHostKeyChecking."""
        kept = self.known_hosts if strict != "no" else "/dev/null"
        options = {"StrictHostKeyChecking": strict, "UserKnownHostsFile": str(kept), "LogLevel": "ERROR"}
        flags = [f"-o{name}={value}" for name, value in (options | {"BatchMode": "yes"}).items()]
        return ["ssh", "-i", str(self.key), "-p", str(machine.port), *flags, f"root@{machine.host}"]

    def on(self, machine: Machine, command: str, *, timeout_s: float = 120.0) -> str:
        """What a command says on a machine, by ssh. Raises AssertionError where it fails."""
        done = self.attempt(machine, command, timeout_s=timeout_s)
        assert done.returncode == 0, f"{machine.name}: {command}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def attempt(
        self, machine: Machine, command: str, *, strict: str = "no", timeout_s: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Likewise, whatever its exit code."""
        return subprocess.run(
            [*self.ssh(machine, strict=strict), command],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )


@contextmanager
def rig(script: Script | None = None, machines: NamespaceMachines | None = None) -> Iterator[Rig]:
    """The rig; everything in it ends with the block."""
    folder = Path.home() / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    machines = machines or NamespaceMachines()
    with running_fake(script, machines=machines, host=HOST, port=API_PORT) as fake:
        yield Rig(machines, fake, key, folder / "known_hosts")


def wait_for(what: str, happens: Callable[[], bool], timeout_s: float = WAIT_S) -> float:
    """Wait until it happens; gives how long that took, s. Raises AssertionError."""
    began = time.monotonic()
    while not happens():
        assert time.monotonic() - began < timeout_s, f"expected {what} within {timeout_s:g} s"
        time.sleep(0.05)
    return time.monotonic() - began
