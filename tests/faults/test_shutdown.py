"""However the collector is told to end: every frame that it has received is on disk, whole files, exit code 0."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from midas_ray.capture.claim import check_unclaimed, claim_symbol
from midas_ray.capture.head import processes, read_head
from midas_ray.errors import UsageError
from tests.capture.running import MIDAS, PLAIN_ENVIRONMENT, journals, raw_lines, until
from tests.faults.witness import WitnessExchange

FRAMES = 600
CLAIMED = "binance-futures", "btcusdt"
LIMIT_S = 90.0


@pytest_asyncio.fixture
async def exchange() -> AsyncIterator[WitnessExchange]:
    async with WitnessExchange() as running:
        yield running


async def _midas(*arguments: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(MIDAS, *arguments, stdout=pipe, stderr=pipe, env=PLAIN_ENVIRONMENT)


async def _ended(process: asyncio.subprocess.Process) -> tuple[int, str, str]:
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@contextlib.asynccontextmanager
async def _talking(exchange: WitnessExchange) -> AsyncIterator[None]:
    """Depth events inside the block; at its end two connections have received all, and what was sent is forgotten."""

    async def talk() -> None:
        while True:
            await exchange.depth({"99.8": "4"}, {})
            await asyncio.sleep(0.05)

    talking = asyncio.create_task(talk())
    try:
        yield
        await until(lambda: exchange.listeners == 2, "two connections", LIMIT_S)
        await until(lambda: any("/depth?" in request for request in exchange.requests), "a snapshot", LIMIT_S)
    finally:
        talking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await talking
    await exchange.received()
    exchange.sent.clear()


async def _busy_end(exchange: WitnessExchange, end: Callable[[], Awaitable[None]]) -> None:
    """A burst, and the end as soon as the client has received it."""
    await exchange.busy(FRAMES)
    await exchange.received()
    await end()


def _check_on_disk(root: Path, sent: list[str]) -> None:
    """Every frame of `sent` stands once in the journal, in order, in sealed files that end with a shutdown."""
    lines = _check_kept(root, sent)
    assert (lines[-1]["kind"], lines[-1].get("event")) == ("event", "shutdown")


def _check_kept(root: Path, sent: list[str]) -> list[dict[str, Any]]:
    """Every frame of `sent` stands once in the journal, in order, in sealed files. Gives all lines."""
    assert not list(root.rglob("*.open*"))
    lines = [line for path in journals(root) for line in raw_lines(path)]
    kept = [msgspec.json.encode(line["payload"]).decode() for line in lines if line["kind"] == "ws"]
    at = kept.index(sent[0])
    assert kept[at:] == sent
    return lines


@pytest.mark.parametrize(
    "numbers",
    [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGTERM, signal.SIGINT]],
    ids=["SIGINT", "SIGTERM", "several"],
)
async def test_collect_keeps_all_it_received(
    exchange: WitnessExchange, tmp_path: Path, numbers: list[signal.Signals]
) -> None:
    """Ctrl-C pressed again and a supervisor's SIGTERM on top do not cut the sealing short; where the last of them comes
    after all is done, it ends the process its own way."""
    process = await _midas("collect", "--data-dir", str(tmp_path), "--exchange-url", exchange.url)

    async def end() -> None:
        for number in numbers:
            process.send_signal(number)
            await asyncio.sleep(0.01)

    try:
        async with _talking(exchange):
            pass
        await _busy_end(exchange, end)
        code, _, err = await _ended(process)
    finally:
        if process.returncode is None:
            process.kill()
    assert (code, err) == (0, "") or (len(numbers) > 1 and code in (-signal.SIGINT, -signal.SIGTERM, 130, 143))
    _check_on_disk(tmp_path, exchange.sent)


async def test_collect_killed_keeps_all_it_handled(exchange: WitnessExchange, tmp_path: Path) -> None:
    """kill -9 between two flushes: the next collector seals what lies in the journal's tail."""
    process = await _midas("collect", "--data-dir", str(tmp_path), "--exchange-url", exchange.url)

    async def end() -> None:
        await _handled(tmp_path, exchange.sent[-1])
        process.kill()

    try:
        async with _talking(exchange):
            pass
        await _busy_end(exchange, end)
        code, _, _ = await _ended(process)
    finally:
        if process.returncode is None:
            process.kill()
    assert code == -signal.SIGKILL
    with claim_symbol(tmp_path, *CLAIMED):
        pass
    _check_kept(tmp_path, exchange.sent)


async def _handled(root: Path, text: str) -> None:
    """Returns once the collector has spilled this frame. What still waits between the sockets and the writer when a
    process is killed, some milliseconds, is lost."""
    (tail,) = root.rglob("*.open.tail")
    await until(lambda: text.encode() in tail.read_bytes(), "the last frame in the tail", LIMIT_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest_asyncio.fixture
async def up(exchange: WitnessExchange, tmp_path: Path) -> AsyncIterator[list[str]]:
    """`midas up` against the exchange; gives the flags that name it. Ended at the end, whatever happened."""
    data = ["--data-dir", str(tmp_path)]
    try:
        async with _talking(exchange):
            starting = await _midas("up", *data, "--exchange-url", exchange.url, "--dashboard-port", str(_free_port()))
            code, out, err = await _ended(starting)
            assert (code, err) == (0, ""), (out, err)
        yield data
    finally:
        await _ended(await _midas("down", *data))


async def test_down_keeps_all_it_received(exchange: WitnessExchange, tmp_path: Path, up: list[str]) -> None:
    async def end() -> None:
        code, _, err = await _ended(await _midas("down", *up))
        assert (code, err) == (0, "")

    await _busy_end(exchange, end)
    _check_on_disk(tmp_path, exchange.sent)


@pytest.mark.parametrize("order", ["youngest first", "oldest first", "raylet alone"])
async def test_a_head_node_that_stops_keeps_all_it_handled(
    exchange: WitnessExchange, tmp_path: Path, up: list[str], order: str
) -> None:
    """SIGTERM to the head node's processes. A raylet kills its workers as soon as it has its own, so that the collector
    may seal or not, whatever the order: what was not flushed lies in the journal's tail, and the next one seals it."""
    head = read_head(tmp_path)
    assert head is not None
    running = sorted(processes(head), key=lambda process: int(process.pid))
    raylets = [process for process in running if process.name() == "raylet"]
    assert len(raylets) == 1

    async def end() -> None:
        await _handled(tmp_path, exchange.sent[-1])
        _terminate({"youngest first": running[::-1], "oldest first": running, "raylet alone": raylets}[order])

    await _busy_end(exchange, end)
    try:
        await until(lambda: not _is_claimed(tmp_path), "the end of the collector", LIMIT_S)
        with claim_symbol(tmp_path, *CLAIMED):
            pass
        _check_kept(tmp_path, exchange.sent)
    finally:
        _terminate(running)


def _terminate(running: list[Any]) -> None:
    """SIGTERM to each of these processes (psutil) that is still there, in this order."""
    for process in running:
        if process.is_running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGTERM)


def _is_claimed(root: Path) -> bool:
    try:
        check_unclaimed(root, *CLAIMED[:1], CLAIMED[1:])
    except UsageError:
        return True
    return False
