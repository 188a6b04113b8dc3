"""500 quiet symbols on one head: what `midas up`, `midas status` and the collectors take, beside empty Ray actors.

The exchange is `midas_ray.simulate.load`: it answers for every symbol, and sends each a small depth frame every other
second and a trade every ten. The floors: as many actors that do nothing on such a head, and all the sockets in one
process that throws away what comes.
"""

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, Target
from midas_ray.capture.arrivals import Inbox
from midas_ray.capture.connection import Wiring
from midas_ray.capture.head import Head, processes, read_head
from midas_ray.capture.limits import Limits
from midas_ray.capture.link import Link
from midas_ray.capture.watch import Watch
from midas_ray.log import stage_logger
from midas_ray.settings import Collect
from midas_ray.venues import get_venue

NAME = "cluster: collectors"
DEPTH_HZ = 0.5
LEVELS = 4
TRADES_HZ = 0.1
PER_COLLECTOR = 20
IDLE_S = 30.0
SETTLE_S = 5.0
SNAPSHOT_LIMIT = 50
"""Weight 2: the exchange's limits let 500 symbols start at once. With 1,000 levels, weight 20, they take five minutes,
whatever the collectors do."""
STREAMS = ("--no-enable-klines", "--no-enable-mark-price", "--no-enable-liquidations")
"""What the load server has nothing of."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of all processes that run one actor class: how many, MB of their own memory, processor seconds so far."""

    count: int
    own_mb: float
    processor_s: float


def symbols_of(count: int) -> tuple[str, ...]:
    """The load server's names."""
    return tuple(f"load{number:02d}usdt" for number in range(count))


def usage(head: Head, actor_class: str) -> Usage:
    """What the head's workers of this class use: shared memory counts by its share (PSS)."""
    found = [each for each in processes(head) if "".join(each.cmdline()[:1]).startswith(f"ray::{actor_class}")]
    own_mb = sum(each.memory_full_info().pss for each in found) / 1e6
    return Usage(len(found), own_mb, sum(sum(each.cpu_times()[:2]) for each in found))


def midas(*arguments: str) -> tuple[float, str]:
    """(seconds, output) of a `midas` command, whatever its exit code."""
    before_s = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-m", "midas_ray.cli", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    return time.perf_counter() - before_s, ran.stdout


@contextmanager
def load_server(symbols: int) -> Iterator[str]:
    """Inside the block the quiet exchange runs; gives its URL."""
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "midas_ray.simulate.load", "--symbols", str(symbols)),
            *("--depth-hz", str(DEPTH_HZ), "--levels", str(LEVELS), "--trades", str(TRADES_HZ * symbols)),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield server.stdout.readline().split()[-1]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


async def sockets_alone_share(url: str, symbols: tuple[str, ...]) -> float:
    """Share of a core that two connections for each twenty symbols take in one process, drained and thrown away."""
    venue, inbox = get_venue("binance-futures"), Inbox()
    log = stage_logger(Path(tempfile.gettempdir()), "collector", "floor")
    wiring = Wiring(venue=venue, inbox=inbox, watch=Watch(), limits=Limits(2400, 1000), log=log, exchange_url=url)
    settings = Collect(data_dir="unused", enable_klines=False, enable_mark_price=False, enable_liquidations=False)
    tasks = []
    for first in range(0, len(symbols), PER_COLLECTOR):
        some = symbols[first : first + PER_COLLECTOR]
        streams = [stream for symbol in some for stream in venue.streams(symbol, settings)]
        for letter in "ab":
            link = Link(
                *(wiring, "public", streams, letter),
                new_name=lambda name=f"{letter}-{first}": name,
                first_age_s=1e6,
                age_s=1e6,
            )
            tasks.append(asyncio.create_task(link.run()))
    await asyncio.sleep(SETTLE_S)
    start_s, processor_s = time.monotonic(), time.process_time()
    while time.monotonic() - start_s < IDLE_S:
        await inbox.wait(1.0)
        inbox.take(1000)
        await asyncio.sleep(0)
    share = (time.process_time() - processor_s) / (time.monotonic() - start_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return share


def empty_actors(count: int) -> tuple[float, float]:
    """(seconds, MB of one) of a head and so many actors that do nothing, until all have answered."""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.cluster_empty", folder, str(count)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    told: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return told["seconds"], told["own_mb"]


def measure(count: int) -> list[Row]:
    """Rows of `count` symbols."""
    symbols = symbols_of(count)
    empty_s, empty_mb = empty_actors(-(-count // PER_COLLECTOR))
    with load_server(count) as url, tempfile.TemporaryDirectory() as folder:
        floor = asyncio.run(sockets_alone_share(url, symbols))
        data = ("--data-dir", str(Path(folder, "data")))
        rest = ("--snapshot-limit", str(SNAPSHOT_LIMIT), "--symbols-per-collector", str(PER_COLLECTOR), *STREAMS)
        up_s, said = midas("up", "--symbols", ",".join(symbols), "--exchange-url", url, *data, *rest)
        try:
            head = read_head(Path(folder, "data"))
            if head is None:
                raise RuntimeError(f"midas up started nothing: {said}")
            before, began_s = usage(head, "CollectorActor"), time.monotonic()
            time.sleep(IDLE_S)
            after, idle_s = usage(head, "CollectorActor"), time.monotonic() - began_s
            status_s, answer = midas("status", "--json", *data)
            told = json.loads(answer)
        finally:
            down_s, _ = midas("down", *data)
        version_s, _ = midas("--version")
        files = len(list(Path(folder, "data", "raw").rglob("[!.]*.jsonl.zst")))
    share = (after.processor_s - before.processor_s) / idle_s
    actors = f"{after.count} collectors of {PER_COLLECTOR}"
    return [
        Row(
            benchmark=NAME,
            what=f"midas up until {count} symbols are live",
            value=up_s,
            against=f"a head and {after.count} actors that do nothing",
            ratio=up_s / empty_s,
            note=f"{actors}; midas down {down_s / up_s:.2f} x of it",
        ),
        *_states(count, told, files),
        Row(
            benchmark=NAME,
            what="memory of a collector",
            value=after.own_mb / after.count,
            unit="MB",
            against="an actor that does nothing",
            ratio=after.own_mb / after.count / empty_mb,
            note=f"{after.own_mb / count:.1f} MB a symbol",
        ),
        Row(
            benchmark=NAME,
            what="quiet collectors together",
            value=100 * share,
            unit="% of a core",
            against="all their sockets in one process",
            ratio=share / floor,
            note=f"{100 * share / count:.3f} % of a core a symbol",
        ),
        Row(
            benchmark=NAME,
            what="midas status --json",
            value=status_s,
            against="midas --version",
            ratio=status_s / version_s,
        ),
    ]


def _states(count: int, told: dict[str, Any], files: int) -> list[Row]:
    """What `midas status --json` tells, and what lies on disk afterwards."""
    live = [symbol for symbol in told["symbols"] if symbol["state"] == "live"]
    gaps = sum(symbol["gaps"] for symbol in told["symbols"])
    (limits,) = told["limits"].values()
    used = f"request weight {limits['used_weight']} of {limits['weight_limit']} a minute"
    return [
        Row(benchmark=NAME, what="symbols live", value=len(live), unit="", target=Target(count, "at least")),
        Row(benchmark=NAME, what="gaps", value=gaps, unit="", target=Target(0, "at most")),
        Row(benchmark=NAME, what="files sealed", value=files, unit="", target=Target(count, "at least")),
        Row(
            benchmark=NAME,
            what="connections in 5 minutes",
            value=limits["connections"],
            unit="",
            against="what one address may open",
            ratio=limits["connections"] / limits["connection_limit"],
            target=Target(1.0, "at most"),
            note=used,
        ),
    ]
