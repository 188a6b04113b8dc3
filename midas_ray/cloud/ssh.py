"""Flags of `ssh` for a rented node: one key, its host key pinned at the first contact, dead connections noticed."""

import subprocess
from pathlib import Path

KEEPALIVE_S = 15
KEEPALIVE_MISSES = 8
"""Two minutes: a network that only stalls costs Ray nothing, a connection that is cut fails every call under way."""
CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"
"""What ssh says where a node shows another host key than at the first contact."""


def options(known_hosts: Path, alias: str) -> dict[str, str]:
    """Options of ssh. alias: the name that the host key is kept under; addresses and ports are used again by others."""
    return {
        "StrictHostKeyChecking": "accept-new",
        "UserKnownHostsFile": str(known_hosts),
        "HostKeyAlias": alias,
        "HashKnownHosts": "no",
        "UpdateHostKeys": "no",
        "IdentitiesOnly": "yes",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "ServerAliveInterval": str(KEEPALIVE_S),
        "ServerAliveCountMax": str(KEEPALIVE_MISSES),
        "LogLevel": "ERROR",
    }


def command(key: str, user: str, host: str, port: int, chosen: dict[str, str], *flags: str) -> list[str]:
    """`ssh ... user@host`, to which the remote command is to be added."""
    given = [f"-o{name}={value}" for name, value in chosen.items()]
    return ["ssh", "-i", key, "-p", str(port), *given, *flags, f"{user}@{host}"]


def forget(known_hosts: Path, alias: str) -> None:
    """Take a destroyed node's host key out of the file."""
    if known_hosts.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-R", alias, "-f", str(known_hosts)], check=False, capture_output=True, timeout=10
        )
