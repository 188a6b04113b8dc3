"""The network between machines: a bridge in the outer namespace, a cable from it to each machine.

Addresses are given out again once a machine is gone, as a host gives out its ports again.
"""

import subprocess
import threading
from dataclasses import dataclass

from midas_ray.errors import UsageError

NAME = "midas0"
HOST = "10.77.0.1"
"""Address of the outer namespace itself: where the fake API listens."""
FIRST, LAST = 10, 250
"""Of the addresses given to machines: the last number."""
LAST_REACHED_PORT = 19_999
"""Below the ports of Ray's nodes, which are to be reached through SSH alone, and those that connections start at."""
SETUP = (
    f"ip link set lo up && ip link add {NAME} type bridge && ip addr add {HOST}/24 dev {NAME} && ip link set {NAME} up"
)
"""Bash: the bridge, in a network namespace that has none."""


@dataclass(frozen=True, slots=True)
class Cable:
    """One machine's place on the bridge."""

    number: int
    device: str
    """Its end in the outer namespace."""

    @property
    def address(self) -> str:
        """The machine's."""
        return f"10.77.0.{self.number}"

    @property
    def ssh_port(self) -> int:
        """Where the machine's sshd listens: not at 22, as on Vast.ai."""
        return 2200 + self.number


def exists() -> bool:
    """Whether this is the outer namespace."""
    return subprocess.run(["ip", "link", "show", NAME], check=False, capture_output=True).returncode == 0


class Bridge:
    """Gives out addresses. Raises UsageError where this network namespace has no bridge (see `outer.py`)."""

    def __init__(self) -> None:
        if not exists():
            raise UsageError(
                f"fake machines: expected the bridge {NAME}, found none; start what needs them by "
                "python -m midas_ray.cloud.fake.outer COMMAND"
            )
        self._lock = threading.Lock()
        self._taken: set[int] = set()
        self._made = 0

    def reserve(self) -> Cable:
        """The lowest address that is free."""
        with self._lock:
            number = next((n for n in range(FIRST, LAST + 1) if n not in self._taken), None)
            if number is None:
                raise UsageError(f"fake machines: expected {LAST - FIRST + 1} at most at a time, found one more")
            self._taken.add(number)
            self._made += 1
            return Cable(number, f"m{self._made}")

    def plug(self, cable: Cable, pid: int) -> None:
        """Connect the network namespace of process `pid`.

        As behind Vast.ai's address translation, the machine is reached at its sshd and at no other port: what else
        would answer finds no way out. It reaches others at ports up to LAST_REACHED_PORT.
        """
        # The same address has the same MAC always: a neighbour that knew the machine before needs not ask anew.
        _ip(f"link add {cable.device} type veth peer name eth0 address 02:4d:49:44:00:{cable.number:02x} netns {pid}")
        _ip(f"link set {cable.device} master {NAME} up")
        inside = [
            "link set lo up",
            f"addr add {cable.address}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {HOST}",
            f"rule add pref 100 ipproto tcp sport {cable.ssh_port} lookup main",
            f"rule add pref 101 ipproto tcp dport 1-{LAST_REACHED_PORT} lookup main",
            "rule add pref 102 iif lo ipproto tcp prohibit",
        ]
        for command in inside:
            _run(["nsenter", "--target", str(pid), "--net", "ip", *command.split()])

    def silence(self, cable: Cable) -> None:
        """Nothing goes through any more, and nobody is told: packets are lost until `restore`."""
        _ip(f"link set {cable.device} down")

    def restore(self, cable: Cable) -> None:
        """End a silence."""
        _ip(f"link set {cable.device} up")

    def unplug(self, cable: Cable) -> None:
        """Take the cable away; its address is free again."""
        subprocess.run(["ip", "link", "del", cable.device], check=False, capture_output=True)
        with self._lock:
            self._taken.discard(cable.number)


def _ip(command: str) -> None:
    _run(["ip", *command.split()])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
