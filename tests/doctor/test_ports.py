"""`midas doctor`: ports that are taken, open to others, or that outgoing connections may take."""

import socket
from pathlib import Path

import pytest

from midas_ray.doctor import ports

TABLE = Path("/proc/net/tcp")


def line(address: str, port: int, state: str = "0A") -> str:
    """Of /proc/net/tcp or tcp6."""
    return f"   0: {address}:{port:04X} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 1"


def test_a_port_in_use_is_a_note() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert ports.check_port(port, "x").found == "in use, x"
    assert ports.check_port(port, "x").ok is True


def test_ports_of_a_head_that_are_in_use_are_counted() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        finding = ports.check_head_ports(range(port, port + 1))
    assert finding.found == f"1 in use ({port}), a cluster's head"
    assert finding.ok is None
    assert ports.check_head_ports(range(port, port + 1)).ok is True


def test_what_listens_beyond_loopback_is_named() -> None:
    own = [
        line("0100007F", 8265), line("00000000", 80), line("00000000", 8265, "01"),
        line("0000000000000000FFFF00000100007F", 20100), line("00000000000000000000000001000000", 10001),
    ]  # fmt: skip
    assert ports.check_exposed(own).ok is True
    found = ports.check_exposed([*own, line("00000000", 8265), line("0" * 32, 20107), line("0A00A8C0", 10001)])
    assert found.ok is False
    assert found.found == "8265 on 0.0.0.0, 10001 on 192.168.0.10, 20107 on ::"
    assert ports.check_exposed([line("00000000", 32933)], frozenset({32933})).found == "32933 on 0.0.0.0"


@pytest.mark.skipif(not TABLE.exists(), reason="the kernel's table of sockets is Linux's")
def test_a_socket_of_this_machine_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listening:
        listening.bind(("0.0.0.0", 0))
        listening.listen()
        port = listening.getsockname()[1]
        lines = TABLE.read_text().splitlines()[1:]
    monkeypatch.setattr(ports, "PRIVATE", frozenset({port}))
    assert ports.check_exposed(lines).found == f"{port} on 0.0.0.0"


def test_outgoing_connections_must_not_take_a_clusters_ports() -> None:
    assert ports.check_outgoing("32768\t60999\n", "\n").ok is True
    wide = ports.check_outgoing("1024\t65535\n", "8080,20100-20200\n")
    assert wide.ok is None
    assert "ip_local_reserved_ports=20100-21767" in wide.advice
    assert ports.check_outgoing("1024\t65535\n", "8080,20000-22000\n").ok is True
