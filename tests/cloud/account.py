"""A Vast.ai account in memory with a clock of its own, for tests of what is decided: `VastClient`'s methods."""

import random
from dataclasses import dataclass, field
from typing import Any

import msgspec

from midas_ray.cloud.errors import CreateUnknownError, OfferGoneError, UnavailableError, VastError
from midas_ray.cloud.messages import Account, Instance, Offer
from midas_ray.cloud.offers import OfferQuery

RUNNING = {"actual_status": "running", "cur_state": "running", "intended_status": "running"}


class Killed(BaseException):
    """The process ends here."""


@dataclass
class AccountInMemory:
    """starts_after: seconds until a new instance runs. broken: calls raise UnavailableError."""

    seed: int = 0
    now: float = 1_800_000_000.0
    starts_after: float = 20.0
    broken: bool = False
    lose_answer_of_create: bool = False
    kill_after_create: bool = False
    gone_offers: int = 0
    n_listings: int = 0
    charged: float = 0.0
    created: int = 0
    machines: dict[int, Instance] = field(default_factory=dict)
    unlisted: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._next = 1000

    def pass_time(self, seconds: float) -> None:
        """The clock goes on, instances come up, dollars go."""
        self.charged += sum(one.dph_total for one in self.machines.values()) * seconds / 3600
        self.now += seconds
        for one in list(self.machines.values()):
            if one.actual_status == "loading" and self.now - one.start_date >= self.starts_after:
                self.set(one.id, **RUNNING)

    def set(self, instance_id: int, **changes: Any) -> None:
        self.machines[instance_id] = msgspec.structs.replace(self.machines[instance_id], **changes)

    def _called(self) -> None:
        if self.broken:
            raise UnavailableError("Vast.ai does not answer")

    def offers(self) -> list[Offer]:
        return [
            Offer(
                id=index, machine_id=100 + index, gpu_name="RTX 4090", num_gpus=1, gpu_ram_mb=24564, cpu_cores=16,
                disk_gb=200, reliability=0.99, dph_total=0.30 + 0.01 * index, min_bid=0.15, inet_down_mbps=900,
                verified=True, direct_port_count=4, cuda_max_good=13.0, geolocation="Texas, US",
            )
            for index in range(8)
        ]  # fmt: skip

    def search(self, _query: OfferQuery, limit: int = 64) -> list[Offer]:
        self._called()
        taken = {one.machine_id for one in self.machines.values()}
        return [offer for offer in self.offers() if offer.machine_id not in taken][:limit]

    def create(self, offer_id: int, *, label: str, bid_price: float | None, onstart: str, **_: Any) -> int:
        self._called()
        assert len(onstart) <= 4048
        assert len(label) <= 60
        if self.gone_offers:
            self.gone_offers -= 1
            raise OfferGoneError("taken")
        offer = self.offers()[offer_id]
        self._next += 1
        self.created += 1
        self.machines[self._next] = Instance(
            id=self._next, machine_id=offer.machine_id, label=label, actual_status="loading", intended_status="running",
            dph_total=bid_price or offer.dph_total, start_date=self.now, gpu_name=offer.gpu_name, num_gpus=1,
            ssh_host="10.0.0.1", ssh_port=2200, is_bid=bid_price is not None,
        )  # fmt: skip
        if self.kill_after_create:
            self.kill_after_create = False
            raise Killed
        if self.lose_answer_of_create:
            self.lose_answer_of_create = False
            raise CreateUnknownError("no answer", label)
        return self._next

    def instances(self) -> list[Instance]:
        self._called()
        self.n_listings += 1
        return [one for one in self.machines.values() if one.id not in self.unlisted]

    def show(self, instance_id: int) -> Instance | None:
        self._called()
        return self.machines.get(instance_id)

    def destroy(self, instance_id: int) -> None:
        self._called()
        if self._random.random() < 0.2:
            raise VastError("busy")
        self.machines.pop(instance_id, None)

    def account(self) -> Account:
        self._called()
        return Account(credit=100 - self.charged)

    def ensure_ssh_key(self, _public_key: str) -> None:
        self._called()
