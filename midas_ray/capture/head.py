"""The Ray head node that `midas up` starts on this machine for a data folder, and only that one.

Every socket of it listens on loopback only. Other Rays on the machine are left alone: its session has a folder of its
own, and its processes are found as one operating-system session, never by name. What is known of it stands in
DATA_DIR/.midas/head.json. `head_start` starts it.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from midas_ray import ray_token
from midas_ray.errors import MidasError, UsageError
from midas_ray.ray_session import named_job

SEAL_TIMEOUT_S = 20.0
"""How long a collector that did not answer may take to seal its journal after SIGTERM."""
END_TIMEOUT_S = 3.0
"""How long Ray's own processes may take to end after SIGTERM; they hold nothing that is to be kept."""
LONG_RUNNING = {
    "RAY_ROTATION_MAX_BYTES": str(16 * 2**20),
    "RAY_ROTATION_BACKUP_COUNT": "2",
    "RAY_task_events_max_num_task_in_gcs": "10000",
    "RAY_maximum_gcs_dead_worker_cached_count": "100",
    "RAY_maximum_gcs_destroyed_actor_cached_count": "1000",
}
"""Bounds of what Ray keeps, for a head that runs for months: logs, and the past that its dashboard shows."""


class HeadError(MidasError):
    """The head node cannot be started, reached or ended."""


class Autoscaling(msgspec.Struct, frozen=True, kw_only=True):
    """What a head rents nodes by: Ray's configuration file, its content's digest, and what `ray up` says of this node
    in the environment (which a restart by hand or at boot would lack)."""

    config: str
    digest: str
    environment: dict[str, str] = {}


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """A head node.

    session_id: the operating-system session that all its processes share. temp_dir: Ray's session folder, by which its
    processes are told from strangers that got the same session id after a reboot. token_path: file of the token that it
    asks for; None where it asks for none. versions: of what wrote its state. symbols: with their venues, only in what
    an older MIDAS wrote; they are in the plan now, see `desired`.
    """

    gcs_address: str
    dashboard_url: str
    session_id: int
    temp_dir: str
    token_path: str | None = None
    autoscaling: Autoscaling | None = None
    versions: str = ""
    symbols: dict[str, str] = {}


def ray_environment() -> None:
    """Set what the head and everything that joins it must agree on; call before the first `import ray`.

    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 makes Ray keep to the loopback address on Linux too: otherwise `ray start`
    listens on every interface, open to all who reach this machine. The token is another matter, see `token`.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    for name, value in LONG_RUNNING.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def head_lock(root: Path) -> Iterator[None]:
    """Inside the block no other `midas up` or `midas down` changes the head of this data folder."""
    path = root / ".midas" / "head.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _head_path(root: Path) -> Path:
    return root / ".midas" / "head.json"


def pid_path(root: Path) -> Path:
    """Where the id of the head's main process stands."""
    return root / ".midas" / "head.pid"


def gcs_folder(root: Path) -> Path:
    """Where the state of a cluster that rents nodes lies: in the user's state folder (XDG_STATE_HOME).

    Not in the data folder: Ray's control store ends where it cannot write, and a disk full of data must not end it.
    """
    name = hashlib.sha256(str(root).encode()).hexdigest()[:8]
    return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "midas" / f"cluster-{name}"


def read_head(root: Path) -> Head | None:
    """What is recorded of this data folder's head, running or not; None where nothing is."""
    try:
        return msgspec.json.decode(_head_path(root).read_bytes(), type=Head)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.DecodeError as error:
        raise HeadError(f"{_head_path(root)}: expected the record of a head node, found: {error}; delete it") from None


def targets_path(root: Path) -> Path:
    """A name that stays, from head to head, of Ray's list of the metrics ports of all nodes: Prometheus reads it."""
    return root / ".midas" / "metrics-targets.json"


def write_head(root: Path, head: Head) -> None:
    """Record the head of this data folder."""
    path = _head_path(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(head)))
    temporary.replace(path)
    temporary.symlink_to(Path(head.temp_dir) / "prom_metrics_service_discovery.json")
    temporary.replace(targets_path(root))


def processes(head: Head) -> list[Any]:
    """The head's processes (psutil), its workers among them; none where the session is gone."""
    ray_environment()
    ray_token.use_token(head.token_path)
    import ray  # noqa: F401 - puts the psutil it ships on the path
    import psutil  # type: ignore[import-untyped]  # isort: skip

    found, marked = [], False
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == head.session_id:
                found.append(process)
                marked = marked or any(head.temp_dir in argument for argument in process.cmdline())
    return found if marked else []


def is_running(head: Head) -> bool:
    """Whether its processes are there and its control store takes connections."""
    if not any(is_raylet(process) for process in processes(head)):
        return False
    host, _, port = head.gcs_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2.0).close()
    except OSError:
        return False
    return True


def end_processes(head: Head) -> None:
    """End the head's processes. Raises HeadError where one stays.

    Collectors get SIGTERM first, so that their journals are sealed; the raylet before the control store, so that this
    notes the node's end, and does not wait for it after a restart.
    """
    ending = processes(head)
    _end([process for process in ending if _is_collector(process)], SEAL_TIMEOUT_S)
    _end([process for process in ending if is_raylet(process)], END_TIMEOUT_S)
    _end(ending, END_TIMEOUT_S)
    left = processes(head)
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise HeadError(f"the head node's processes did not end: {pids}; end them by hand")


def stop_head(root: Path, head: Head) -> None:
    """End the head's processes, and forget it and all that its cluster knew. Raises HeadError where one stays."""
    end_processes(head)
    forget_head(root, head)


def forget_head(root: Path, head: Head) -> None:
    """Remove what is known of a head whose processes have ended, and all that its cluster knew."""
    shutil.rmtree(head.temp_dir, ignore_errors=True)
    shutil.rmtree(gcs_folder(root), ignore_errors=True)
    pid_path(root).unlink(missing_ok=True)
    targets_path(root).unlink(missing_ok=True)
    _head_path(root).unlink(missing_ok=True)


def is_raylet(process: Any) -> bool:
    """Without it nothing of the head works, and its other processes stay."""
    import psutil

    try:
        return bool(process.name() == "raylet")
    except psutil.Error:
        return False  # it has ended


def _is_collector(process: Any) -> bool:
    """Ray titles a worker that runs an actor `ray::Class` or `ray::Class.method`."""
    import psutil

    try:
        return any(argument.startswith("ray::CollectorActor") for argument in process.cmdline()[:1])
    except psutil.Error:
        return False  # it has ended


def _end(ending: list[Any], timeout_s: float) -> None:
    """SIGTERM, and SIGKILL for those that are still there after a while."""
    import psutil

    for process in ending:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(ending, timeout=timeout_s)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=timeout_s)


def connect(head: Head) -> None:
    """Make this process a driver of the head's cluster. Raises HeadError where it does not answer."""
    ray_environment()
    ray_token.use_token(head.token_path)
    import logging

    import ray

    if ray.is_initialized():
        return
    try:
        ray_token.check_accepted(head.gcs_address, f"the Ray head node at {head.gcs_address}")
        ray.init(
            address=head.gcs_address,
            namespace="midas",
            job_config=named_job(),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except UsageError as error:
        raise HeadError(str(error)) from None
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.AuthenticationError) as error:
        raise HeadError(
            f"the Ray head node at {head.gcs_address} does not answer ({str(error).splitlines()[0]}); "
            "run midas down, then midas up"
        ) from None
