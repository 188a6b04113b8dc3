"""The limits of every address of a cluster, in one named Ray actor, and what collectors hold of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import ray
import structlog

from midas_ray.capture.backoff import full_jitter_s
from midas_ray.capture.limits import Limits, LimitsState, Priority
from midas_ray.venues import get_venue
from midas_ray.venues.base import Venue

NAME = "limits"
NAMESPACE = "midas"
HEAD = {"node:__internal_head__": 0.001}
"""What only the head node has: an actor that asks for nothing is put on any node, and is gone when that one dies."""
MOST_WAITING = 10_000
"""Calls that may wait in the actor at once: those that wait must not keep a ban from being told."""
ASSUMED_USED = 0.5
"""Share taken as used after a restart: what the lost actor had granted is not known."""

Address = tuple[str, str, str]
"""(venue, base URL of a simulated exchange or empty, IP address of the caller's node)."""
T = TypeVar("T")


class LimitsActor:
    """`Limits` per venue and IP address. After a crash Ray starts it anew, and it takes half of all limits as used."""

    def __init__(self) -> None:
        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self._assumed_used = ASSUMED_USED if restarted else 0.0
        self._limits: dict[Address, Limits] = {}

    def __repr__(self) -> str:
        return "Limits"

    def _of(self, address: Address) -> Limits:
        if address not in self._limits:
            venue = get_venue(address[0])
            self._limits[address] = Limits(
                venue.weight_per_minute, venue.connections_per_5_min, assumed_used=self._assumed_used
            )
        return self._limits[address]

    async def connection(self, address: Address) -> None:
        """As `Limits.connection`."""
        await self._of(address).connection()

    async def weight(self, address: Address, weight: int, priority: int) -> None:
        """As `Limits.weight`."""
        await self._of(address).weight(weight, Priority(priority))

    async def report(self, address: Address, used: int) -> None:
        """As `Limits.report`."""
        await self._of(address).report(used)

    async def set_weight_limit(self, address: Address, per_minute: int) -> None:
        """As `Limits.set_weight_limit`."""
        await self._of(address).set_weight_limit(per_minute)

    async def block(self, address: Address, until_ns: int, reason: str, sockets: bool) -> None:
        """As `Limits.block`."""
        await self._of(address).block(until_ns, reason, sockets=sockets)

    async def state(self, address: Address) -> LimitsState:
        """As `Limits.state`."""
        return await self._of(address).state()

    async def states(self) -> dict[Address, LimitsState]:
        """Every address that has called."""
        return {address: await limits.state() for address, limits in self._limits.items()}


def limits_actor() -> Any:
    """The handle of the cluster's actor: the one that runs, or a new one."""
    return (
        ray.remote(LimitsActor)
        .options(
            name=NAME,
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=0,
            resources=HEAD,
            max_restarts=-1,
            max_concurrency=MOST_WAITING,
            enable_task_events=False,  # each snapshot and connection asks: Ray's list of tasks would hold little else
        )
        .remote()
    )


class RemoteLimits:
    """`IpLimits` of this node's address, kept by the actor. Where that is not there, it is waited for.

    exchange_url: base URL of a simulated exchange, which has limits of its own. Make it where Ray is initialised.
    """

    def __init__(self, venue: Venue, exchange_url: str | None, log: structlog.stdlib.BoundLogger) -> None:
        self._address: Address = (venue.name, exchange_url or "", ray.util.get_node_ip_address())
        self._log = log
        self._actor: Any = None
        self._block: tuple[int, str, bool] | None = None
        self._weight_limit: int | None = None

    async def connection(self) -> None:
        """As `Limits.connection`."""
        await self._call(lambda actor: actor.connection.remote(self._address))

    async def weight(self, weight: int, priority: Priority) -> None:
        """As `Limits.weight`."""
        await self._call(lambda actor: actor.weight.remote(self._address, weight, int(priority)))

    async def report(self, used: int) -> None:
        """As `Limits.report`."""
        await self._call(lambda actor: actor.report.remote(self._address, used))

    async def set_weight_limit(self, per_minute: int) -> None:
        """As `Limits.set_weight_limit`."""
        self._weight_limit = per_minute
        await self._call(lambda actor: actor.set_weight_limit.remote(self._address, per_minute))

    async def block(self, until_ns: int, reason: str, *, sockets: bool = True) -> None:
        """As `Limits.block`."""
        self._block = (until_ns, reason, sockets)
        await self._call(lambda actor: actor.block.remote(self._address, until_ns, reason, sockets))

    async def state(self) -> LimitsState:
        """As `Limits.state`."""
        return await self._call(lambda actor: actor.state.remote(self._address))

    async def _call(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """The answer of the actor, tried again while it restarts. A caller that is cancelled leaves the queue there."""
        attempt = 0
        while True:
            try:
                if self._actor is None:
                    await self._meet()
                reference = call(self._actor)
                try:
                    return await reference
                except asyncio.CancelledError:
                    ray.cancel(reference)
                    raise
            except ray.exceptions.RayActorError as error:
                self._actor, wait_s = None, full_jitter_s(attempt)
                reason = str(error).splitlines()[0]
                self._log.warning("the limits actor does not answer", error=reason, retry_in_s=round(wait_s, 2))
                await asyncio.sleep(wait_s)
                attempt += 1

    async def _meet(self) -> None:
        """Find the actor, which may be a new one, and tell it what it must not have forgotten."""
        actor = await asyncio.to_thread(limits_actor)  # asks the head, which may be slow
        if self._weight_limit is not None:
            await actor.set_weight_limit.remote(self._address, self._weight_limit)
        if self._block is not None and self._block[0] > time.time_ns():
            await actor.block.remote(self._address, *self._block)
        self._actor = actor
