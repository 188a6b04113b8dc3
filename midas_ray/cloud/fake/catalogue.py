"""The offers of the fake: some forty machines as Vast.ai lists them, the same every time.

Prices, reliability, bandwidth and places are drawn around what the market asked in 2026; from a seed, so that a test
can name the cheapest.
"""

import random
from dataclasses import dataclass
from typing import Any, NamedTuple

HOURS_A_MONTH = 720.0


class Model(NamedTuple):
    """A kind of GPU, and the machines that offer it."""

    name: str
    gpu_ram: float
    """Usable VRAM, MB."""
    compute_cap: int
    """Compute capability x 100."""
    price: float
    """$ an hour of one, about."""
    cores: int
    """CPU cores that come with one."""
    machines: tuple[int, ...]
    """How many GPUs each machine has."""


MODELS = (
    Model("RTX 3060", 12288, 860, 0.065, 6, (1, 1, 1, 2)),
    Model("RTX 3070", 8192, 860, 0.080, 6, (1, 1)),
    Model("RTX 3090", 24576, 860, 0.170, 8, (1, 1, 1, 1, 2, 4)),
    Model("RTX 4070", 12282, 890, 0.120, 8, (1, 1)),
    Model("RTX 4080", 16376, 890, 0.210, 8, (1, 1, 2)),
    Model("RTX 4090", 24564, 890, 0.360, 12, (1, 1, 1, 1, 1, 2, 4, 8)),
    Model("RTX A6000", 49140, 860, 0.480, 12, (1, 1, 2)),
    Model("L40S", 46068, 890, 0.650, 16, (1, 1)),
    Model("A100 PCIE", 40960, 800, 0.720, 16, (1, 1)),
    Model("A100 SXM4", 81920, 800, 0.950, 16, (1, 2, 8)),
    Model("H100 PCIE", 81559, 900, 1.850, 20, (1, 1)),
    Model("H100 SXM", 81559, 900, 2.250, 24, (1, 2, 8)),
)
PLACES = (
    "Texas, US",
    "California, US",
    "Ohio, US",
    "Quebec, CA",
    "Sweden, SE",
    "Germany, DE",
    "Netherlands, NL",
    "Poland, PL",
    "Bulgaria, BG",
    "Japan, JP",
    "Taiwan, TW",
    "Australia, AU",
    "Brazil, BR",
)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """A machine's offer. Prices in $."""

    id: int
    machine_id: int
    host_id: int
    gpu_name: str
    num_gpus: int
    gpu_ram: float
    compute_cap: int
    cpu_cores: int
    cpu_ram: float
    disk_space: float
    reliability: float
    gpu_price: float
    """An hour of all its GPUs, on demand, without the disk."""
    min_bid: float
    storage_cost: float
    """A month of a GB."""
    inet_down: float
    inet_up: float
    inet_down_cost: float
    inet_up_cost: float
    geolocation: str
    verified: bool
    direct_port_count: int
    cuda_max_good: float

    def storage_price(self, disk_gb: float) -> float:
        """$ an hour of so much disk."""
        return self.storage_cost * disk_gb / HOURS_A_MONTH

    def listed(self, *, bid: bool, disk_gb: float, rented: bool) -> dict[str, Any]:
        """The offer as the API lists it, in one market and with so much disk in its price."""
        base = self.min_bid if bid else self.gpu_price
        return {
            "id": self.id,
            "ask_contract_id": self.id,
            "bundle_id": 900000 + self.machine_id,
            "machine_id": self.machine_id,
            "host_id": self.host_id,
            "hosting_type": 1 if self.gpu_ram > 40000 else 0,
            "gpu_name": self.gpu_name,
            "num_gpus": self.num_gpus,
            "gpu_ram": self.gpu_ram,
            "gpu_total_ram": self.gpu_ram * self.num_gpus,
            "gpu_arch": "nvidia",
            "gpu_frac": 1.0,
            "compute_cap": self.compute_cap,
            "cpu_arch": "amd64",
            "cpu_cores": self.cpu_cores,
            "cpu_cores_effective": float(self.cpu_cores),
            "cpu_ram": self.cpu_ram,
            "disk_space": self.disk_space,
            "storage_cost": self.storage_cost,
            "storage_total_cost": self.storage_price(disk_gb),
            "dph_base": base,
            "dph_total": base + self.storage_price(disk_gb),
            "min_bid": self.min_bid,
            "is_bid": bid,
            "inet_down": self.inet_down,
            "inet_up": self.inet_up,
            "inet_down_cost": self.inet_down_cost,
            "inet_up_cost": self.inet_up_cost,
            "geolocation": self.geolocation,
            "verification": "verified" if self.verified else "unverified",
            "reliability": self.reliability,
            "reliability2": self.reliability,
            "rentable": not rented,
            "rented": rented,
            "external": None,
            "static_ip": True,
            "direct_port_count": self.direct_port_count,
            "cuda_max_good": self.cuda_max_good,
            "driver_version": "580.95.05" if self.cuda_max_good >= 12.9 else "550.90.07",
            "duration": 30 * 86400.0,
            "score": 100 / base,
            "webpage": None,
        }


def catalogue(seed: int = 7) -> list[Ask]:
    """Every offer of the fake; `seed` draws their figures."""
    draw = random.Random(seed)
    sizes = [(model, num_gpus) for model in MODELS for num_gpus in model.machines]
    return [_drawn(draw, number, model, num_gpus) for number, (model, num_gpus) in enumerate(sizes)]


def _drawn(draw: random.Random, number: int, model: Model, num_gpus: int) -> Ask:
    gpu_price = round(num_gpus * model.price * draw.uniform(0.82, 1.45), 4)
    big = model.price > 0.6
    return Ask(
        id=20_000_000 + 137 * number,
        machine_id=10_000 + 11 * number,
        host_id=500 + draw.randrange(60),
        gpu_name=model.name,
        num_gpus=num_gpus,
        gpu_ram=model.gpu_ram,
        compute_cap=model.compute_cap,
        cpu_cores=model.cores * num_gpus,
        cpu_ram=1024.0 * num_gpus * draw.choice((32, 48, 64)),
        disk_space=round(draw.uniform(150, 400) * (1 + num_gpus), 1),
        reliability=round(max(0.9, 0.9998 - draw.expovariate(200 if big else 70)), 4),
        gpu_price=gpu_price,
        min_bid=round(gpu_price * draw.uniform(0.35, 0.6), 4),
        storage_cost=round(draw.uniform(0.05, 0.25), 3),
        inet_down=round(draw.uniform(1500, 8000) if big else draw.uniform(80, 1800), 1),
        inet_up=round(draw.uniform(1200, 6000) if big else draw.uniform(40, 900), 1),
        inet_down_cost=draw.choice((0.0, 0.002, 0.005, 0.01, 0.02)),
        inet_up_cost=draw.choice((0.002, 0.005, 0.01, 0.02)),
        geolocation=draw.choice(PLACES),
        verified=draw.random() > 0.15,
        direct_port_count=draw.choice((0, 20, 100, 250)) if draw.random() < 0.4 else 100,
        cuda_max_good=draw.choice((12.4, 12.8, 13.0)),
    )
