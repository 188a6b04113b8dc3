"""A local archive over HTTP that is slow, cuts connections, refuses and lies as scripted; it runs in a thread."""

import asyncio
import hashlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from aiohttp import web


class Fault(NamedTuple):
    """What happens to one request of a path. status: the answer; `cut`, `stall`: after `after` bytes of the body.

    `wrong`: other content of the same length.
    """

    kind: Literal["status", "cut", "stall", "wrong"]
    status: int = 500
    after: int = 0
    retry_after: str | None = None


class ArchiveServer:
    """files: content by path. ranges: whether Range is heeded. requests: (path, Range or None) in order."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.ranges = True
        self.chunk_bytes, self.pause_s = 2**16, 0.0
        self.requests: list[tuple[str, str | None]] = []
        self.at_once = self.most_at_once = 0
        self.url = ""

    def publish(self, path: str, content: bytes, digest: str | None = None) -> None:
        """A file and its .CHECKSUM."""
        name = path.rpartition("/")[2]
        self.files[path] = content
        text = f"{digest or hashlib.sha256(content).hexdigest()}  {name}\n"
        self.files[f"{path}.CHECKSUM"] = text.encode()

    def asked(self, path: str) -> list[str | None]:
        """The Range of each request of a path."""
        return [wanted for each, wanted in self.requests if each == path]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._answer(request)
        finally:
            self.at_once -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.lstrip("/")
        wanted = request.headers.get("Range")
        self.requests.append((path, wanted))
        faults = self.faults[path]
        fault = faults.pop(0) if faults else None
        if fault is not None and fault.kind == "status":
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            return web.Response(status=fault.status, headers=headers)
        content = self.files.get(path)
        if content is None:
            return web.Response(status=404)
        if fault is not None and fault.kind == "wrong":
            content = bytes(len(content))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start and start >= len(content):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
        body = content[start:]
        headers = {"Content-Length": str(len(body))}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        cut = fault is not None and fault.kind in ("cut", "stall")
        end = fault.after if fault is not None and cut else len(body)
        for at in range(0, end, self.chunk_bytes):
            await response.write(body[at : min(at + self.chunk_bytes, end)])
            await asyncio.sleep(self.pause_s)
        if fault is not None and fault.kind == "stall":
            await asyncio.sleep(60)
        if cut and request.transport is not None:
            request.transport.close()
        return response


@contextmanager
def serving() -> Iterator[ArchiveServer]:
    """A server on a free port of the loopback, until the block ends."""
    server, loop, ready = ArchiveServer(), asyncio.new_event_loop(), threading.Event()

    async def start() -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", server.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        ready.set()
        await stopping.wait()
        await runner.cleanup()

    stopping = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(start()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
        loop.close()
