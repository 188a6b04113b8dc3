"""The limits as a Ray actor: one for all callers of an address, and what a restart of it does."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from midas_ray.capture.limits import Priority
from midas_ray.venues import get_venue

FUTURES = get_venue("binance-futures")
LOG = structlog.stdlib.get_logger()


@pytest.fixture
def actor(ray_local: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The session's limits actor, ended with the test."""
    import ray

    from midas_ray.capture import limits_actor

    monkeypatch.setattr(limits_actor, "full_jitter_s", lambda _attempt: 0.05)
    yield limits_actor.limits_actor()
    ray.kill(limits_actor.limits_actor())


def _remote(url: str) -> Any:
    from midas_ray.capture.limits_actor import RemoteLimits

    return RemoteLimits(FUTURES, url, LOG)


async def test_all_that_call_from_an_address_share_its_limits(actor: Any) -> None:
    one, two, other = _remote("http://x"), _remote("http://x"), _remote("http://y")
    await one.weight(20, Priority.SNAPSHOT_START)
    await two.weight(5, Priority.POLL)
    await one.connection()
    await two.report(700)
    await two.set_weight_limit(1000)
    state = await one.state()
    assert (state.used_weight, state.weight_limit, state.connections) == (700, 800, 1)
    assert (await other.state()).used_weight == 0
    assert {address[1] for address in await actor.states.remote()} == {"http://x", "http://y"}


async def test_a_ban_stops_all_and_who_is_cancelled_leaves_the_queue(actor: Any) -> None:
    one, two = _remote("http://x"), _remote("http://x")
    await one.block(time.time_ns() + 60 * 10**9, "banned")
    waiting = [
        asyncio.create_task(two.weight(20, Priority.POLL)),
        asyncio.create_task(two.connection()),
    ]
    await _until_waiting(one, 1, 1)
    waiting[0].cancel()
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert all(task.cancelled() for task in waiting)
    await _until_waiting(one, 0, 0)
    state = await one.state()
    assert (state.used_weight, state.connections, state.reason) == (0, 0, "banned")


async def test_a_restart_is_waited_for_and_forgets_no_ban(actor: Any) -> None:
    remote = _remote("http://x")
    await remote.set_weight_limit(1000)
    await remote.block(time.time_ns() + 60 * 10**9, "banned")
    waiting = asyncio.create_task(remote.weight(20, Priority.POLL))
    await _until_waiting(remote, 1, 0)
    pid = await actor.__ray_call__.remote(lambda _self: os.getpid())
    os.kill(pid, signal.SIGKILL)
    while (state := await remote.state()).connections == 0 or state.waiting == 0:  # the lost one may still answer
        await asyncio.sleep(0.02)
    assert not waiting.done()
    assert state.reason == "banned"
    assert state.weight_limit == 800
    assert state.connections == state.connection_limit // 2  # what the lost one had granted is not known
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def _until_waiting(remote: Any, requests: int, connections: int) -> None:
    async with asyncio.timeout(30):
        while ((state := await remote.state()).waiting, state.waiting_connections) != (requests, connections):
            await asyncio.sleep(0.02)
