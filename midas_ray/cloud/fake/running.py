"""The fake in a thread of this process, and a handle to steer a fake wherever it runs."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import httpx

from midas_ray.cloud.fake.machines import Machines, NoMachines
from midas_ray.cloud.fake.script import Script
from midas_ray.cloud.fake.server import FakeVast
from midas_ray.cloud.fake.world import World
from midas_ray.errors import UsageError

START_S = 10.0
"""How long the server may take to listen, s."""


class FakeHandle:
    """A running fake: `url` and `api_key` for the client, and its `/fake/` side: what it saw, and how to steer it."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self.api_key = api_key

    def _get(self, path: str) -> Any:
        return httpx.get(f"{self.url}/fake/{path}", trust_env=False).raise_for_status().json()

    def steer(self, **changes: Any) -> dict[str, Any]:
        """Change fields of its script, or act: `down_s`, `credit`, `force={id: status}`. Raises UsageError."""
        response = httpx.post(f"{self.url}/fake/script", json=changes, trust_env=False)
        content: dict[str, Any] = response.json()
        if not response.is_success:
            raise UsageError(content["msg"])
        return content

    def calls(self, kind: str = "") -> list[dict[str, Any]]:
        """Every call it got, in order: kind, method, path, at (s since the epoch), by, status; those of one kind."""
        return [call for call in self._get("calls")["calls"] if kind in ("", call["kind"])]

    def instances(self) -> list[dict[str, Any]]:
        """Every instance that was ever made, with its history and dollars."""
        found: list[dict[str, Any]] = self._get("instances")["instances"]
        return found

    def live(self) -> list[dict[str, Any]]:
        """Those that are not destroyed: what is still paid for."""
        return [instance for instance in self.instances() if instance["destroyed_at"] is None]

    def account(self) -> dict[str, Any]:
        """deposit, spent and credit ($), live_instances, rows_listed."""
        found: dict[str, Any] = self._get("account")
        return found


@contextlib.contextmanager
def running_fake(
    script: Script | None = None,
    *,
    machines: Machines | None = None,
    credit: float = 25.0,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[FakeHandle]:
    """Serve a fake from a thread while the block runs. Without `script` it is quick and has no limits."""
    world = World(script=script or Script(), machines=machines or NoMachines(), deposit=credit)
    served = _Served(FakeVast(world, host=host, port=port))
    served.start()
    try:
        yield FakeHandle(served.fake.url, served.fake.api_key)
    finally:
        served.end()


class _Served:
    """A fake on an event loop of its own thread."""

    def __init__(self, fake: FakeVast) -> None:
        self.fake = fake
        self._listening = threading.Event()
        self._failed: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fake-vast", daemon=True)

    def start(self) -> None:
        """Raises what kept it from listening."""
        self._thread.start()
        if not self._listening.wait(START_S):
            raise UsageError(f"fake Vast.ai: expected it to listen within {START_S:g} s, found it did not")
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        try:
            async with self.fake:
                self._listening.set()
                await self._stop.wait()
        except UsageError as error:
            self._failed = error
        finally:
            self._listening.set()

    def end(self) -> None:
        """End it and every machine behind it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
