"""What runs behind the fake's instances: nothing at all, or (`namespaces.py`) real sshds in namespaces of their own."""

from typing import Protocol

PUBLIC_KEYS = "FAKE_VAST_PUBLIC_KEYS"
"""In `env` of `start`: the account's public keys, one a line, for root's authorized_keys.
The container itself sees no such variable."""


class Machines(Protocol):
    """The hosts of the fake. Calls for one instance never overlap; those for different ones may."""

    async def start(self, instance_id: int, env: dict[str, str], onstart: str) -> tuple[str, int]:
        """Boot the instance's machine; gives (host, port) of its sshd once that answers, having begun `onstart`.

        `env`: what the create asked for, without `-p` entries, and what Vast.ai puts into a container: `CONTAINER_ID`
        (the instance's id), `CONTAINER_API_KEY` (its own restricted key), `VAST_CONTAINERLABEL` (`C.<id>`); and
        `FAKE_VAST_PUBLIC_KEYS`. `onstart` runs as root after sshd is up and is not waited for. An exception means that
        the instance exits, with its text as `status_msg`.
        """
        ...

    async def stop(self, instance_id: int) -> None:
        """End the machine and everything on it at once, as a dying host does; unknown or ended is fine."""
        ...

    async def close(self) -> None:
        """End every machine and free what they used."""
        ...


class NoMachines:
    """Nothing behind the instances: the API alone. Every sshd is said to be at 127.0.0.1, at a port nobody serves."""

    async def start(self, instance_id: int, env: dict[str, str], onstart: str) -> tuple[str, int]:  # noqa: ARG002
        """An address at once; nothing runs."""
        return "127.0.0.1", 1 + instance_id % 1000

    async def stop(self, instance_id: int) -> None:
        """Nothing to end."""

    async def close(self) -> None:
        """Nothing to free."""
