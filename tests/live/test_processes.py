"""The real thing: an exchange, `midas collect` and `midas features --live`, each killed once; then batch."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

import midas_ray
from midas_ray.simulate.exchange import SimulatedExchange
from tests.capture.running import MIDAS
from tests.features.raw_market import SYMBOL, make_features, reconstruct


async def start(root: Path, log: str, *arguments: str) -> asyncio.subprocess.Process:
    with (root / log).open("ab") as stream:
        return await asyncio.create_subprocess_exec(
            MIDAS, *arguments, stdout=stream, stderr=stream, cwd=root, env={**os.environ, "COLUMNS": "200"}
        )


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(90):
            while not condition():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not within 90 s: {what}") from None


@pytest.mark.long
async def test_kills_of_either_side_lose_no_bucket_and_no_bit(tmp_path: Path) -> None:
    log = tmp_path / "live.log"
    live_flags = ("features", "--live", "--symbols", SYMBOL, "--time-bucket-ms", "1000", "--data-dir", "data")
    running: list[asyncio.subprocess.Process] = []

    def published() -> int:
        return log.read_text().count(f" {SYMBOL}  mid ")

    async def more(count: int) -> None:
        goal = published() + count
        await until(lambda: published() >= goal, f"{count} more publications")

    async with SimulatedExchange((SYMBOL,), seed=3) as exchange:
        collect = ("collect", "--symbols", SYMBOL, "--exchange-url", exchange.url, "--data-dir", "data")
        try:
            running.append(live := await start(tmp_path, "live.log", *live_flags))
            await until(lambda: "nothing is being collected" in log.read_text(), "it says that it waits")
            assert "(found no symbol at all)" in log.read_text()
            running.append(collector := await start(tmp_path, "collect.log", *collect))
            await more(4)
            live.send_signal(signal.SIGKILL)
            await live.wait()
            running.append(live := await start(tmp_path, "live.log", *live_flags))
            await more(5)
            collector.send_signal(signal.SIGKILL)
            await collector.wait()
            running.append(collector := await start(tmp_path, "collect.log", *collect))
            await until(lambda: "sealed" in (tmp_path / "collect.log").read_text(), "the killed one's file is sealed")
            await more(5)
            collector.send_signal(signal.SIGTERM)
            assert await collector.wait() == 0
            await asyncio.sleep(2.5)  # the last bucket closes by the clock
            live.send_signal(signal.SIGTERM)
            assert await live.wait() == 0
        finally:
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
    rows = midas_ray.open(str(tmp_path / "data")).live_features(SYMBOL).collect()
    reconstruct(tmp_path / "data")
    make_features(tmp_path / "data", time_bucket_ms=1000)
    batch = midas_ray.open(str(tmp_path / "data")).features(SYMBOL).collect()
    assert rows.height >= 8
    assert rows.equals(batch.filter(pl.col("ts") >= rows["ts"].min()))
    assert "published after the close: median" in log.read_text()


async def test_what_cannot_be_followed_is_one_line(tmp_path: Path) -> None:
    for flags, expected in (
        ((), "no raw journals of binance-futures"),
        (("--data-dir", "s3://bucket/prefix"), "expected a local --data-dir"),
    ):
        process = await asyncio.create_subprocess_exec(
            MIDAS, "features", "--live", *flags,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=tmp_path,
        )  # fmt: skip
        out, err = await process.communicate()
        assert process.returncode
        assert out == b""
        assert err.count(b"\n") == 1
        assert expected in err.decode()
