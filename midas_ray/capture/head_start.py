"""Starting the head node of a data folder: its ports, its environment, and what it takes over from one that crashed."""

import hashlib
import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec
import yaml

from midas_ray import __version__, ray_token
from midas_ray.capture.head import (
    Autoscaling,
    Head,
    HeadError,
    end_processes,
    forget_head,
    gcs_folder,
    is_raylet,
    pid_path,
    processes,
    ray_environment,
    write_head,
)
from midas_ray.capture.sessions import FOLDER_VARIABLE, SESSION_PREFIX, mark_session, remove_old_sessions
from midas_ray.cloud.mesh import HEAD_SLOT, LOOPBACK, Ports
from midas_ray.errors import UsageError

OBJECT_STORE_BYTES = 256 * 2**20
START_TIMEOUT_S = 120.0
LEAST_PORT = 1024
OF_RAY_UP = ("RAY_CLOUD_INSTANCE_ID", "RAY_NODE_TYPE_NAME", "RAY_OVERRIDE_RESOURCES", "RAY_OVERRIDE_LABELS")
"""What `ray up` says of the head node, in the environment of its start commands."""
RECONNECT_S = "600"
"""How long nodes go on without a head before they end: as long as a restart, or a reboot, may take."""
HEALTH_MISSES = "40"
"""Health checks that a node may miss: two minutes without its connection to the head, eight that only stall. Ray's own
5 took a node for dead after a cut of 15 s, and its raylet then ends itself. The provider sees dead nodes sooner."""


def read_autoscaling(config: str) -> Autoscaling:
    """What a cluster configuration, and the environment that `ray up` made, say of the head. Raises UsageError."""
    path = Path(config).expanduser().absolute()
    try:
        content = yaml.safe_load(path.read_bytes())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise UsageError(f"--autoscaling-config {config}: expected Ray's cluster YAML, found: {reason}") from None
    if not isinstance(content, dict) or "provider" not in content:
        raise UsageError(f"--autoscaling-config {config}: expected Ray's cluster YAML, found no `provider:` in it")
    digest = hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
    environment = {name: os.environ[name] for name in OF_RAY_UP if name in os.environ}
    return Autoscaling(config=str(path), digest=digest, environment=environment)


def versions() -> str:
    """Of what reads a cluster's state: another version may not understand it."""
    python = ".".join(map(str, sys.version_info[:2]))
    return f"python {python}, ray {importlib.metadata.version('ray')}, midas {__version__}"


def taken_over(wanted: Autoscaling | None, before: Autoscaling | None) -> Autoscaling | None:
    """What a head is to be started with: what is asked for now, with what only the one before was told; else that of
    the one before, as its file says now. Raises UsageError where that file is gone."""
    if wanted is None:
        return None if before is None else taken_over(read_autoscaling(before.config), before)
    if before is None or before.config != wanted.config:
        return wanted
    return msgspec.structs.replace(wanted, environment=before.environment | wanted.environment)


def check_port_free(port: int, what: str = "") -> None:
    """Raises UsageError where something listens on `port` of the loopback address."""
    what = what or f"--dashboard-port {port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise UsageError(
                f"{what}: expected a free port, found it taken ({(error.strerror or '').lower()}); choose another one"
            ) from None


def start_head(
    root: Path,
    dashboard_port: int,
    autoscaling: Autoscaling | None = None,
    before: Head | None = None,
    defaults: Mapping[str, str] = MappingProxyType({}),
) -> Head:
    """Start a head node and record it.

    before: a head whose processes have ended, see `_takes_over`. defaults: environment of the jobs that are submitted
    to it. Raises UsageError for a port in use or a token that cannot be used, HeadError where Ray does not come up.
    """
    check_port_free(dashboard_port)
    token_path = str(ray_token.ensure_token()) if ray_token.wanted() else None
    ray_environment()
    ray_token.use_token(token_path)
    command = _command(dashboard_port, autoscaling)
    if before is not None and not _takes_over(before, autoscaling):
        forget_head(root, before)
        before = None
    temp_dir = _session_folder(root, before)
    log_path = root / "logs" / "ray-head.log"
    environment = os.environ | dict(defaults) | _environment(root, temp_dir, autoscaling)
    starter = _launch([*command, "--temp-dir", temp_dir], environment, log_path)
    head = Head(
        gcs_address="",
        dashboard_url=f"http://{LOOPBACK}:{dashboard_port}",
        session_id=starter.pid,
        temp_dir=temp_dir,
        token_path=token_path,
        autoscaling=autoscaling,
        versions=versions(),
    )
    try:
        _wait_until_up(starter, log_path, again=before is not None)
        head = msgspec.structs.replace(head, gcs_address=Path(temp_dir, "ray_current_cluster").read_text().strip())
    except BaseException:
        starter.kill()
        end_processes(head)
        if before is None:
            forget_head(root, head)
        raise
    write_head(root, head)
    _write_pid(root, head)
    return head


def _launch(command: list[str], environment: dict[str, str], log_path: Path) -> subprocess.Popen[bytes]:
    """Begin a session of processes that outlives this one."""
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=environment,
        )


def _wait_until_up(starter: subprocess.Popen[bytes], log_path: Path, again: bool) -> None:
    """Raises HeadError where `ray start` fails, or takes too long. again: with the state of a head before."""
    try:
        code = starter.wait(START_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise HeadError(f"the Ray head node did not start within {START_TIMEOUT_S:.0f} s; see {log_path}") from None
    if code != 0:
        advice = "; midas down makes it forget what it knew" if again else ""
        raise HeadError(f"the Ray head node did not start (exit code {code}); see {log_path}{advice}")


def _takes_over(before: Head, autoscaling: Autoscaling | None) -> bool:
    """Whether a cluster goes on: with its named actors, jobs, uploaded code and the nodes that wait for their head.

    Only one that rents nodes. A head that only collects starts from its plan alone: a state on disk would end it where
    the disk is full, just when its collectors go on in memory.
    """
    return before.autoscaling is not None and autoscaling is not None and before.versions == versions()


def _session_folder(root: Path, before: Head | None) -> str:
    """Ray's session folder: that of the head before, which holds its jobs' logs, without its sockets; else a new one.

    Socket paths have to fit into 107 bytes, so that it lies right under /tmp."""
    if before is not None and Path(before.temp_dir).is_dir():
        for sockets in Path(before.temp_dir).glob("session_*/sockets"):
            shutil.rmtree(sockets)
        return before.temp_dir
    remove_old_sessions(root)
    temp_dir = tempfile.mkdtemp(prefix=SESSION_PREFIX, dir="/tmp")
    mark_session(Path(temp_dir), root)
    return temp_dir


def _command(dashboard_port: int, autoscaling: Autoscaling | None) -> list[str]:
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head"),
        *(_free_ports() if autoscaling is None else _pinned_ports(autoscaling)),
        *("--ray-client-server-port", str(_free_port())),
        *("--dashboard-host", LOOPBACK, "--dashboard-port", str(dashboard_port), "--include-dashboard", "true"),
        *("--object-store-memory", str(OBJECT_STORE_BYTES)),
        *("--disable-usage-stats", "--log-style", "record", "--log-color", "false"),
    ]


def _free_ports() -> list[str]:
    """Any free ports, as other Rays may run on this machine."""
    return [
        *("--node-ip-address", LOOPBACK, "--port", "0"),
        *("--dashboard-agent-listen-port", "0", "--dashboard-agent-grpc-port", "0"),
        *("--runtime-env-agent-port", "0", "--metrics-export-port", "0"),
        # Any free ports for workers: Ray's own range would refuse a dashboard port that lies in it.
        *("--min-worker-port", "0", "--max-worker-port", "0"),
    ]


def _pinned_ports(autoscaling: Autoscaling) -> list[str]:
    """The ports by which other nodes reach the head. Raises UsageError where one is taken."""
    ports = Ports(HEAD_SLOT)
    for port in ports.reached_by_others():
        check_port_free(port, f"port {port} of the head of a cluster")
    return [*ports.start_flags(), f"--port={ports.gcs}", f"--autoscaling-config={autoscaling.config}"]


def _environment(root: Path, temp_dir: str, autoscaling: Autoscaling | None) -> dict[str, str]:
    environment = {
        FOLDER_VARIABLE: temp_dir,
        # A submitted job's `python` is then the one with MIDAS, also where its environment is not activated.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    if autoscaling is None:
        return environment
    return environment | {
        "RAY_gcs_storage": "rocksdb",
        "RAY_gcs_storage_path": str(gcs_folder(root)),
        "RAY_enable_autoscaler_v2": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_gcs_rpc_server_reconnect_timeout_s": RECONNECT_S,
        "RAY_health_check_failure_threshold": HEALTH_MISSES,
        **autoscaling.environment,
    }


def _write_pid(root: Path, head: Head) -> None:
    """For a supervisor: the process that ends when any part of the head does that the collectors need."""
    for process in processes(head):
        if is_raylet(process):
            pid_path(root).write_text(f"{process.pid}\n")


def _free_port() -> int:
    with socket.socket() as probe:
        while True:
            probe.bind((LOOPBACK, 0))
            port: int = probe.getsockname()[1]
            if port >= LEAST_PORT:
                return port
