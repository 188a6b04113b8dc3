"""`midas vast offers`, `cost` and `fake`."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from midas_ray.cloud.api_key import read_api_key
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
    return _fake(values) if values.action == "fake" else _offers(values)


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
        market=values.market,
        regions=values.regions,
        verified=values.verified,
    )


def _offers(values: Vast) -> int:
    from midas_ray.cloud.client import VastClient  # httpx, of the extra `cloud`, comes with it

    query = query_of(values)
    with VastClient(read_api_key(), values.vast_url, total_s=PATIENCE_S) as client:
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
    for name in ("VRAM", "$/h", "reliability", "down", "up", "$/GB down", "cores", "CUDA"):
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
            f"{offer.inet_down_cost:.3f}",
            f"{offer.cpu_cores:.0f}",
            f"{offer.cuda_max_good:.1f}",
            offer.geolocation or "-",
            str(offer.machine_id),
        )
    return table


def _fake(values: Vast) -> int:
    changes = {} if values.fake_script is None else _script_file(values.fake_script)
    asyncio.run(_serve(values.port, changes))
    return 0


def _script_file(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"--fake-script {path}: expected a JSON file, found: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"--fake-script {path}: expected an object, found {type(content).__name__}")
    return content


async def _serve(port: int, changes: dict[str, Any]) -> None:
    from midas_ray.cloud.fake.script import Script
    from midas_ray.cloud.fake.server import FakeVast
    from midas_ray.cloud.fake.world import World

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    world = World(script=Script.realistic())
    async with FakeVast(world, port=port) as fake:
        fake.steer(changes)
        out.print(
            f"fake Vast.ai on {fake.url}: {len(world.asks)} offers, ${world.credit:.2f} of credit; Ctrl-C ends it\n"
            f"use it:    export VAST_URL={fake.url} VAST_API_KEY={fake.api_key}\n"
            f"           midas vast offers\n"
            f"watch it:  curl {fake.url}/fake/calls (and /fake/instances, /fake/account)\n"
            f"steer it:  curl {fake.url}/fake/script -d "
            '\'{"failures": [{"what": "gone", "call": "create"}], "plans": [{"outcome": "never_starts"}]}\''
        )
        out.file.flush()
        await stop.wait()
        out.print(f"{len(world.instances)} instances were made, {len(world.live())} still there; ${world.spent:.4f}")
