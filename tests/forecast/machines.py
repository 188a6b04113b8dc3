"""A head with Ray's own autoscaler, and GPU machines that it brings: namespaces on this machine, without a shared disk.

    python -m tests.forecast.machines ROOT     until its input ends, as process 1 of new net, pid and mount namespaces

The head sees ROOT. A machine has an empty ROOT, home, temporary folder, session folder of Ray and /dev/shm of its own,
and Ray's processes on 127.0.0.1 at the ports of the mesh. It offers one GPU that is none. Ray calls `MachineProvider`,
in the autoscaler's process, to start and to end machines. The file ROOT/no-offers, if there is one, is why none starts.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray  # noqa: F401 - puts the psutil it ships on the path
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from midas_ray.cloud.mesh import HEAD_ADDRESS, HEAD_SLOT, WORKER_SLOTS, Ports
from midas_ray.cloud.said import tell

import psutil  # isort: skip

REPOSITORY = Path(__file__).parents[2]
ADDRESS = f"127.0.0.1:{Ports(HEAD_SLOT).gcs}"
MOST = 2
START_S = 240
LIFE_S = 1500
STORE = f"--object-store-memory={100 * 2**20}"
NEW = ("unshare", "--net", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")
NEW_MACHINE = tuple(word for word in NEW if word != "--net")
_MACHINE = """
for folder in {root} {session} /dev/shm; do mount -t tmpfs -o size=1g tmpfs $folder; done
mkdir -p {root}/home {root}/tmp
export HOME={root}/home TMPDIR={root}/tmp RAY_CLOUD_INSTANCE_ID={id} RAY_NODE_TYPE_NAME=gpu
cd {root}
exec ray start --address={head} {flags} --num-cpus=0 --num-gpus=1 --temp-dir={session} {store} --block
"""


class MachineProvider(NodeProvider):
    """What the autoscaler asks."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._root, self._session = Path(provider_config["root"]), provider_config["session"]
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        head = {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: "head"}
        self._tags = {"head": {**head, TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE}}

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        for machine in [machine for machine, process in self._running.items() if process.poll() is not None]:
            self._forget(machine)
        return [
            machine
            for machine, tags in self._tags.items()
            if all(tags.get(name) == value for name, value in tag_filters.items())
        ]

    def is_running(self, node_id: str) -> bool:
        return node_id in self._tags

    def is_terminated(self, node_id: str) -> bool:
        return node_id not in self._tags

    def node_tags(self, node_id: str) -> dict[str, str]:
        return dict(self._tags.get(node_id, {}))

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        self._tags[node_id].update(tags)

    def internal_ip(self, node_id: str) -> str:
        return f"{node_id}.invalid"

    external_ip = internal_ip

    def create_node(self, _node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        no_offers = self._root / "no-offers"
        if no_offers.exists():
            status = json.dumps({"nodes": [], "problems": [no_offers.read_text()]}).encode()
            tell(status)
            raise NodeLaunchException("no offer", no_offers.read_text(), None)
        for _ in range(count):
            number = len(list((self._root / "machines").iterdir())) % len(WORKER_SLOTS)
            machine = f"machine-{number}"
            script = _MACHINE.format(
                root=self._root, session=self._session, id=machine, head=HEAD_ADDRESS,
                flags=" ".join(Ports(WORKER_SLOTS[number]).start_flags()), store=STORE,
            )  # fmt: skip
            with (self._root / "machines" / machine).open("wb") as log:
                self._running[machine] = subprocess.Popen([*NEW_MACHINE, "sh", "-ec", script], stdout=log, stderr=log)
            self._tags[machine] = dict(tags)
        return {}

    def create_node_with_resources_and_labels(
        self, node_config: dict[str, Any], tags: dict[str, str], count: int, *_: Any
    ) -> dict[str, Any]:
        return self.create_node(node_config, tags, count)

    def terminate_node(self, node_id: str) -> None:
        self._running[node_id].kill()
        self._running[node_id].wait()
        self._forget(node_id)

    def _forget(self, machine: str) -> None:
        del self._running[machine]
        del self._tags[machine]


def _config(root: Path, session: str) -> dict[str, Any]:
    """What `ray start --head --autoscaling-config` reads."""
    lists = (
        "cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands", "setup_commands",
        "head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
    )  # fmt: skip
    return {
        "cluster_name": "machines",
        "max_workers": MOST,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 10,
        "provider": {
            "type": "external",
            "module": f"{__spec__.name}.MachineProvider",
            "disable_node_updaters": True,
            "root": str(root),
            "session": session,
        },
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 1}, "node_config": {}, "max_workers": 0},
            "gpu": {"resources": {"CPU": 0, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": MOST},
        },
        **{name: [] for name in lists},
    }


def main(root: Path) -> None:
    """Start the head and live until the input ends."""
    session = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # a socket's path has to be short
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    hosts = root / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    (root / "machines").mkdir()
    config = root / "autoscaler.json"
    config.write_text(json.dumps(_config(root, session)))
    ports = Ports(HEAD_SLOT)
    command = [
        "ray", "start", "--head", f"--port={ports.gcs}", *ports.start_flags(), "--num-cpus=1", "--num-gpus=0", STORE,
        "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={session}", f"--autoscaling-config={config}",
    ]  # fmt: skip
    try:
        with (root / "head.log").open("wb") as log:
            subprocess.run(command, stdout=log, stderr=log, check=True)
        print("started", flush=True)
        sys.stdin.read()
    finally:
        subprocess.run(["rm", "-rf", session], check=False)


class Machines:
    """The head and its machines, from outside."""

    def __init__(self, root: Path, pid: int) -> None:
        self.root, self._pid = root, pid

    def start(self, *arguments: str, module: str = "midas_ray.cli", **options: Any) -> subprocess.Popen[str]:
        """A command beside the head, in ROOT."""
        enter = ["nsenter", f"--target={self._pid}", "--net", "--pid", "--mount", f"--wd={self.root}"]
        return subprocess.Popen([*enter, sys.executable, "-m", module, *arguments], env=environment(), **options)

    def run(self, *arguments: str, timeout_s: float, module: str = "midas_ray.cli") -> tuple[int, str, str]:
        """Exit code, standard output and error of a command on the head, `midas` for the most part."""
        piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with self.start(*arguments, module=module, **piped) as process:
            try:
                out, err = process.communicate(timeout=timeout_s)
            except BaseException:
                process.kill()
                raise
        return process.returncode, out, err

    def mount(self, *command: str) -> None:
        """A command that mounts or unmounts something on the head."""
        subprocess.run(["nsenter", f"--target={self._pid}", "--mount", *command], check=True)

    def named(self, module: str) -> list[psutil.Process]:
        """The commands of this module that run on the head."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if module in process.cmdline() and process.environ().get("RAY_CLOUD_INSTANCE_ID") == "head":
                    found.append(process)
        return [process for process in found if process.name() != "nsenter"]

    def alive(self) -> list[psutil.Process]:
        """Process 1 of every machine."""
        found = []
        for process in psutil.Process(self._pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.name() == "unshare":
                    found += process.children()
        return found

    def kill_all(self) -> None:
        """As by a lack of power: with process 1 of a pid namespace all others in it die."""
        for process in self.alive():
            process.kill()


def environment() -> dict[str, str]:
    """Of everything that runs on the head or a machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": "head",
        "RAY_NODE_TYPE_NAME": "head",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_failure_threshold": "3",
    }


def require_namespaces() -> None:
    """Skip, saying why, where namespaces or mounts are not permitted."""
    tried = subprocess.run(
        [*NEW, "sh", "-ec", "ip link set lo up; mount -t tmpfs tmpfs /mnt; nsenter --version"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode:
        pytest.skip(f"namespaces with mounts are not permitted here: {tried.stderr.strip()[:200]}")


@contextlib.contextmanager
def machines(root: Path) -> Iterator[Machines]:
    """A running head inside the block; everything ends with it."""
    require_namespaces()
    limited = ["timeout", "--signal=KILL", str(LIFE_S), *NEW, sys.executable, "-m", __name__, str(root)]
    with subprocess.Popen(
        limited, env=environment(), cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "started\n", (root / "head.log").read_text()
            (unshare,) = psutil.Process(process.pid).children()
            (first,) = unshare.children()
            yield Machines(root, first.pid)
        finally:
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()


def wait_for(condition: Any, seconds: float) -> None:
    """Raises AssertionError where it does not come true in time."""
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {seconds} s"
        time.sleep(0.05)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
