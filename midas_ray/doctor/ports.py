"""Ports: which are taken, and whether what should be for this machine alone can be reached from outside."""

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from midas_ray.cloud.mesh import HEAD_SLOT, LOOPBACK, WORKER_SLOTS, Ports
from midas_ray.doctor.finding import Finding

PORTS = {8265: "Ray dashboard (midas up --dashboard-port)", 6006: "TensorBoard (--tensorboard-port)"}
RAY_CLIENT = 10001
HEAD = range(Ports(HEAD_SLOT).gcs, Ports(HEAD_SLOT).workers.stop)
MESH = range(HEAD.start, Ports(WORKER_SLOTS[-1]).workers.stop)
"""Of a cluster's head and all its nodes: each has them on loopback, others' through the head's SSH connections."""
PRIVATE = frozenset([8265, RAY_CLIENT, *MESH])
"""Who reaches one of these may run code here."""
RAY_PROCESSES = frozenset(["gcs_server", "raylet"])
LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp."""


def check_ports() -> Iterator[Finding]:
    """The default ports of commands, those of a cluster, and who can reach them."""
    for port, use in PORTS.items():
        yield check_port(port, use)
    yield check_head_ports(HEAD)
    tables = [path for name in ("tcp", "tcp6") if (path := Path(f"/proc/net/{name}")).exists()]
    if tables:
        lines = [line for path in tables for line in path.read_text().splitlines()[1:]]
        yield check_exposed(lines, ports_of_ray())
    limits = [Path(f"/proc/sys/net/ipv4/{name}") for name in ("ip_local_port_range", "ip_local_reserved_ports")]
    if all(path.exists() for path in limits):
        yield check_outgoing(*(path.read_text() for path in limits))


def check_port(port: int, use: str) -> Finding:
    """Whether a command's default port is free; a taken one is no fault, it may be MIDAS itself."""
    taken = _is_taken(port)
    return Finding(f"port {port}", f"{'in use' if taken else 'free'}, {use}", None if taken else True)


def check_head_ports(ports: range) -> Finding:
    """The ports that a cluster's head has to have."""
    name = f"ports {ports.start}-{ports.stop - 1}"
    taken = [port for port in ports if _is_taken(port)]
    if not taken:
        return Finding(name, "free, a cluster's head (midas up --autoscaling-config)", True)
    first = ", ".join(map(str, taken[:3]))
    found = f"{len(taken)} in use ({first}{', ...' if len(taken) > 3 else ''}), a cluster's head"
    return Finding(name, found, None, "fine where that head runs here; else end what holds them: ss -ltnp")


def ports_of_ray() -> frozenset[int]:
    """Ports that any Ray of this user listens at, whatever started it; of all users for root."""
    import ray  # noqa: F401  # brings psutil along
    import psutil  # type: ignore[import-untyped]  # isort: skip

    found: set[int] = set()
    for process in psutil.process_iter():
        try:
            if process.name() in RAY_PROCESSES or process.name().startswith("ray::"):
                connections = process.net_connections(kind="tcp")
                found |= {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue  # it ended, or is another user's
    return frozenset(found)


def check_exposed(sockets: Iterable[str], of_ray: frozenset[int] = frozenset()) -> Finding:
    """No private port listens on an address that others reach. sockets: lines of /proc/net/tcp and tcp6. of_ray: ports
    that are private beside those of a cluster."""
    listening = (fields[1] for line in sockets if len(fields := line.split()) > 3 and fields[3] == LISTEN)
    private = PRIVATE | of_ray
    open_to_others = sorted(
        {(port, str(address)) for address, port in map(_endpoint, listening) if port in private and not _own(address)}
    )
    if not open_to_others:
        return Finding("exposure", "no port of Ray listens beyond this machine", True)
    found = ", ".join(f"{port} on {address}" for port, address in open_to_others)
    advice = "expected loopback alone, who reaches it may run code here: end it, and start it by midas up or ray up"
    return Finding("exposure", found, False, advice)


def check_outgoing(port_range: str, reserved: str) -> Finding:
    """The system gives outgoing connections no port of a cluster."""
    first, last = map(int, port_range.split())
    overlap = range(max(first, MESH.start), min(last + 1, MESH.stop))
    kept = [_range(text) for text in reserved.strip().split(",") if text]
    if all(any(port in each for each in kept) for port in overlap):
        return Finding("outgoing ports", f"{first}-{last}, none of a cluster's", True)
    advice = f"a cluster needs some of them: sysctl -w net.ipv4.ip_local_reserved_ports={MESH.start}-{MESH.stop - 1}"
    return Finding("outgoing ports", f"{first}-{last}", None, advice)


def _range(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0


def _endpoint(text: str) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]:
    """Address and port as the kernel writes them: words of four bytes, the lowest first."""
    address, _, port = text.partition(":")
    words = bytes.fromhex(address)
    raw = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
    return ipaddress.ip_address(raw), int(port, 16)


def _own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
