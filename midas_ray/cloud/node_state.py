"""What the head remembers of the nodes it rented: one JSON file, changed under a lock, written whole or not at all.

It survives the head's restart, which then goes on with its nodes. Instances that carry this cluster's label and are not
in it are orphans. The labels hold an id only; Ray's tags are here.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from midas_ray.cloud.errors import VastError

ROOT = Path("~/.midas/clusters")
STATUS = "status.json"
"""What a cluster's head says of its nodes, in the cluster's folder: see `publication`. Only a head writes it."""
EXCLUDED_S = 86400.0
"""How long a machine that failed is left out."""


class Node(msgspec.Struct, kw_only=True):
    """A rented instance of this cluster. Times are Unix seconds."""

    instance_id: int
    machine_id: int
    slot: int
    """Its place in the mesh, see `mesh.Ports`."""
    label: str
    tags: dict[str, str]
    node_type: str
    gpu: str
    price_per_hour: float
    created: float
    disk_gb: float = 0.0
    running_since: float | None = None
    seen: bool = False
    """Whether the API has listed it yet."""
    host: str | None = None
    port: int | None = None
    ready: bool = False
    """Whether SSH and the ports have worked."""
    joined: bool = False
    """Whether its Ray has been started."""
    steps: dict[str, float] = {}
    """When each step of its coming up was done: rented, running, ssh, ports, set up."""


class Ending(msgspec.Struct, kw_only=True):
    """An instance that is to be destroyed, until the API no longer lists it."""

    node: Node
    why: str
    asked: float
    done: float | None = None
    """When the API last took the order."""


class State(msgspec.Struct, kw_only=True):
    """All of the file."""

    nodes: dict[str, Node] = {}
    ending: dict[str, Ending] = {}
    renting: dict[str, float] = {}
    """Labels of instances that are being created now, since when."""
    failed_machines: dict[str, float] = {}
    """Until when each is left out."""
    head_tags: dict[str, str] | None = None
    """Ray's tags of a head that is not rented; None where there is none."""
    problems: list[str] = []
    """What last kept a node from being rented or used, newest last."""

    def free_slot(self, slots: range) -> int | None:
        taken = {node.slot for node in self.nodes.values()} | {end.node.slot for end in self.ending.values()}
        return next((slot for slot in slots if slot not in taken), None)

    def excluded(self, now: float) -> frozenset[int]:
        return frozenset(int(machine) for machine, until in self.failed_machines.items() if until > now)


def private_folder(folder: Path) -> None:
    """Make a cluster's folder, which nobody else can look into, nor into the two above it."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in (folder, folder.parent, folder.parent.parent) if folder.parent == ROOT.expanduser() else (folder,):
        each.chmod(0o700)


class StateFile:
    """nodes.json of one cluster. Safe for threads and processes: each change holds the file's lock."""

    def __init__(self, cluster_id: str, root: Path = ROOT) -> None:
        self.folder = root.expanduser() / cluster_id
        private_folder(self.folder)
        self._path = self.folder / "nodes.json"

    def read(self) -> State:
        """Raises VastError where it is not what this writes."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except msgspec.DecodeError as error:
            raise VastError(
                f"{self._path}: expected the cluster's nodes, found: {error}; run ray down, then delete it"
            ) from None

    @contextlib.contextmanager
    def change(self) -> Iterator[State]:
        """The state, to be changed inside the block; written at its end, unless that raises."""
        with (self.folder / "nodes.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self.read()
            before = msgspec.json.encode(state)
            yield state
            after = msgspec.json.encode(state)
            if after == before and self._path.exists():
                return
            temporary = self._path.with_suffix(f".tmp-{os.getpid()}")
            with temporary.open("wb") as file:
                temporary.chmod(0o600)
                file.write(msgspec.json.format(after))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
