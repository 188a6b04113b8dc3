"""The processes of a soak: the simulated exchange with its faults, the collector that is killed and started again.

Every process is a child in its own session, ended by its id, and everything has a time limit.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from midas_ray.simulate.faults import FaultScript, Mode

MIDAS = str(Path(sys.executable).with_name("midas"))
START_S = 60.0
"""Longest wait for a process to be up."""
END_S = 90.0
"""Longest wait for a process to end in good order."""
QUIET_S = 8.0
"""Time without faults at the end."""
PATIENCE_S = 150.0
"""How much longer than planned the script may take: a fault waits until a connection can be spared."""
SAMPLE_S = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One soak. folder: emptied by the caller. seconds: over which faults and kills are spread."""

    folder: Path
    seed: int = 1
    seconds: float = 600.0
    faults: int = 200
    kills: int = 5
    symbols: tuple[str, ...] = ("btcusdt", "ethusdt", "solusdt")
    mode: Mode = "one-up"
    connections: int = 2

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def truth_dir(self) -> Path:
        return self.folder / "truth"

    def script(self) -> FaultScript:
        """The faults."""
        return FaultScript.random(self.seed, self.faults, self.seconds, self.symbols, mode=self.mode)

    def kill_times_s(self) -> list[float]:
        """Moments of the kills, seconds from the start: one in each equal part of the run, by seed."""
        rng = random.Random(f"kills:{self.seed}")
        part_s = self.seconds / max(self.kills, 1)
        return [(at + 0.2 + 0.7 * rng.random()) * part_s for at in range(self.kills)]


@dataclass(slots=True)
class Life:
    """One process of the collector: wall clock in ms; rss: (seconds since its start, MB)."""

    started_ms: int
    ended_ms: int = 0
    exit_code: int | None = None
    killed: bool = False
    rss: list[tuple[float, float]] = field(default_factory=list)

    def growth(self, after_s: float) -> tuple[float, float] | None:
        """(MB a minute by least squares, MB at the end) from `after_s` on; None of a life that is too short for it."""
        rows = [row for row in self.rss if row[0] >= after_s]
        if len(rows) < 20:
            return None
        mean_s, mean_mb = (sum(row[part] for row in rows) / len(rows) for part in (0, 1))
        spread = sum((s - mean_s) ** 2 for s, _ in rows)
        slope = sum((s - mean_s) * (mb - mean_mb) for s, mb in rows) / spread
        return 60 * slope, rows[-1][1]


@dataclass(slots=True)
class Course:
    """What happened to the processes. offset_ms: the exchange's clock less this machine's."""

    offset_ms: int = 0
    lives: list[Life] = field(default_factory=list)
    exchange_exit: int | None = None


def now_ms() -> int:
    """This machine's clock."""
    return time.time_ns() // 10**6


def environment() -> dict[str, str]:
    """The caller's environment without settings of MIDAS."""
    ours = ("SYMBOL", "SYMBOLS", "DATA_DIR", "EXCHANGE_URL", "VENUE", "CONNECTIONS", "RAY_ADDRESS")
    return {name: value for name, value in os.environ.items() if name not in ours}


@contextlib.asynccontextmanager
async def process(log: Path, *arguments: str, pipe: bool = False) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child whose output is appended to `log` (or stdout to a pipe); killed if it still runs at the end."""
    with log.open("ab") as output:
        child = await asyncio.create_subprocess_exec(
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if pipe else output,
            stderr=output,
            env=environment(),
            start_new_session=True,
        )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


async def ended(child: asyncio.subprocess.Process, number: signal.Signals, limit_s: float = END_S) -> int:
    """Signal a child and wait for its end. Raises TimeoutError."""
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)
    async with asyncio.timeout(limit_s):
        return await child.wait()


async def midas(log: Path, *arguments: str, limit_s: float = 600.0) -> int:
    """Run a command of MIDAS to its end; gives its exit code. Raises TimeoutError."""
    async with process(log, MIDAS, *arguments) as child, asyncio.timeout(limit_s):
        return await child.wait()


async def listening_url(child: asyncio.subprocess.Process) -> str:
    """The address that `midas simulate` prints. Raises RuntimeError where it ends without one, TimeoutError."""
    if child.stdout is None:
        raise RuntimeError("expected a pipe")
    async with asyncio.timeout(START_S):
        async for line in child.stdout:
            if line.startswith(b"listening on "):
                return line.split()[2].decode()
    raise RuntimeError("midas simulate ended before it listened; see its log")


def rss_mb(pid: int) -> float | None:
    """Resident memory of a process; None where it has gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def run(plan: Plan) -> Course:
    """The whole capture: exchange up, collector up, killed at its moments, ended by SIGTERM; then the exchange."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    script, course = plan.script(), Course()
    script.save(plan.folder / "faults.jsonl")
    serve = [MIDAS, "simulate", "--listen", "127.0.0.1:0", "--symbols", ",".join(plan.symbols)]
    serve += ["--seed", str(plan.seed), "--truth", str(plan.truth_dir), "--faults", str(plan.folder / "faults.jsonl")]
    async with process(plan.folder / "exchange.log", *serve, pipe=True) as exchange:
        url = await listening_url(exchange)
        course.offset_ms = await asyncio.to_thread(exchange_offset_ms, url)
        start_s = time.monotonic()
        kills = [start_s + at_s for at_s in plan.kill_times_s()]
        over = asyncio.create_task(_faults_over(plan, len(script.faults), start_s + max(plan.seconds, script.needs_s)))
        await _collect(plan, url, kills, over, course)
        course.exchange_exit = await ended(exchange, signal.SIGTERM)
    return course


def exchange_offset_ms(url: str) -> int:
    """The exchange's clock less this machine's: its markets were made before it began to serve."""
    with urllib.request.urlopen(f"{url}/fapi/v1/time", timeout=START_S) as answer:
        return int(msgspec.json.decode(answer.read())["serverTime"]) - now_ms()


async def _faults_over(plan: Plan, count: int, planned_s: float) -> None:
    """Returns a little after every fault has ended or was skipped, or when it takes too long."""
    await asyncio.sleep(max(planned_s - time.monotonic(), 0.0))
    log = plan.truth_dir / "faults.jsonl"
    while time.monotonic() < planned_s + PATIENCE_S:
        actions = [msgspec.json.decode(line)["action"] for line in log.read_bytes().splitlines()]
        if sum(action in ("end", "skipped") for action in actions) >= count:
            break
        await asyncio.sleep(SAMPLE_S)
    await asyncio.sleep(QUIET_S)


async def _collect(plan: Plan, url: str, kills: Sequence[float], over: asyncio.Task[None], course: Course) -> None:
    """Collectors one after the other, each started as soon as the last has ended, until `over`."""
    flags = ["--data-dir", str(plan.data_dir), "--exchange-url", url, "--symbols", ",".join(plan.symbols)]
    flags += ["--connections", str(plan.connections)]
    waiting = list(kills)
    while not over.done():
        life = Life(now_ms())
        course.lives.append(life)
        async with process(plan.folder / "collector.log", MIDAS, "collect", *flags) as collector:
            await _watch(collector, waiting[0] if waiting else None, over, life)
            if collector.returncode is not None:  # refused at its start: as a supervisor, try again
                life.ended_ms, life.exit_code = now_ms(), collector.returncode
                await asyncio.sleep(0.5)
                continue
            life.killed = bool(waiting) and not over.done()
            waiting = waiting[1:]
            life.ended_ms = now_ms()
            life.exit_code = await ended(collector, signal.SIGKILL if life.killed else signal.SIGTERM)
    await over


async def _watch(
    collector: asyncio.subprocess.Process, kill_s: float | None, over: asyncio.Task[None], life: Life
) -> None:
    """Sample the collector's memory until it is to be killed, all is over, or it has ended by itself."""
    started_s = time.monotonic()
    while collector.returncode is None and not over.done():
        now_s = time.monotonic()
        if kill_s is not None and now_s >= kill_s:
            return
        memory_mb = rss_mb(collector.pid)
        if memory_mb is not None:
            life.rss.append((now_s - started_s, memory_mb))
        await asyncio.sleep(SAMPLE_S if kill_s is None else min(SAMPLE_S, kill_s - now_s))
