"""What the fake knows: offers, instances, the account's keys and money, calls made; and the tasks that move it on."""

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from midas_ray.cloud.fake.catalogue import Ask, catalogue
from midas_ray.cloud.fake.instance import ENDED, FakeInstance, made
from midas_ray.cloud.fake.machines import PUBLIC_KEYS, Machines, NoMachines
from midas_ray.cloud.fake.script import Script
from midas_ray.cloud.fake.search import search

BOOKKEEPING_S = 0.5
"""How often the account's credit is looked at."""
A_DAY_S = 86400.0


@dataclass(kw_only=True)
class Call:
    """One call that the fake got; `status` 0 = left without an answer."""

    kind: str
    method: str
    path: str
    at: float
    """s since the epoch."""
    by: str = ""
    """Whose key: `account`, `instance` or nobody's."""
    remote: str = ""
    """The caller's address."""
    status: int = 0

    def to_json(self) -> dict[str, Any]:
        """As `GET /fake/calls` gives it."""
        return {
            "kind": self.kind,
            "method": self.method,
            "path": self.path,
            "at": self.at,
            "by": self.by,
            "remote": self.remote,
            "status": self.status,
        }


@dataclass(kw_only=True)
class World:
    """The state of the fake; used from one event loop."""

    script: Script = field(default_factory=Script)
    machines: Machines = field(default_factory=NoMachines)
    api_key: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    deposit: float = 25.0
    """$ that the account began with."""
    asks: dict[int, Ask] = field(default_factory=lambda: {ask.id: ask for ask in catalogue()})
    instances: dict[int, FakeInstance] = field(default_factory=dict)
    """All that were ever made."""
    ssh_keys: dict[int, str] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    down_until: float = 0.0
    """Until when the API cuts every connection, s since the epoch."""
    rows_listed: int = 0
    quota_from: float = field(default_factory=time.time)
    _last_call_at: dict[tuple[str, str], float] = field(default_factory=dict)
    _drivers: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _moved: dict[int, asyncio.Event] = field(default_factory=dict)
    _next_id: int = 30_000_001

    def live(self) -> list[FakeInstance]:
        """The instances that are not destroyed, brought up to now."""
        now = time.time()
        alive = [instance for instance in self.instances.values() if instance.destroyed_at is None]
        for instance in alive:
            instance.advance(now)
        return alive

    @property
    def spent(self) -> float:
        """$ charged until now."""
        now = time.time()
        return sum(instance.dollars(now) for instance in self.instances.values())

    @property
    def credit(self) -> float:
        """$ left."""
        return self.deposit - self.spent

    def too_frequent(self, kind: str, key: str) -> float | None:
        """The threshold that a call of this kind and key breaks now, s; None where it breaks none, which is noted."""
        now, threshold = time.monotonic(), self.script.intervals_s.get(kind, 0.0)
        if now - self._last_call_at.get((kind, key), -A_DAY_S) < threshold:
            return threshold
        self._last_call_at[(kind, key)] = now
        return None

    def offers(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Offers by the API's search. Raises BadSearchError."""
        rented = {instance.ask.id for instance in self.live()}
        bid, disk_gb = body.get("type") in ("bid", "interruptible"), float(body.get("allocated_storage") or 8.0)
        listed = [ask.listed(bid=bid, disk_gb=disk_gb, rented=ask.id in rented) for ask in self.asks.values()]
        return search(listed, {"rentable": {"eq": True}} | body)

    def quota_over_s(self) -> float | None:
        """Seconds until the day's search rows are given anew, where they are used up; else None."""
        now = time.time()
        if now - self.quota_from >= A_DAY_S:
            self.quota_from, self.rows_listed = now, 0
        if self.script.search_rows_a_day and self.rows_listed >= self.script.search_rows_a_day:
            return self.quota_from + A_DAY_S - now
        return None

    def create(self, ask: Ask, body: dict[str, Any], bid: float | None, env: dict[str, str]) -> FakeInstance:
        """A new instance, and the task that moves it on."""
        instance = made(self._next_id, ask, body, bid, env, self.script, time.time())
        self._next_id += 1
        self.instances[instance.id] = instance
        self._moved[instance.id] = asyncio.Event()
        self._drivers[instance.id] = asyncio.create_task(self._drive(instance))
        return instance

    def destroy(self, instance: FakeInstance, by: str) -> None:
        """End an instance and its charges; its machine ends right after."""
        instance.destroyed_at, instance.destroyed_by, instance.contract = time.time(), by, "unloaded"
        self._moved[instance.id].set()

    def stop(self, instance: FakeInstance, message: str = "") -> None:
        """Stop an instance as its owner does: the disk stays and is charged."""
        instance.intended = instance.contract = "stopped"
        self.force(instance, "stopped", message)

    def start(self, instance: FakeInstance) -> None:
        """Start a stopped instance again."""
        instance.intended = instance.contract = "running"
        self.force(instance, "loading")

    def force(self, instance: FakeInstance, status: str, message: str = "") -> None:
        """Put an instance into a status now, whatever its plan."""
        if status == "outbid":
            status, instance.contract = "stopped", "stopped"
        instance.enter(status, time.time(), message)
        self._moved[instance.id].set()

    async def _drive(self, instance: FakeInstance) -> None:
        """Move one instance through its states, with its machine; ends once it is destroyed."""
        booted, moved = False, self._moved[instance.id]
        while True:
            moved.clear()
            instance.advance(time.time())
            if booted and (instance.destroyed_at is not None or instance.status in ENDED):
                booted, instance.address = False, None
                await self.machines.stop(instance.id)
            if instance.destroyed_at is not None:
                return
            if instance.wants_machine:
                booted = True
                await self._boot(instance)
                continue
            if instance.status == "loading" and instance.plan.outcome == "no_ssh" and instance.address is None:
                instance.address = ("127.0.0.1", 9)
            due = instance.due
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else max(0.0, due - time.time())):
                    await moved.wait()

    async def _boot(self, instance: FakeInstance) -> None:
        env = {name: value for name, value in instance.env.items() if not name.startswith("-p ")}
        env |= {
            "CONTAINER_ID": str(instance.id),
            "CONTAINER_API_KEY": instance.api_key,
            "VAST_CONTAINERLABEL": f"C.{instance.id}",
            PUBLIC_KEYS: "\n".join(self.ssh_keys.values()),
        }
        try:
            address = await self.machines.start(instance.id, env, instance.onstart)
        except Exception as error:  # noqa: BLE001 - whatever a machine dies of, the instance shows it
            instance.enter("exited", time.time(), f"{type(error).__name__}: {error}")
            return
        instance.address, instance.up_at = address, time.time()

    async def keep_books(self) -> None:
        """Stop what the account cannot pay any more, until cancelled."""
        while True:
            await asyncio.sleep(BOOKKEEPING_S)
            if self.credit <= 0:
                for instance in self.live():
                    if instance.status not in ENDED:
                        self.stop(instance, "account out of credit")

    async def close(self) -> None:
        """End every task and every machine."""
        for task in self._drivers.values():
            task.cancel()
        await asyncio.gather(*self._drivers.values(), return_exceptions=True)
        await self.machines.close()
