"""A collector as a Ray actor: takes symbols on and lets them go while it runs, comes back with those of the plan."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from midas_ray.capture.claim import claim_symbol
from midas_ray.capture.desired import plan_path, write_plan
from midas_ray.capture.groups import Plan, add_symbols, remove_symbols, shared_settings
from midas_ray.capture.health import Health
from midas_ray.settings import Collect
from midas_ray.simulate.exchange import SimulatedExchange
from tests.capture.running import frame_numbers, journals, raw_lines, until


@pytest.mark.usefixtures("ray_local")
async def test_a_collector_follows_the_plan_through_a_kill(tmp_path: Path) -> None:
    import ray

    from midas_ray.capture import detached

    async with SimulatedExchange(["btcusdt", "ethusdt", "solusdt"], seed=9, keep_referee=False) as exchange:
        settings = shared_settings(Collect(exchange_url=exchange.url))
        plan = add_symbols(Plan(), ["btcusdt"], settings)
        with claim_symbol(tmp_path, "binance-futures", "btcusdt"):
            (actor,) = (await asyncio.to_thread(detached.apply_plan, tmp_path, plan)).values()
            (refused,) = await _healths(actor, {"btcusdt": "failed"})
            assert f"btcusdt: a collector already writes under {tmp_path}" in str(refused.error)
            with pytest.raises(ray.exceptions.RayTaskError, match="btcusdt: not collected now"):
                await actor.top.remote("btcusdt")
        (first,) = await _healths(actor, {"btcusdt": "live"})

        plan = add_symbols(plan, ["ethusdt"], settings)
        (again,) = (await asyncio.to_thread(detached.apply_plan, tmp_path, plan)).values()
        btc, eth = await _healths(again, {"btcusdt": "live", "ethusdt": "live"})
        assert {btc.pid, eth.pid} == {first.pid}
        assert btc.uptime_s > first.uptime_s
        top = await actor.top.remote("ethusdt", 3)
        assert (top.state, len(top.bids), len(top.asks)) == ("live", 3, 3)

        await until(lambda: _growing_bytes(tmp_path, "ethusdt") > 8000, "a flushed snapshot")
        # What the plan on disk says counts after a kill, though nobody has told the collector or the cluster.
        write_plan(tmp_path, add_symbols(plan, ["solusdt"], settings))
        os.kill(first.pid, signal.SIGKILL)
        restarted = await _healths(actor, dict.fromkeys(("btcusdt", "ethusdt", "solusdt"), "live"))
        assert first.pid not in {health.pid for health in restarted}
        assert len(journals(tmp_path, "ethusdt")) == 1  # what the killed one left is sealed

        # A node whose disk has no plan takes the cluster's.
        plan_path(tmp_path).unlink()
        os.kill(restarted[0].pid, signal.SIGKILL)
        await _healths(actor, {"btcusdt": "live", "ethusdt": "live"})

        left = remove_symbols(plan, ["btcusdt"])
        await asyncio.to_thread(detached.apply_plan, tmp_path, left)
        await _healths(actor, {"ethusdt": "live"})
        assert not list(tmp_path.rglob("symbol=btcusdt/**/*.open"))
        assert raw_lines(journals(tmp_path)[-1])[-1]["reason"] == "no longer wanted"

        (seen,) = detached.cluster_healths(tmp_path, left)
        assert (seen.symbol, seen.state, seen.collector) == ("ethusdt", "live", "binance-futures-1")
        assert detached.running_groups(tmp_path, left) == {"binance-futures-1"}
        assert detached.running_groups(tmp_path / "other", left) == set()
        files = await asyncio.to_thread(detached.stop_collector, actor, "the test is over")

    assert detached.find_collectors(tmp_path) == {}
    assert str(journals(tmp_path, "ethusdt")[-1]) in files
    assert not list(tmp_path.rglob("symbol=ethusdt/**/*.open"))
    for path in journals(tmp_path, "ethusdt"):
        numbers = frame_numbers(raw_lines(path))
        assert numbers == sorted(set(numbers))
    assert raw_lines(journals(tmp_path, "ethusdt")[-1])[-1]["reason"] == "the test is over"
    (down,) = detached.cluster_healths(tmp_path, left)
    assert (down.state, down.error) == ("down", "no collector runs; run midas up")
    detached.end_limits()


def _growing_bytes(root: Path, symbol: str) -> int:
    return sum(path.stat().st_size for path in root.rglob(f"symbol={symbol}/**/*.open"))


async def _healths(actor: Any, states: dict[str, str], timeout_s: float = 60.0) -> list[Health]:
    """What the actor says once its symbols are in these states."""
    found: list[Health] = []
    end_s = time.monotonic() + timeout_s
    while {health.symbol: health.state for health in found} != states:
        assert time.monotonic() < end_s, found
        await asyncio.sleep(0.1)
        found = await actor.healths.remote()
    return found
