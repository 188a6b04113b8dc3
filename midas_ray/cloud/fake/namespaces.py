"""Machines behind the fake's instances: one set of namespaces with a real sshd each. Needs the outer namespace."""

import asyncio
import threading
from collections.abc import Callable

from midas_ray.cloud.fake.bridge import Bridge
from midas_ray.cloud.fake.machine import Machine
from midas_ray.cloud.fake.machine_boot import Sizes
from midas_ray.cloud.fake.machines import PUBLIC_KEYS


class NamespaceMachines:
    """The `Machines` of a fake Vast.ai, and servers beside it. Raises UsageError outside of `outer.py`'s namespace."""

    def __init__(
        self,
        *,
        sizes: Sizes | None = None,
        before_onstart: Callable[[int, Machine], None] | None = None,
    ) -> None:
        """before_onstart: told (instance id, machine) once its sshd answers; may break it."""
        self._bridge = Bridge()
        self._sizes = sizes or Sizes()
        self._before_onstart = before_onstart
        self._instances: dict[int, Machine] = {}
        self._servers: list[Machine] = []
        self._lock = threading.Lock()

    def server(self, name: str, public_keys: str, env: dict[str, str] | None = None) -> Machine:
        """A host that is no instance, such as the head's server; up when this returns."""
        machine = Machine(name, self._bridge, env=env or {}, public_keys=public_keys, sizes=self._sizes)
        with self._lock:
            self._servers.append(machine)
        machine.boot()
        return machine

    def of_instance(self, instance_id: int) -> Machine:
        """The machine of an instance that runs. Raises KeyError."""
        return self._instances[instance_id]

    async def start(self, instance_id: int, env: dict[str, str], onstart: str) -> tuple[str, int]:
        """Boot an instance's machine; gives the address of its sshd."""
        given = {name: value for name, value in env.items() if name != PUBLIC_KEYS}
        machine = Machine(
            f"vast-{instance_id}", self._bridge, env=given, public_keys=env.get(PUBLIC_KEYS, ""), sizes=self._sizes
        )
        with self._lock:
            self._instances[instance_id] = machine
        await asyncio.to_thread(self._start, instance_id, machine, onstart)
        return machine.host, machine.port

    def _start(self, instance_id: int, machine: Machine, onstart: str) -> None:
        machine.boot()
        if self._before_onstart is not None:
            self._before_onstart(instance_id, machine)
        if onstart:
            machine.begin(onstart)

    async def stop(self, instance_id: int) -> None:
        """End an instance's machine and everything on it; unknown or ended is fine."""
        with self._lock:
            machine = self._instances.pop(instance_id, None)
        if machine is not None:
            await asyncio.to_thread(machine.stop)

    async def close(self) -> None:
        """End every machine, servers too."""
        with self._lock:
            machines = [*self._instances.values(), *self._servers]
            self._instances.clear()
            self._servers.clear()
        await asyncio.gather(*(asyncio.to_thread(machine.stop) for machine in machines))
