"""What Vast.ai's API says, as types: offers, instances, the account. Own names with units; Vast's names where read.

Fields that we do not know are ignored. One that matters and is missing or of another type is a MalformedAnswerError.
Sources: docs.vast.ai/api-reference (search offers, show instances v1, show user) and the official CLI.
"""

from typing import Any, Literal, TypeVar

import msgspec

from midas_ray.cloud.errors import MalformedAnswerError

Market = Literal["on-demand", "bid"]

NEVER_RECOVERS = frozenset({"exited", "unknown", "offline"})
"""Values of `Instance.actual_status` from which an instance does not come back by itself: destroy it, take another."""

T = TypeVar("T", bound=msgspec.Struct)


class Offer(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={
        "gpu_ram_mb": "gpu_ram",
        "cpu_cores": "cpu_cores_effective",
        "cpu_ram_mb": "cpu_ram",
        "disk_gb": "disk_space",
        "inet_down_mbps": "inet_down",
        "inet_up_mbps": "inet_up",
    },
):
    """A machine, or a part of one, that can be rented now."""

    id: int
    machine_id: int
    host_id: int = 0
    gpu_name: str = ""
    """Empty on a machine without GPUs."""
    num_gpus: int
    gpu_ram_mb: float = 0.0
    """Usable VRAM of one GPU, MB: up to 8 % under its nominal size."""
    cpu_cores: float = 0.0
    """Cores that come with the GPUs rented (a share of the machine's)."""
    cpu_ram_mb: float = 0.0
    disk_gb: float = 0.0
    """The most disk that can be asked for, GB."""
    reliability: float = 0.0
    """Share of the time the machine was up, 0 to 1."""
    dph_total: float
    """$ an hour, the asked disk included, in the market that was searched (bid: at the least bid)."""
    dph_base: float = 0.0
    """$ an hour without the disk."""
    min_bid: float = 0.0
    """Least bid that would run now, $ an hour without the disk."""
    is_bid: bool = False
    """Whether `dph_total` is of the bid market."""
    inet_down_mbps: float = 0.0
    inet_up_mbps: float = 0.0
    inet_down_cost: float = 0.0
    """$ per GB received."""
    inet_up_cost: float = 0.0
    """$ per GB sent."""
    geolocation: str = ""
    """`Texas, US`: place and ISO 3166 country, or the country alone."""
    verified: bool = False
    rentable: bool = True
    direct_port_count: int = 0
    cuda_max_good: float = 0.0
    """Newest CUDA that the driver runs, such as 12.8."""

    @property
    def country(self) -> str:
        """ISO 3166 code at the end of `geolocation`, upper case; empty where the host does not say."""
        return self.geolocation.rsplit(",", 1)[-1].strip().upper()

    @property
    def gpu_ram_gb(self) -> int:
        """Usable VRAM of one GPU, GB."""
        return round(self.gpu_ram_mb / 1024)


class PortOnHost(msgspec.Struct, frozen=True, rename={"host_port": "HostPort"}):
    """Where a port of the container is reached on the host's public address."""

    host_port: int


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """An instance of the account, rented until it is destroyed."""

    id: int
    machine_id: int = 0
    label: str = ""
    actual_status: str | None = None
    """None (being provisioned), created, loading, running, stopped, frozen, exited, rebooting, unknown, offline."""
    intended_status: str | None = None
    """What we asked for: running or stopped."""
    cur_state: str | None = None
    """State of the contract: running, stopped (a bid instance that was outbid), unloaded."""
    status_msg: str = ""
    dph_total: float = 0.0
    """$ an hour while it runs, disk included."""
    start_date: float = 0.0
    """When it was rented, s since the epoch."""
    gpu_name: str = ""
    num_gpus: int = 0
    ssh_host: str = ""
    ssh_port: int = 0
    """Vast's SSH proxy: slower, and there before the direct address is."""
    public_ipaddr: str = ""
    ports: dict[str, list[PortOnHost]] = {}
    """Ports of the container that are mapped, as `22/tcp`."""
    is_bid: bool = False
    geolocation: str = ""
    inet_down_cost: float = 0.0
    """$ per GB received."""
    inet_up_cost: float = 0.0
    """$ per GB sent."""

    @property
    def ssh_address(self) -> tuple[str, int] | None:
        """(host, port) of its sshd: the direct one, else Vast's proxy; None while neither is known."""
        direct = self.ports.get("22/tcp")
        if direct and self.public_ipaddr:
            return self.public_ipaddr.strip(), direct[0].host_port
        if self.ssh_host and self.ssh_port:
            return self.ssh_host, self.ssh_port
        return None

    @property
    def never_recovers(self) -> bool:
        """Whether it is lost: destroy it and rent elsewhere."""
        return self.actual_status in NEVER_RECOVERS

    @property
    def outbid(self) -> bool:
        """Whether it is a bid instance that a higher bid stopped: we want it to run, its contract does not."""
        return self.is_bid and self.intended_status != "stopped" and self.cur_state == "stopped"


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Money of the account; its e-mail address and name are not kept."""

    credit: float
    """$ left to spend."""
    balance: float = 0.0


def read(kind: type[T], raw: object, what: str) -> T:
    """`raw`, decoded JSON, as a `kind`. Raises MalformedAnswerError naming `what` and the field."""
    if not isinstance(raw, dict):
        raise MalformedAnswerError(f"Vast.ai API: {what}: expected an object, found {type(raw).__name__}")
    fields = {name: value for name, value in raw.items() if value is not None}
    if kind is Offer:
        _name_alternatives(fields)
    if kind is Instance:
        fields["ports"] = _mapped(fields.get("ports"))
    try:
        return msgspec.convert(fields, kind, strict=False)
    except msgspec.ValidationError as error:
        raise MalformedAnswerError(f"Vast.ai API: {what}: {error}") from None


def _name_alternatives(offer: dict[str, Any]) -> None:
    """Offers name reliability and verification in one of two ways, by the age of the machine's record."""
    if "reliability" not in offer and "reliability2" in offer:
        offer["reliability"] = offer["reliability2"]
    if "verified" not in offer and "verification" in offer:
        offer["verified"] = offer["verification"] == "verified"
    if "cpu_cores_effective" not in offer and "cpu_cores" in offer:
        offer["cpu_cores_effective"] = offer["cpu_cores"]


def _mapped(ports: object) -> dict[str, Any]:
    """The ports that are mapped to a number. The rest is left out: an instance is listed whatever Docker says of it."""
    found: dict[str, Any] = {}
    for name, places in ports.items() if isinstance(ports, dict) else ():
        first = places[0] if isinstance(places, list) and places else None
        if isinstance(first, dict) and str(first.get("HostPort")).isdecimal():
            found[str(name)] = [{"HostPort": int(first["HostPort"])}]
    return found
