"""Which ports each node of a cluster has on the loopback address, and which of them go through whose SSH connection.

Every Ray node says of itself that it is 127.0.0.1 and differs from the others by its ports alone: node k has those from
20000 + 100 k on. The head is node 1. The head opens one SSH connection to each worker; it carries every other node's
ports to the worker (`-R`) and the worker's to the head (`-L`), so that workers reach each other through the head. Ray
listens on loopback alone for this address; for any other, 127.0.1.k included, it would listen on every interface.
"""

from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
HEAD_SLOT = 1
MOST_WORKERS = 16
WORKER_SLOTS = range(HEAD_SLOT + 1, HEAD_SLOT + 1 + MOST_WORKERS)
WORKER_PORTS = 48
"""Ports for Ray's worker processes on a node, one each: drivers, tasks and actors at the same time."""
_FIRST, _STRIDE, _FIRST_WORKER = 20000, 100, 20


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the node in `slot`, all on 127.0.0.1."""

    slot: int

    def _at(self, offset: int) -> int:
        return _FIRST + _STRIDE * self.slot + offset

    @property
    def gcs(self) -> int:
        """The cluster's control store; of the head alone."""
        return self._at(0)

    @property
    def node_manager(self) -> int:
        return self._at(1)

    @property
    def object_manager(self) -> int:
        return self._at(2)

    @property
    def dashboard_agent_grpc(self) -> int:
        return self._at(3)

    @property
    def dashboard_agent_http(self) -> int:
        return self._at(4)

    @property
    def runtime_env_agent(self) -> int:
        return self._at(5)

    @property
    def metrics(self) -> int:
        return self._at(6)

    @property
    def money(self) -> int:
        """Metrics of what is rented; of the head alone, and for it alone."""
        return self._at(7)

    @property
    def workers(self) -> range:
        return range(self._at(_FIRST_WORKER), self._at(_FIRST_WORKER) + WORKER_PORTS)

    def reached_by_others(self) -> list[int]:
        """Every port that another node may connect to."""
        head = [self.gcs] if self.slot == HEAD_SLOT else []
        service = [self.node_manager, self.object_manager, self.dashboard_agent_grpc, self.dashboard_agent_http]
        return [*head, *service, self.runtime_env_agent, self.metrics, *self.workers]

    def start_flags(self) -> list[str]:
        """Flags of `ray start` for this node, but for `--head --port` or `--address`."""
        return [
            f"--node-ip-address={LOOPBACK}",
            f"--node-manager-port={self.node_manager}",
            f"--object-manager-port={self.object_manager}",
            f"--dashboard-agent-grpc-port={self.dashboard_agent_grpc}",
            f"--dashboard-agent-listen-port={self.dashboard_agent_http}",
            f"--runtime-env-agent-port={self.runtime_env_agent}",
            f"--metrics-export-port={self.metrics}",
            f"--worker-port-list={','.join(map(str, self.workers))}",
        ]


HEAD_ADDRESS = f"[::ffff:{LOOPBACK}]:{Ports(HEAD_SLOT).gcs}"
"""The head's control store, for `ray start --address`. Ray takes the spellings `127.0.0.1` and `localhost` for this
machine's address on the network, where the head does not listen; a name would have gRPC ask a DNS server for it."""


def is_node(address: str, node_manager_port: int) -> bool:
    """Whether a Ray node that says this of itself is one of the mesh."""
    slots = (HEAD_SLOT, *WORKER_SLOTS)
    return address == LOOPBACK and node_manager_port in {Ports(slot).node_manager for slot in slots}


def forwards(slot: int) -> list[str]:
    """What the head's SSH connection to the worker in `slot` carries, as flags of `ssh`.

    All other slots, taken or not: a worker that comes later is then reached without touching this connection.
    """
    own = [f"-L{LOOPBACK}:{port}:{LOOPBACK}:{port}" for port in Ports(slot).reached_by_others()]
    others = [
        f"-R{LOOPBACK}:{port}:{LOOPBACK}:{port}"
        for other in (HEAD_SLOT, *WORKER_SLOTS)
        if other != slot
        for port in Ports(other).reached_by_others()
    ]
    return own + others
