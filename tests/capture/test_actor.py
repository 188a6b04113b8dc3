"""The collector as a Ray actor: one by name, answers while it runs, ends with its file sealed."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from midas_ray.capture.claim import claim_symbol
from midas_ray.simulate.exchange import SimulatedExchange
from tests.capture.running import frame_numbers, journals, raw_lines, until


@pytest.mark.usefixtures("ray_local")
async def test_the_actor_answers_restarts_and_leaves_sealed_files(tmp_path: Path) -> None:
    import ray

    from midas_ray.capture import detached
    from midas_ray.settings import Collect

    async with SimulatedExchange(["btcusdt"], seed=9, keep_referee=False) as exchange:
        settings = Collect(exchange_url=exchange.url, data_dir=str(tmp_path))
        with claim_symbol(tmp_path, settings.venue, "btcusdt"):
            actor = await asyncio.to_thread(detached.start_collector, "btcusdt", settings, tmp_path)
            health = await actor.health.remote()
            assert health.state == "failed"
            assert f"btcusdt: a collector already writes under {tmp_path}" in health.error
        (health,) = await asyncio.to_thread(detached.wait_until_live, {"btcusdt": actor})
        again = await asyncio.to_thread(detached.start_collector, "btcusdt", settings, tmp_path)
        assert (await again.health.remote()).pid == health.pid
        assert detached.collector_symbols() == ["btcusdt"]

        top = await actor.top.remote(3)
        assert (top.state, len(top.bids), len(top.asks)) == ("live", 3, 3)
        assert float(top.bids[0][0]) < float(top.asks[0][0])
        assert top.last_update_id >= health.last_update_id
        assert health.journal_path == str(_growing(tmp_path)[0])

        await until(lambda: _growing(tmp_path)[0].stat().st_size > 8000, "a flushed snapshot", 60)
        os.kill(health.pid, signal.SIGKILL)
        await until(
            lambda: len(journals(tmp_path)) == 1 and len(_growing(tmp_path)) == 1, "a sealed and a new file", 60
        )
        (restarted,) = await asyncio.to_thread(detached.wait_until_live, {"btcusdt": actor})
        assert restarted.pid != health.pid
        files = await asyncio.to_thread(detached.stop_collector, actor, "the test is over")

    assert detached.find_collector("btcusdt") is None
    paths = journals(tmp_path)
    assert [str(paths[1])] == files
    assert _growing(tmp_path) == []
    for path in paths:
        numbers = frame_numbers(raw_lines(path))
        assert numbers == list(range(1, len(numbers) + 1))
    assert raw_lines(paths[1])[-1]["reason"] == "the test is over"
    with pytest.raises(ray.exceptions.RayActorError):
        await actor.health.remote()


def _growing(root: Path) -> list[Path]:
    return list(root.rglob("*.open"))
