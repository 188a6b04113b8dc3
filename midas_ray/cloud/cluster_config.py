"""What `cluster.yaml` may say about Vast.ai: the `provider` section and each node type's `node_config`.

Pure: text of a YAML in, checked values or one line out. Unknown fields are refused: a cap that is misspelt is no cap.
"""

import hashlib
import re
from typing import Any, Literal

import msgspec

from midas_ray.cloud.mesh import MOST_WORKERS, WORKER_PORTS
from midas_ray.errors import UsageError
from midas_ray.setting_values import MAX_DOLLARS_PER_GB

MODULE = "midas_ray.cloud.provider.VastNodeProvider"
LOCAL_HEAD = "localhost"
RENTED_HEAD = "rented"
PLACEHOLDER = "HEAD-ADDRESS"
"""What stands in cluster.yaml until somebody fills it in."""
NEEDED = (
    "cluster_name",
    "max_workers",
    "available_node_types",
    "head_node_type",
    "cluster_synced_files",
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
"""Lines at the top level without which Ray ends in a traceback, or no node ever joins. Some of them Ray reads before
it asks anything of ours: those `midas doctor` alone can name."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
_ADDRESS = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>[^@:\s]+)(?::(?P<port>\d{1,5}))?")


class Caps(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hard limits of what the cluster may rent. All have to be there: none has a default."""

    price_per_hour: float
    """Most dollars an hour of one node, disk included."""
    nodes: int
    """Most rented nodes at once."""
    hours_per_node: float
    """A node is destroyed after this time, whatever it does."""
    total_per_day: float
    """Most dollars of all nodes a UTC day."""

    def __post_init__(self) -> None:
        for name in ("price_per_hour", "hours_per_node", "total_per_day"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}: expected a number above 0, found {getattr(self, name)}")
        if not 0 <= self.nodes <= MOST_WORKERS:
            raise ValueError(f"nodes: expected 0 to {MOST_WORKERS}, found {self.nodes}")


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `provider` section."""

    type: Literal["external"]
    module: str
    head: str
    """`user@host[:port]` of a server, `localhost`, or `rented`: the head itself is an instance."""
    caps: Caps
    start_timeout_minutes: float = 15.0
    """An instance that is not running after this is destroyed, its machine left out for a day."""
    ssh_timeout_minutes: float = 5.0
    """As long may a running instance refuse SSH."""
    dead_man_minutes: float = 15.0
    """A node that did not hear from its head for so long destroys itself."""
    vast_url: str = "https://console.vast.ai"
    data_dir: str = "~/midas-data"
    """DATA_DIR on the head."""
    dashboard_port: int = 8265
    """Of the head, on its loopback address."""
    cluster_id: str = ""
    """Made from the cluster's name and its head; not for the YAML."""
    on_head: bool = False
    """Whether this is the head's own copy; not for the YAML, as what follows."""
    head_node_type: str = ""
    ssh_user: str = "root"
    """On rented nodes."""
    ssh_private_key: str = ""
    ssh_public_key: str = ""
    config_cache_path: str = msgspec.field(default="", name="_config_cache_path")
    """Ray's own."""
    worker_liveness_check: bool = True
    """Ray's own."""


class NodeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The `node_config` of a node type that is rented: what an offer must have."""

    image: str
    gpus: list[str] = []
    """Models as Vast.ai writes them, such as `RTX 4090`; empty = any."""
    num_gpus: int = 1
    min_gpu_ram_gb: float = 0.0
    min_reliability: float = 0.98
    min_inet_down_mbps: float = 100.0
    min_cpu_cores: float = 4.0
    min_cuda: float = 0.0
    disk_gb: float = 40.0
    max_price_per_hour: float | None = None
    """Below the cluster's cap; null = that."""
    max_dollars_per_gb: float = MAX_DOLLARS_PER_GB
    """Of traffic, received or sent. No other cap counts it: the account pays for what is moved."""
    market: Literal["on-demand", "bid"] = "on-demand"
    bid_factor: float = 1.2
    """A bid is the offer's least bid times this, and never above the cap."""
    regions: list[str] = []
    """Two-letter countries; empty = anywhere."""
    verified: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.num_gpus <= 8:
            raise ValueError(f"num_gpus: expected 0 to 8, found {self.num_gpus}")
        if not 0 <= self.min_reliability <= 1:
            raise ValueError(f"min_reliability: expected 0 to 1, found {self.min_reliability}")
        if not self.max_dollars_per_gb >= 0:
            raise ValueError(f"max_dollars_per_gb: expected 0 or more, found {self.max_dollars_per_gb}")
        if self.bid_factor < 1:
            raise ValueError(f"bid_factor: expected 1 or more, found {self.bid_factor}")


class HeadAddress(msgspec.Struct, frozen=True):
    """Where a head that is not rented is reached by SSH. user None: `auth.ssh_user`."""

    user: str | None
    host: str
    port: int


def parse_provider(section: dict[str, Any]) -> Provider:
    """Raises UsageError with one line."""
    provider = _converted(section, Provider, "provider")
    if provider.module != MODULE:
        raise UsageError(f"cluster.yaml: provider.module: expected {MODULE}, found {provider.module}")
    head_address(provider)
    return provider


def parse_node_config(node_type: str, section: dict[str, Any]) -> NodeConfig:
    """Raises UsageError with one line."""
    return _converted(section, NodeConfig, f"available_node_types.{node_type}.node_config")


def head_address(provider: Provider) -> HeadAddress | None:
    """None where the head is this machine, or rented. Raises UsageError where it is no address."""
    if provider.head in {LOCAL_HEAD, RENTED_HEAD}:
        return None
    match = _ADDRESS.fullmatch(provider.head)
    if match is None or PLACEHOLDER in provider.head:
        raise UsageError(
            f"cluster.yaml: provider.head: expected user@host, user@host:port, {LOCAL_HEAD} or {RENTED_HEAD}, found "
            f"{provider.head!r}; write where your head is"
        )
    return HeadAddress(match["user"], match["host"], int(match["port"] or 22))


def cluster_id(cluster_name: str, head: str, machine: str) -> str:
    """Such as `midas-3f9a0c21`: the same for everybody with the same YAML, another for every other head.

    machine: what tells this machine from others, for a head on `localhost`. Raises UsageError for a name that does not
    fit into an instance's label.
    """
    if _NAME.fullmatch(cluster_name) is None:
        raise UsageError(
            f"cluster.yaml: cluster_name: expected up to 24 of a-z, 0-9 and -, found {cluster_name!r}; choose another"
        )
    where = f"{head}@{machine}" if head == LOCAL_HEAD else head
    return f"{cluster_name}-{hashlib.sha256(where.encode()).hexdigest()[:8]}"


def check_top_level(config: dict[str, Any]) -> None:
    """What Ray has no default for, and what it checks in a traceback of its own. Raises UsageError with one line."""
    for name in NEEDED:
        if config.get(name) is None:
            raise UsageError(
                f"cluster.yaml: {name}: expected at the top level, found none; take the line from MIDAS's cluster.yaml"
            )
    types, head_type = config["available_node_types"], config["head_node_type"]
    if head_type not in types:
        raise UsageError(f"cluster.yaml: head_node_type: expected one of {', '.join(types)}, found {head_type}")
    least = sum(each.get("min_workers", 0) for each in types.values())
    if least > config["max_workers"]:
        raise UsageError(
            f"cluster.yaml: max_workers: expected at least the min_workers of all node types ({least}), found "
            f"{config['max_workers']}"
        )


def check_cluster(config: dict[str, Any]) -> Provider:
    """Check a whole cluster configuration, as far as Ray's own schema does not. Raises UsageError with one line."""
    check_top_level(config)
    provider = parse_provider(config["provider"])
    head_type = config["head_node_type"]
    for name, node_type in config["available_node_types"].items():
        if name == head_type:
            if provider.head == RENTED_HEAD:
                parse_node_config(name, node_type["node_config"])
            elif node_type["node_config"]:
                raise UsageError(
                    f"cluster.yaml: available_node_types.{name}.node_config: expected {{}} for a head that is not "
                    f"rented, found {', '.join(node_type['node_config'])}"
                )
            continue
        wanted = parse_node_config(name, node_type["node_config"])
        _check_resources(name, node_type.get("resources", {}), wanted)
    most = config["max_workers"]
    if most > provider.caps.nodes:
        raise UsageError(
            f"cluster.yaml: max_workers: expected at most provider.caps.nodes ({provider.caps.nodes}), found {most}"
        )
    return provider


def _check_resources(name: str, resources: dict[str, int], wanted: NodeConfig) -> None:
    gpus, cpus = resources.get("GPU", 0), resources.get("CPU", 0)
    where = f"cluster.yaml: available_node_types.{name}.resources"
    if gpus > wanted.num_gpus:
        raise UsageError(f"{where}: GPU: expected node_config.num_gpus ({wanted.num_gpus}) at most, found {gpus}")
    if gpus and cpus:
        raise UsageError(
            f"{where}: CPU: expected 0 beside GPUs, found {cpus}: a task that only wants a core would have a GPU rented"
        )
    most = WORKER_PORTS - 8
    if not gpus and not 1 <= cpus <= most:
        raise UsageError(f"{where}: CPU: expected 1 to {most} (a node has {WORKER_PORTS} ports), found {cpus}")


def _converted(section: Any, kind: Any, where: str) -> Any:
    try:
        return msgspec.convert(section, kind)
    except (msgspec.ValidationError, ValueError) as error:
        said = str(error)
        found = re.fullmatch(r"(.*?) - at `\$(.*)`", said, re.DOTALL)
        reason, place = (found[1], found[2]) if found else (said, "")
        raise UsageError(f"cluster.yaml: {where}{place}: {reason[:1].lower()}{reason[1:]}") from None
