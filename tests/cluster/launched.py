"""A cluster as its user has it, in the outer namespace: `ray up` from a laptop's checkout, jobs, `ray down`."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

from midas_ray.cloud.fake.machine import Machine
from tests.cluster.rig import Rig, wait_for

ROOT = Path(__file__).parents[2]
DASHBOARD_PORT = 18265
CLUSTER = "cluster.yaml"
UP_S, JOB_S, DOWN_S = 240.0, 420.0, 120.0


def _copy_checkout(to: Path) -> None:
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["rsync", "-a", "--from0", "--files-from=-", f"{ROOT}/", str(to)], input=tracked, check=True)


def _change(path: Path, changes: dict[str, Any]) -> None:
    content = yaml.safe_load(path.read_text())
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        section = content
        for name in parents:
            section = section[name]
        section[last] = value
    path.write_text(yaml.safe_dump(content))


class Launched:
    """A laptop (this namespace's home), a head that is a server of the user's, and the fake account."""

    def __init__(
        self,
        rig: Rig,
        head: Machine,
        changes: dict[str, Any] | None = None,
        *,
        folder: str = "checkout",
        yaml_file: str = CLUSTER,
    ) -> None:
        """changes: of the YAML, by dotted path. folder: the checkout's, in the laptop's home."""
        self.rig, self.head, self._yaml = rig, head, yaml_file
        self.checkout = Path.home() / folder
        _copy_checkout(self.checkout)
        small = self._small() if yaml_file == CLUSTER else {}
        _change(self.checkout / yaml_file, small | (changes or {}))
        self._forward: subprocess.Popen[bytes] | None = None

    def _small(self) -> dict[str, Any]:
        """For machines as small as these, and a test's patience."""
        return {
            "provider.head": f"root@{self.head.host}:{self.head.port}",
            "idle_timeout_minutes": 0.1,
            "available_node_types.head.resources": {"CPU": 1},
            "available_node_types.gpu.resources": {"CPU": 0, "GPU": 1},
            "available_node_types.gpu.node_config.min_cpu_cores": 1,
        }

    @property
    def environment(self) -> dict[str, str]:
        """Of the user's shell on the laptop."""
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "VAST_URL": self.rig.fake.url,
            "VAST_API_KEY": self.rig.fake.api_key,
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def run(self, *command: str, timeout_s: float, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command of the user's in the checkout, whatever its exit code; what it says goes to the log too."""
        done = subprocess.run(
            command,
            cwd=self.checkout,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        sys.stderr.write(f"$ {' '.join(command)}\n{done.stdout[-3000:]}\nexit code {done.returncode}\n")
        return done

    def up(self, *flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("ray", "up", "-y", self._yaml, *flags, timeout_s=UP_S, **environment)

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.run("ray", "down", "-y", self._yaml, timeout_s=DOWN_S)

    def on_head(self, command: str, timeout_s: float = 120.0) -> str:
        """What a command says on the head, in a login shell."""
        return self.rig.on(self.head, f"bash -lc '. ~/.bashrc; {command}'", timeout_s=timeout_s)

    def forward_dashboard(self) -> None:
        """As `ray dashboard` does, on a port that is free here."""
        self._forward = subprocess.Popen(
            [*self.rig.ssh(self.head), "-N", f"-L127.0.0.1:{DASHBOARD_PORT}:127.0.0.1:8265"], stdin=subprocess.DEVNULL
        )
        wait_for("the dashboard", self._dashboard_answers)

    def _dashboard_answers(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{DASHBOARD_PORT}/api/version", timeout=2).status_code < 500
        except httpx.HTTPError:
            return False

    def submit(self, *job: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit` from the laptop, with its tail."""
        return self.run(
            *("ray", "job", "submit", "--address", f"http://127.0.0.1:{DASHBOARD_PORT}"),
            *("--runtime-env", "runtime_env.yaml", "--working-dir", ".", "--", "python", *job),
            timeout_s=JOB_S,
            **environment,
        )

    def begin(self, *job: str) -> None:
        """Likewise, and go on at once."""
        done = self.run(
            *("ray", "job", "submit", "--address", f"http://127.0.0.1:{DASHBOARD_PORT}", "--no-wait"),
            *("--runtime-env", "runtime_env.yaml", "--working-dir", ".", "--", "python", *job),
            timeout_s=120,
        )
        assert done.returncode == 0

    def wait_live(self, number: int, timeout_s: float = 180.0) -> float:
        """Until the account has so many instances that are not destroyed; gives the seconds."""
        return wait_for(f"{number} instances", lambda: len(self.rig.fake.live()) == number, timeout_s)

    def status(self) -> dict[str, Any]:
        """What the head says of its nodes."""
        read: dict[str, Any] = yaml.safe_load(self.on_head("cat ~/.midas/clusters/*/status.json"))
        return read

    def close(self) -> None:
        if self._forward is not None:
            self._forward.kill()
            self._forward.wait(10)


def listening_beyond_loopback(rig: Rig, machine: Machine) -> list[str]:
    """Addresses other than loopback's that anything but sshd listens on."""
    lines = rig.on(machine, "ss -H -ltnp").splitlines()
    open_ = [line.split()[3] for line in lines if "sshd" not in line]
    return [address for address in open_ if not address.startswith(("127.", "[::ffff:127.", "[::1]"))]


def now() -> float:
    """Unix seconds."""
    return time.time()
