"""python -m benchmarks.capture: one collector process against a load server over TLS on loopback, two connections.

20 symbols, each 10 depth messages of 100 levels a second, 2,000 trades a second in all: the collector's share of
a core beside that of a floor (the same sockets, drained and thrown away), the time from arrival to journalled and
applied, and the highest rate held without loss. The server runs in another process.
"""

import asyncio
import itertools
import os
import resource
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import trustme

from benchmarks.rows import Row, Target, finish, parser_of
from midas_ray.capture.arrivals import Arrival, Inbox
from midas_ray.capture.connection import Wiring
from midas_ray.capture.group import Group
from midas_ray.capture.journal import decode_line, read_blocks
from midas_ray.capture.limits import Limits
from midas_ray.capture.link import Link
from midas_ray.capture.rest import RestClient
from midas_ray.capture.watch import Watch
from midas_ray.log import stage_logger
from midas_ray.settings import Collect
from midas_ray.venues import get_venue

NAME = "capture: 20 symbols"
N_SYMBOLS = 20
DEPTH_HZ = 10
LEVELS = 100
TRADES_HZ = 2000
WARM_S = 6.0
SETTLE_S = 2.0
RAMP_S = 6.0
STEPS = (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 16)


class MeasuredGroup(Group):
    """A group that notes how long each frame took from its arrival at the socket until it was handled."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.taken_ms: list[float] = []

    async def _handle(self, item: Any) -> None:
        await super()._handle(item)
        if isinstance(item, Arrival):
            self.taken_ms.append((time.monotonic_ns() - item.mono_ns) / 1e6)


def collect_settings(url: str, folder: str, symbols: list[str]) -> Collect:
    """Depth and trades over two connections; the load server has nothing else."""
    return Collect(
        exchange_url=url,
        data_dir=folder,
        symbols=tuple(symbols),
        connections=2,
        enable_klines=False,
        enable_mark_price=False,
        enable_liquidations=False,
        enable_book_ticker=False,
        enable_open_interest=False,
    )


def make_certificates(folder: Path) -> None:
    """An authority (ca.pem) and the server's certificate (server.pem)."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))


async def start_server(folder: Path) -> tuple[asyncio.subprocess.Process, str]:
    """The load server as a process of its own; gives it and its URL."""
    pem = str(folder / "server.pem")
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "midas_ray.simulate.load", "--symbols", str(N_SYMBOLS), "--depth-hz", str(DEPTH_HZ)),
        *("--levels", str(LEVELS), "--trades", str(TRADES_HZ), "--listen", "127.0.0.1:0"),
        *("--tls-cert", pem, "--tls-key", pem),
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdout is not None
    line = (await server.stdout.readline()).decode()
    return server, line.split()[-1]


async def load(url: str, **rates: float) -> dict[str, Any]:
    """The server's counts, after setting its rates."""
    context = ssl.create_default_context()
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/load", params={name: str(value) for name, value in rates.items()}, ssl=context) as answer,
    ):
        return dict(msgspec.json.decode(await answer.read()))


async def floor_share(url: str, symbols: list[str]) -> tuple[float, float]:
    """(share of a core that the two connections take alone at the nominal rate, frames a second)."""
    settings, venue = collect_settings(url, "x", symbols), get_venue("binance-futures")
    inbox = Inbox()
    log = stage_logger(Path(tempfile.gettempdir()), "collector", "floor")
    wiring = Wiring(venue=venue, inbox=inbox, watch=Watch(), limits=Limits(2400, 300), log=log, exchange_url=url)
    streams = [stream for symbol in symbols for stream in venue.streams(symbol, settings)]
    links = [
        Link(
            *(wiring, "public", streams, letter),
            new_name=lambda letter=letter: f"{letter}-1",
            first_age_s=1e6,
            age_s=1e6,
        )
        for letter in "ab"
    ]
    tasks = [asyncio.create_task(link.run()) for link in links]
    await asyncio.sleep(SETTLE_S)
    start_s, cpu_s, frames = time.monotonic(), time.process_time(), 0
    while time.monotonic() - start_s < WARM_S:
        await inbox.wait(1.0)
        frames += len(inbox.take(1000))
        await asyncio.sleep(0)
    share = (time.process_time() - cpu_s) / (time.monotonic() - start_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return share, frames / WARM_S


async def measure(group: MeasuredGroup, seconds: float) -> tuple[float, float, float, float]:
    """(share of a core, p50, p99, worst ms) over so long."""
    group.taken_ms.clear()
    start_s, cpu_s = time.monotonic(), time.process_time()
    await asyncio.sleep(seconds)
    share = (time.process_time() - cpu_s) / (time.monotonic() - start_s)
    ordered = sorted(group.taken_ms)
    return share, statistics.median(ordered), ordered[len(ordered) * 99 // 100], ordered[-1]


def missing(root: Path, symbols: list[str]) -> int:
    """Trade ids and links of the depth chain that the sealed journals lack."""
    lost = 0
    for symbol in symbols:
        ids: list[int] = []
        last: int | None = None
        for path in sorted((root / "raw").glob(f"venue=*/symbol={symbol}/date=*/[!.]*.jsonl.zst")):
            with path.open("rb") as stream:
                for block in read_blocks(stream, str(path)):
                    for raw in block.splitlines():
                        line = decode_line(raw)
                        if line.kind != "ws" or not line.payload:
                            continue
                        data = msgspec.json.decode(bytes(line.payload)).get("data", {})
                        if data.get("e") == "trade":
                            ids.append(data["t"])
                        elif data.get("e") == "depthUpdate":
                            lost += last is not None and data["pu"] > last
                            last = data["u"]
        ids.sort()
        lost += sum(later - earlier - 1 for earlier, later in itertools.pairwise(ids))
    return lost


async def run(certificates: Path, seconds: float, ramp: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server, url = await start_server(certificates)
        symbols = [f"load{number:02d}usdt" for number in range(N_SYMBOLS)]
        try:
            floor, frames_a_s = await floor_share(url, symbols)
            settings = collect_settings(url, str(folder), symbols)
            async with RestClient(get_venue(settings.venue), url) as rest:
                group = MeasuredGroup(settings, folder, rest, stage_logger(folder, "collector"))
                for symbol in symbols:
                    await group.add(symbol)
                running = asyncio.create_task(group.run(alone=True))
                await group.started.wait()
                rows = await at_nominal_rate(group, url, seconds, floor)
                if ramp:
                    rows.append(await climb(group, url))
                group.stop("the benchmark is over")
                await running
                gaps = sum(capture.recorder.counters.gaps for capture in group.symbols.values())
        finally:
            server.send_signal(signal.SIGTERM)
            await server.wait()
        lost = missing(folder, symbols)
    drained = f"{frames_a_s:,.0f} frames/s drained and thrown away"
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    note = f"gaps told: {gaps}"
    return [
        *rows,
        Row(benchmark=NAME, what="the sockets alone (the floor)", value=100 * floor, unit="% of a core", note=drained),
        Row(
            benchmark=NAME,
            what="missing in the journals",
            value=lost,
            unit="events",
            target=Target(0, "at most"),
            note=note,
        ),
        Row(benchmark=NAME, what="peak memory", value=peak_mb, unit="MB"),
    ]


async def at_nominal_rate(group: MeasuredGroup, url: str, seconds: float, floor: float) -> list[Row]:
    """The collector's share of a core, its delays, and how many books are live at the nominal rate."""
    await asyncio.sleep(WARM_S)
    before = await load(url)
    share, p50, p99, worst = await measure(group, seconds)
    after = await load(url)
    live = sum(health.state == "live" for health in group.healths())
    if live < N_SYMBOLS:
        print(next(health for health in group.healths() if health.state != "live"), file=sys.stderr)
    sent = after["depth_sent"] + after["trades_sent"] - before["depth_sent"] - before["trades_sent"]
    rate = f"{sent / seconds:,.0f} events/s on each of two TLS connections"
    delays = {"p50": p50, "p99": p99, "worst": worst}
    return [
        Row(
            benchmark=NAME,
            what="collector",
            value=100 * share,
            unit="% of a core",
            against="the sockets alone",
            ratio=share / floor,
            note=rate,
        ),
        Row(benchmark=NAME, what="books live", value=live, unit="", target=Target(N_SYMBOLS, "at least")),
        *(
            Row(benchmark=NAME, what=f"arrival to journalled and applied, {name}", value=value, unit="ms")
            for name, value in delays.items()
        ),
    ]


async def climb(group: MeasuredGroup, url: str) -> Row:
    """Raise the rate until the collector falls behind; gives the highest rate held."""
    held = 0.0
    steps = []
    for factor in STEPS:
        before = await load(url, depth_hz=DEPTH_HZ * factor, trades=TRADES_HZ * factor)
        await asyncio.sleep(SETTLE_S)
        before = await load(url)
        share, _, p99, _ = await measure(group, RAMP_S)
        after = await load(url)
        sent = after["depth_sent"] + after["trades_sent"] - before["depth_sent"] - before["trades_sent"]
        behind = group.inbox.paused or len(group.inbox) > 2000 or after["hung_up"] > before["hung_up"] or p99 > 1000
        steps.append(f"x {factor:g}: {100 * share:.0f} % of a core, p99 {p99:.0f} ms")
        if behind:
            break
        held = sent / RAMP_S
    await load(url, depth_hz=DEPTH_HZ, trades=TRADES_HZ)
    await asyncio.sleep(2 * SETTLE_S)
    what = "highest rate held on each of two connections"
    return Row(benchmark=NAME, what=what, value=held, unit="events/s", note="; ".join(steps))


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--no-ramp", action="store_true")
    arguments = parser.parse_args()
    trusted = os.environ.get("SSL_CERT_FILE", "")
    if not trusted.endswith("/ca.pem"):
        # The HTTP client reads it when it is imported: begin again with it.
        with tempfile.TemporaryDirectory() as folder:
            make_certificates(Path(folder))
            environment = os.environ | {"SSL_CERT_FILE": f"{folder}/ca.pem"}
            sys.exit(
                subprocess.run([sys.executable, "-m", "benchmarks.capture", *sys.argv[1:]], env=environment).returncode
            )
    finish(asyncio.run(run(Path(trusted).parent, arguments.seconds, not arguments.no_ramp)), arguments.json)


if __name__ == "__main__":
    main()
