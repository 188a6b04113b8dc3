"""A Ray of a head and two workers that reach each other by the head's SSH connections alone, for test_mesh.py."""

import json
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midas_ray.cloud.fake import isolation
from midas_ray.cloud.fake.machine import Machine
from midas_ray.cloud.mesh import HEAD_ADDRESS, WORKER_SLOTS, Ports, forwards
from tests.cluster.rig import Rig, rig, wait_for

TOKEN = isolation.home() / "token"
ENV = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(TOKEN), "RAY_USAGE_STATS_ENABLED": "0"}
KEEP = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0"
"""Keeps Ray on the head from taking this machine's address on the network for 127.0.0.1."""
RAY = f"python {Path(__file__).parents[2] / 'cluster' / 'ray_on_loopback.py'}"
"""`ray` on a worker, with the same effect: there `ray start` refuses KEEP."""
START = "start --num-cpus=1 --object-store-memory=200000000 --disable-usage-stats"
RUNS = "/tmp/runs"
LOOPBACK = re.compile(r"\s(127\.0\.0\.1|\[::ffff:127\.0\.0\.1\]|\[::1\]):\d+\s")
START_S = 120.0


@dataclass(frozen=True)
class Mesh:
    """Machines by slot; the head's is 1."""

    rig: Rig
    machines: dict[int, Machine]

    @property
    def head(self) -> Machine:
        return self.machines[1]

    def link(self, slot: int) -> tuple[int, float]:
        """Open the head's connection to a worker; gives ssh's pid on the head and how long it took, s."""
        worker, began = self.machines[slot], time.monotonic()
        options = ["StrictHostKeyChecking=no", "ExitOnForwardFailure=yes", "LogLevel=ERROR", "ServerAliveInterval=15"]
        flags = " ".join(["-N", *(f"-o{option}" for option in options), *forwards(slot)])
        ssh = f"ssh {flags} -p {worker.port} root@{worker.host}"
        pid = int(self.head.must(f"(exec {ssh}) < /dev/null > link.log 2>&1 & echo $!"))
        last = Ports(max(set(WORKER_SLOTS) - {slot})).workers[-1]
        listens = f"ss -ltnH 'sport = :{last}' | grep -q 127.0.0.1"
        wait_for("the last forward", lambda: worker.run(listens).returncode == 0)
        return pid, time.monotonic() - began

    def start_ray(self, slot: int) -> None:
        place = f"--head --port={Ports(1).gcs}" if slot == 1 else f"--address={HEAD_ADDRESS}"
        resource = f"--resources='{{\"n{slot}\": 1}}'"
        ray = f"{KEEP} ray" if slot == 1 else RAY
        command = f"{ray} {START} {place} {resource} {' '.join(Ports(slot).start_flags())}"
        # Ray gives its own processes 30 s to start, which a busy machine may not keep.
        again = f"{command} || (ray stop --force; {command})"
        self.rig.on(self.machines[slot], again, timeout_s=START_S)

    def listeners(self) -> dict[str, list[str]]:
        """On each machine, where something listens that is neither sshd nor the loopback address."""
        found = {}
        for machine in self.machines.values():
            listening = machine.must("ss -ltnpH").splitlines()
            found[machine.name] = [line for line in listening if not LOOPBACK.search(line) and '"sshd"' not in line]
        return found


class Driver:
    """mesh_driver.py on the head, by ssh."""

    def __init__(self, mesh: Mesh) -> None:
        script = Path(__file__).with_name("mesh_driver.py")
        command = f"{KEEP} python {script} 127.0.0.1:{Ports(1).gcs} 2>driver.log"
        self._process = subprocess.Popen([*mesh.rig.ssh(mesh.head), command], stdin=-1, stdout=-1, text=True)
        self._head = mesh.head

    def __call__(self, name: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"{name}: the driver ended: {self._head.must('tail -n 30 driver.log')}"
        return json.loads(answer)


def _mesh(r: Rig) -> Mesh:
    mesh = Mesh(r, {slot: r.server(f"m{slot}", ENV) for slot in (1, 2, 3)})
    for machine in mesh.machines.values():
        machine.path(TOKEN).write_text("0123456789abcdef" * 4)
        machine.path(TOKEN).chmod(0o600)
    shutil.copy(r.key, mesh.head.path(isolation.home() / ".ssh" / r.key.name))
    return mesh


def mesh() -> dict[str, Any]:
    """Tasks, data, listeners; a silence of 10 s; a connection that is cut for 5 s."""
    with rig() as r:
        m = _mesh(r)
        m.start_ray(1)
        links = {slot: m.link(slot) for slot in (2, 3)}
        m.start_ray(2)
        m.start_ray(3)
        driver = Driver(m)
        found: dict[str, Any] = {"nodes": driver("nodes"), "tasks": driver("tasks"), "count": driver("count")}
        driver("carry", 1, 2, 3)
        found["carried"] = driver("carry", 32, 2, 3)
        found["large"] = driver("carry", 128, 2, 3)
        found["unsafe"] = m.listeners()

        driver("begin", 12, RUNS)
        wait_for("the task", lambda: m.machines[2].run(f"grep run {RUNS}").returncode == 0)
        m.machines[2].silence()
        time.sleep(10)
        m.machines[2].restore()
        found["after silence"] = [driver("end"), m.machines[2].must(f"wc -l < {RUNS}").strip(), driver("count")]

        driver("begin", 3, RUNS)
        m.head.must(f"kill -KILL {links[2][0]}")
        time.sleep(5)
        _, took = m.link(2)
        found["after cut"] = [driver("end"), driver("count"), driver("tasks")]
        found["nodes at last"] = driver("nodes")
        found["link_s"] = [round(seconds, 2) for seconds in (links[2][1], links[3][1], took)]
        return found
