"""One instance of the fake: its states by the clock, and what it costs. No calls, no waiting."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from midas_ray.cloud.fake.catalogue import Ask
from midas_ray.cloud.fake.script import Plan, Script

CHARGED_AS_RUNNING = frozenset({"running", "frozen"})
ENDED = frozenset({"exited", "offline", "unknown", "stopped"})
"""States without a machine behind the instance."""


@dataclass(kw_only=True)
class FakeInstance:
    """An instance from its create on; destroyed ones are kept for the books. Times are seconds since the epoch."""

    id: int
    ask: Ask
    label: str
    image: str
    env: dict[str, str]
    onstart: str
    disk_gb: float
    bid: float | None
    plan: Plan
    created_at: float
    provisioned_s: float
    created_s: float
    loading_s: float
    api_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    """Its own: may stop and destroy it, and nothing else (`CONTAINER_API_KEY`)."""
    address: tuple[str, int] | None = None
    """Of its sshd, once its machine is up."""
    up_at: float = 0.0
    """When its machine came up."""
    status: str | None = None
    status_msg: str = ""
    intended: str = "running"
    contract: str = "running"
    """Vast.ai's cur_state: whether it holds the GPUs."""
    destroyed_at: float | None = None
    destroyed_by: str = ""
    """`account` or `instance`: whose key did it."""
    history: list[tuple[float, str | None]] = field(default_factory=list)
    """When it came into which status."""

    def __post_init__(self) -> None:
        self.history.append((self.created_at, None))

    @property
    def gpu_price(self) -> float:
        """$ an hour without the disk."""
        return self.ask.gpu_price if self.bid is None else self.bid

    @property
    def storage_price(self) -> float:
        """$ an hour of its disk."""
        return self.ask.storage_price(self.disk_gb)

    @property
    def due(self) -> float | None:
        """When its status changes next by itself; None where it does not, or waits for its machine."""
        at = self.history[-1][0]
        if self.destroyed_at is not None:
            return None
        if self.status in (None, "created"):
            return at + (self.provisioned_s if self.status is None else self.created_s)
        if self.status == "loading":
            if self.falls_in_place_of_running:
                return at + self.loading_s
            return max(at + self.loading_s, self.up_at) if self.address is not None else None
        if self.status == "running" and self.plan.outcome in ("exits", "offline", "unknown", "outbid"):
            return at + self.plan.after_s
        return None

    @property
    def falls_in_place_of_running(self) -> bool:
        """Whether it is lost before it runs."""
        return self.plan.outcome in ("exits", "offline", "unknown") and self.plan.after_s == 0

    def advance(self, now: float) -> None:
        """Bring it to the status it has at `now`."""
        while (due := self.due) is not None and due <= now:
            if self.status is None:
                self.enter("created", due)
            elif self.status == "created":
                self.enter("loading", due, f"pulling {self.image}")
            elif self.status == "loading" and not self.falls_in_place_of_running:
                self.enter("running", due, f"success, running {self.image}/ssh")
            else:
                self._fall(due)

    def _fall(self, at: float) -> None:
        if self.plan.outcome == "outbid":
            self.enter("stopped", at, "outbid")
            self.contract = "stopped"
        elif self.plan.outcome == "exits":
            self.enter("exited", at, "Error response from daemon: container exited")
        else:
            self.enter(self.plan.outcome, at, "host lost")

    @property
    def wants_machine(self) -> bool:
        """Whether its machine is to be booted now."""
        blank = self.plan.outcome in ("never_starts", "no_ssh") or self.falls_in_place_of_running
        return self.destroyed_at is None and self.status == "loading" and self.address is None and not blank

    def enter(self, status: str, at: float, message: str = "") -> None:
        """Put it into a status."""
        self.status, self.status_msg = status, message
        self.history.append((at, status))

    def dollars(self, now: float) -> float:
        """What it has cost until `now`: its disk since the create, its GPUs while it ran; nothing once destroyed."""
        end = now if self.destroyed_at is None else self.destroyed_at
        disk = self.storage_price * max(0.0, end - self.created_at)
        return (disk + self.gpu_price * self.running_s(now)) / 3600

    def running_s(self, now: float) -> float:
        """How long it has run, s."""
        end = now if self.destroyed_at is None else self.destroyed_at
        ends = [*(at for at, _ in self.history[1:]), end]
        spans = zip(self.history, ends, strict=True)
        return sum(max(0.0, until - at) for (at, status), until in spans if status in CHARGED_AS_RUNNING)

    def shown(self) -> dict[str, Any]:
        """The instance as the API shows it."""
        up = self.status == "running" and self.address is not None
        host, port = self.address if up and self.address is not None else ("", 0)
        return {
            "id": self.id,
            "machine_id": self.ask.machine_id,
            "host_id": self.ask.host_id,
            "label": self.label or None,
            "actual_status": self.status,
            "intended_status": self.intended,
            "cur_state": self.contract,
            "next_state": self.contract,
            "status_msg": self.status_msg or None,
            "image_uuid": self.image,
            "image_runtype": "ssh_direct",
            "extra_env": [[name, value] for name, value in self.env.items()],
            "onstart": self.onstart,
            "start_date": self.created_at,
            "end_date": None,
            "gpu_name": self.ask.gpu_name,
            "num_gpus": self.ask.num_gpus,
            "gpu_ram": self.ask.gpu_ram,
            "disk_space": self.disk_gb,
            "dph_base": self.gpu_price,
            "dph_total": self.gpu_price + self.storage_price,
            "storage_total_cost": self.storage_price,
            "is_bid": self.bid is not None,
            "min_bid": self.ask.min_bid,
            "inet_down_cost": self.ask.inet_down_cost,
            "inet_up_cost": self.ask.inet_up_cost,
            "geolocation": self.ask.geolocation,
            "reliability2": self.ask.reliability,
            "public_ipaddr": host or None,
            "ssh_host": host or None,
            "ssh_port": port or None,
            "ports": self._ports(host, port) if up else None,
        }

    def _ports(self, host: str, port: int) -> dict[str, Any]:
        asked = [name.split(":")[-1].split("/")[0] for name in self.env if name.startswith("-p ")]
        mapped = {"22": port} | {number: 40000 + int(number) % 20000 for number in asked if number.isdigit()}
        return {f"{number}/tcp": [{"HostIp": host, "HostPort": str(at)}] for number, at in mapped.items()}

    def record(self, now: float) -> dict[str, Any]:
        """The instance for the books, destroyed or not."""
        return {
            "id": self.id,
            "label": self.label,
            "offer_id": self.ask.id,
            "machine_id": self.ask.machine_id,
            "gpu_name": self.ask.gpu_name,
            "num_gpus": self.ask.num_gpus,
            "is_bid": self.bid is not None,
            "dph_total": self.gpu_price + self.storage_price,
            "status": self.status,
            "outcome": self.plan.outcome,
            "created_at": self.created_at,
            "destroyed_at": self.destroyed_at,
            "destroyed_by": self.destroyed_by,
            "history": [[at, status] for at, status in self.history],
            "running_s": self.running_s(now),
            "dollars": self.dollars(now),
        }


def made(
    number: int, ask: Ask, body: dict[str, Any], bid: float | None, env: dict[str, str], script: Script, now: float
) -> FakeInstance:
    """The instance that a create makes."""
    return FakeInstance(
        id=number,
        ask=ask,
        label=str(body.get("label") or ""),
        image=str(body.get("image")),
        env=env,
        onstart=str(body.get("onstart") or ""),
        disk_gb=float(body.get("disk") or 8.0),
        bid=bid,
        plan=script.next_plan(),
        created_at=now,
        provisioned_s=script.provisioned_s,
        created_s=script.created_s,
        loading_s=script.loading_s,
    )
