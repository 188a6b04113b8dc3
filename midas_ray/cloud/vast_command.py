"""`midas vast offers`, `cost` and `fake`."""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import msgspec
from rich.console import Console
from rich.table import Table

from midas_ray.cloud.api_key import key_file, read_api_key
from midas_ray.cloud.errors import NoOfferError
from midas_ray.cloud.messages import Offer
from midas_ray.cloud.offers import OfferQuery, rank, relaxations, why_none
from midas_ray.console import out
from midas_ray.errors import UsageError
from midas_ray.settings import Vast

TABLE_WIDTH = 120
"""Columns that the table takes where the terminal is narrower: it is cut by no pipe."""

PATIENCE_S = 15.0
"""How long one call may take where somebody waits for it, s."""


def vast(values: Vast) -> int:
    """Run the action; gives the exit code. Raises MidasError with one line."""
    if find_spec("httpx") is None:
        raise UsageError("midas vast: expected the package httpx, found none; pip install 'midas-ray[cloud]'")
    if values.action == "cost":
        cost: Callable[[Vast], int] = import_module("midas_ray.cloud.cost_command").cost
        return cost(values)
    if values.action == "fake":
        fake: Callable[[Vast], int] = import_module("midas_ray.cloud.fake.command").fake
        return fake(values)
    return _offers(values)


def query_of(values: Vast) -> OfferQuery:
    """What `midas vast offers` asks for."""
    return OfferQuery(
        gpu_names=values.gpu_names,
        num_gpus=values.num_gpus,
        min_gpu_ram_gb=values.min_gpu_ram_gb,
        min_reliability=values.min_reliability,
        min_inet_down_mbps=values.min_inet_down_mbps,
        min_inet_up_mbps=values.min_inet_up_mbps,
        min_cpu_cores=values.min_cpu_cores,
        min_cpu_ram_gb=values.min_cpu_ram_gb,
        min_cuda=values.min_cuda,
        disk_gb=values.disk_gb,
        max_price_per_hour=values.max_price_per_hour,
        max_dollars_per_gb=values.max_dollars_per_gb,
        market=values.market,
        regions=values.regions,
        verified=values.verified,
    )


def _offers(values: Vast) -> int:
    from midas_ray.cloud.client import VastClient  # httpx, of the extra `cloud`, comes with it

    query = query_of(values)
    with VastClient(read_api_key(key_file()), values.vast_url, total_s=PATIENCE_S) as client:
        fitting = rank(client.search(query), query)
        if not fitting:
            raise NoOfferError(why_none([o for wider in relaxations(query) for o in client.search(wider)], query))
    shown = fitting[: values.rows]
    if values.as_json:
        sys.stdout.write(json.dumps([msgspec.structs.asdict(offer) for offer in shown], indent=1) + "\n")
        return 0
    Console(file=out.file, width=max(out.width, TABLE_WIDTH), highlight=False).print(_table(shown))
    rest = f", {len(shown)} of them shown" if len(shown) < len(fitting) else ""
    note = "the least bid that runs now; " if values.market == "bid" else ""
    out.print(f"{len(fitting)} offers fit{rest}; prices: {note}{values.disk_gb:g} GB of disk included")
    return 0


def _table(offers: list[Offer]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("GPU", no_wrap=True)
    for name in ("VRAM", "$/h", "reliability", "down", "up", "$/GB down/up", "cores", "CUDA"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("region", "machine"):
        table.add_column(name, no_wrap=True)
    for offer in offers:
        table.add_row(
            f"{offer.num_gpus} x {offer.gpu_name}" if offer.num_gpus else "no GPU",
            f"{offer.gpu_ram_gb} GB",
            f"{offer.dph_total:.3f}",
            f"{100 * offer.reliability:.2f} %",
            f"{offer.inet_down_mbps:.0f} Mbit/s",
            f"{offer.inet_up_mbps:.0f} Mbit/s",
            f"{offer.inet_down_cost:.3f}/{offer.inet_up_cost:.3f}",
            f"{offer.cpu_cores:.0f}",
            f"{offer.cuda_max_good:.1f}",
            offer.geolocation or "-",
            str(offer.machine_id),
        )
    return table
