"""A node dies under a collector: its group goes on on another one, and the groups of other nodes notice nothing.

A real Ray of three nodes, see `ray_nodes`; its own 13 to 16 s to miss a dead node are most of the time this takes.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import polars as pl

from midas_ray.capture.desired import read_plan, write_plan
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import Reconstruct
from midas_ray.simulate.exchange import SimulatedExchange
from midas_ray.storage import Storage
from tests.capture.running import journals, raw_lines

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
ENVIRONMENT["RAY_AUTH_MODE"] = "disabled"
LIMIT_S = 90.0
ANSWER_BYTES = 2**26
SYMBOLS = ("btcusdt", "ethusdt", "solusdt")
VENUE = "binance-futures"
T = TypeVar("T")


class State:
    """What `ray_nodes` answers to `state`."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.healths = {health["symbol"]: health for health in answer["healths"]}
        self._workers = answer["workers"]

    def live(self, *symbols: str) -> bool:
        return all(self.healths[symbol]["state"] == "live" for symbol in symbols)

    def traded(self, symbol: str) -> bool:
        """Whether prints have come: what is lost of a session without any cannot be told by their ids."""
        return bool(self.healths[symbol]["frames_by_kind"].get("trade"))

    def pid(self, symbol: str) -> int:
        return int(self.healths[symbol]["pid"])

    def node(self, symbol: str) -> int:
        """Number of the node that the symbol's collector runs on."""
        return next(int(worker["node"]) for worker in self._workers if worker["pid"] == self.pid(symbol))

    def limits(self) -> list[tuple[int, int]]:
        """(node, process id) of the actor that keeps the exchange's limits."""
        return [
            (worker["node"], worker["pid"]) for worker in self._workers if worker["title"].startswith("ray::Limits")
        ]


class Cluster:
    """The process of `ray_nodes`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, question: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{question}\n".encode())
        return await self.answer()

    async def answer(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            line = await self._process.stdout.readline()
        assert line, "the cluster has ended"
        return json.loads(line)

    async def state(self) -> State:
        return State(await self.ask("state"))

    async def live(self, *symbols: str) -> State:
        """The state once these symbols are live, the first with prints."""

        async def look() -> State | None:
            state = await self.state()
            return state if state.live(*symbols) and state.traded(symbols[0]) else None

        return await _until(look, f"{symbols} live, the first with prints")

    async def live_metrics(self, node: int, *symbols: str) -> dict[str, str]:
        """What each node serves once `node` says that these symbols are live."""

        async def look() -> dict[str, str] | None:
            served: dict[str, str] = await self.ask("metrics")
            return served if all(_says_live(served.get(str(node), ""), symbol) for symbol in symbols) else None

        return await _until(look, f"metrics of {symbols} on node {node}")


def _says_live(text: str, symbol: str) -> bool:
    return any(
        line.startswith("ray_midas_state{")
        and 'state="live"' in line
        and f'symbol="{symbol}"' in line
        and line.endswith(" 1.0")
        for line in text.splitlines()
    )


async def _until(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    end_s = time.monotonic() + LIMIT_S
    while (found := await look()) is None:
        assert time.monotonic() < end_s, f"not within {LIMIT_S} s: {what}"
        await asyncio.sleep(0.3)
    return found


@contextlib.asynccontextmanager
async def _cluster(root: Path) -> AsyncIterator[tuple[Cluster, str]]:
    """A cluster inside the block, and its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.ray_nodes", str(root)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=ANSWER_BYTES,
        env=ENVIRONMENT,
        cwd=REPOSITORY,
    )
    assert process.stdin is not None
    try:
        cluster = Cluster(process)
        yield cluster, (await cluster.answer())["address"]
    finally:
        process.stdin.close()
        await process.wait()


async def _job(address: str, *flags: str) -> None:
    """Run jobs/collect.py to its end."""
    job = await asyncio.create_subprocess_exec(
        *(sys.executable, "jobs/collect.py", *flags), env=ENVIRONMENT | {"RAY_ADDRESS": address}, cwd=REPOSITORY
    )
    async with asyncio.timeout(LIMIT_S):
        assert await job.wait() == 0


def _give(root: Path, symbol: str, beside: str) -> None:
    """Note in the plan, and tell nobody, that `symbol` is to be collected by the group of another."""
    plan = read_plan(root)
    name = str(plan.group_of(beside))
    group = msgspec.structs.replace(plan.groups[name], symbols=(*plan.groups[name].symbols, symbol))
    write_plan(root, msgspec.structs.replace(plan, groups=plan.groups | {name: group}))


def _gaps(root: Path, symbol: str) -> list[dict[str, Any]]:
    """The symbol's rows of the ledger, after a reconstruction."""
    storage, settings = Storage(str(root)), Reconstruct(data_dir=str(root))
    files = raw_files(storage, VENUE, symbol)
    for task in plan_tasks(VENUE, symbol, files, hour_keys(files, settings), {}):
        reconstruct_hours(str(root), task, settings)
    paths = sorted((root / "clean" / "gaps").glob(f"venue=*/symbol={symbol}/**/*.parquet"))
    return [row for path in paths for row in pl.read_parquet(path).rows(named=True)]


def _writers(root: Path, symbol: str) -> list[int]:
    """The processes that wrote the symbol's files, in order."""
    pids = [int(path.name.partition(".")[0].rpartition("-")[2]) for path in journals(root, symbol)]
    return list(dict.fromkeys(pids))


async def test_a_group_goes_on_elsewhere_when_its_node_dies(tmp_path: Path) -> None:
    async with (
        SimulatedExchange(SYMBOLS, seed=4, keep_referee=False) as exchange,
        _cluster(tmp_path) as (cluster, address),
    ):
        flags = ["--data-dir", str(tmp_path), "--exchange-url", exchange.url, "--symbols", "btcusdt,ethusdt"]
        await _job(address, *flags, "--symbols-per-collector", "1")
        before = await cluster.live("btcusdt", "ethusdt")
        lost, left = before.node("btcusdt"), before.node("ethusdt")
        assert {lost, left} == {1, 2}
        assert [node for node, _ in before.limits()] == [0]

        killed_ms = time.time_ns() // 10**6
        assert before.pid("btcusdt") in await cluster.ask(f"kill {lost}")
        _give(tmp_path, "solusdt", beside="btcusdt")
        missing = await cluster.state()
        after = await cluster.live("btcusdt", "solusdt")
        served = await cluster.live_metrics(left, *SYMBOLS)
        assert await cluster.ask("stop") == 0

    assert missing.healths["btcusdt"]["state"] == missing.healths["solusdt"]["state"] == "silent"
    assert "does not answer" in missing.healths["btcusdt"]["error"]
    assert missing.live("ethusdt")
    assert {after.node(symbol) for symbol in SYMBOLS} == {left}
    assert after.pid("btcusdt") == after.pid("solusdt") != before.pid("btcusdt")
    assert after.pid("ethusdt") == before.pid("ethusdt")
    assert (after.healths["ethusdt"]["gaps"], after.healths["ethusdt"]["reconnects"]) == (0, 0)
    assert after.limits() == before.limits()
    assert set(served) == {"0", str(left)}
    _check_archive(tmp_path, before, after, killed_ms)


def _check_archive(root: Path, before: State, after: State, killed_ms: int) -> None:
    """What the lost one left is sealed, the journal goes on in another file, and the time between is `down`."""
    assert not list(root.rglob("*.open"))
    assert _writers(root, "btcusdt") == [before.pid("btcusdt"), after.pid("btcusdt")]
    assert _writers(root, "ethusdt") == [before.pid("ethusdt")]
    assert _writers(root, "solusdt") == [after.pid("solusdt")]
    killed = f"-{before.pid('btcusdt')}."
    left_open = [line for path in journals(root) if killed in path.name for line in raw_lines(path)]
    assert left_open[-1].get("event") != "shutdown"
    gaps = _gaps(root, "btcusdt")
    assert {gap["stream"]: (gap["cause"], gap["fault"]) for gap in gaps} == {
        "depth": ("down", "collector"),
        "trade": ("down", "collector"),
    }
    last_depth_ms = [
        line["payload"]["data"]["T"]
        for line in left_open
        if line["kind"] == "ws" and "@depth" in line["payload"]["stream"]
    ][-1]
    for gap in gaps:
        assert gap["start"].timestamp() * 1000 <= killed_ms < gap["end"].timestamp() * 1000, gap
        if gap["stream"] == "depth":
            assert round(gap["start"].timestamp() * 1000) == last_depth_ms
            assert gap["recovered"]
    assert _gaps(root, "ethusdt") == _gaps(root, "solusdt") == []
