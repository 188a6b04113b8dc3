"""The fake Vast.ai over HTTP: keys, limits and scripted failures before the calls (`api.py`); `/fake/` steers it."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from midas_ray.cloud.fake.api import BY, Api, gone, no_credit, refused
from midas_ray.cloud.fake.script import Failure, changed
from midas_ray.cloud.fake.world import Call, World
from midas_ray.errors import MidasError, UsageError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OF_AN_INSTANCE = frozenset({"show", "label", "destroy"})
"""Calls that an instance's own key may make, on itself."""


class FakeVast:
    """The server. `async with` starts and ends it; `port` 0 takes a free one, `url` says which."""

    def __init__(self, world: World | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.world = world or World()
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self._books: asyncio.Task[None] | None = None

    @property
    def api_key(self) -> str:
        """The account's key."""
        return self.world.api_key

    @property
    def url(self) -> str:
        """Where it listens, as VAST_URL takes it."""
        return f"http://{self._host}:{self._port}"

    async def __aenter__(self) -> "FakeVast":
        self._runner = web.AppRunner(self._app(), shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise UsageError(f"fake Vast.ai: cannot listen on {self._host}:{self._port}: {error.strerror}") from None
        self._port = self._runner.addresses[0][1]
        self._books = asyncio.create_task(self.world.keep_books())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._books is not None:
            self._books.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._books
        if self._runner is not None:
            await self._runner.cleanup()
        await self.world.close()

    def _app(self) -> web.Application:
        api, app = Api(self.world), web.Application(client_max_size=1 << 20)
        calls: list[tuple[str, str, str, Handler]] = [
            ("search", "POST", "/api/v0/bundles/", api.search),
            ("create", "PUT", r"/api/v0/asks/{id:\d+}/", api.create),
            ("instances", "GET", "/api/v1/instances/", api.instances),
            ("instances", "GET", "/api/v0/instances/", api.retired),
            ("show", "GET", r"/api/v0/instances/{id:\d+}/", api.show),
            ("label", "PUT", r"/api/v0/instances/{id:\d+}/", api.change),
            ("destroy", "DELETE", r"/api/v0/instances/{id:\d+}/", api.destroy),
            ("ssh", "GET", "/api/v0/ssh/", api.ssh_keys),
            ("add_ssh", "POST", "/api/v0/ssh/", api.add_ssh_key),
            ("account", "GET", "/api/v0/users/current/", api.account),
        ]
        for kind, method, path, handler in calls:
            guarded = self._guarded(kind, handler)
            app.router.add_route(method, path, guarded)
            app.router.add_route(method, path.rstrip("/"), guarded)
        app.router.add_get("/fake/calls", self._calls)
        app.router.add_get("/fake/instances", self._instances)
        app.router.add_get("/fake/account", self._account)
        app.router.add_get("/fake/script", self._script)
        app.router.add_post("/fake/script", self._change_script)
        return app

    def _guarded(self, kind: str, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            call = Call(
                kind=kind, method=request.method, path=request.path, at=time.time(), remote=request.remote or ""
            )
            self.world.calls.append(call)
            if self.world.down_until > time.time():
                return _cut(request)
            failure = self.world.script.strikes(kind)
            if failure is not None:
                response = await self._fail(failure, request, handler, call)
            else:
                response = await self._answer(request, handler, call)
            cut = request.transport is None or request.transport.is_closing()
            call.status = 0 if cut else response.status
            return response

        return guarded

    async def _answer(self, request: web.Request, handler: Handler, call: Call) -> web.StreamResponse:
        """The API's answer where nothing is scripted: the key first, then its limits, then the call."""
        key = request.headers.get("Authorization", "").removeprefix("Bearer ") or request.query.get("api_key", "")
        call.by = request[BY] = self._whose(key)
        if not call.by:
            return refused(401, "auth_error", "Invalid user key")
        if call.by == "instance" and not self._own(request, key, call.kind):
            return refused(403, "forbidden", "This key may only start, stop or destroy its own instance")
        threshold = self.world.too_frequent(call.kind, key)
        if threshold is not None:
            return web.Response(status=429, text=f"API requests too frequent: endpoint threshold={threshold}")
        return await handler(request)

    def _whose(self, key: str) -> str:
        if key == self.world.api_key:
            return "account"
        return "instance" if key and any(key == each.api_key for each in self.world.live()) else ""

    def _own(self, request: web.Request, key: str, kind: str) -> bool:
        instance = self.world.instances.get(int(request.match_info.get("id", 0)))
        return kind in OF_AN_INSTANCE and instance is not None and instance.api_key == key

    async def _fail(self, failure: Failure, request: web.Request, handler: Handler, call: Call) -> web.StreamResponse:
        what = failure.what
        if what == "429":
            headers = {} if failure.retry_after_s is None else {"Retry-After": f"{failure.retry_after_s:g}"}
            return web.Response(status=429, text="API requests too frequent", headers=headers)
        if what == "malformed":
            return web.Response(text='{"success": true, "instances": [{"id": 3', content_type="application/json")
        if what == "gone":
            return gone(int(request.match_info.get("id", 0)))
        if what == "no_credit":
            return no_credit()
        if what in ("hang", "lost", "drop"):
            if what == "lost":
                await self._answer(request, handler, call)
            if what != "drop":
                await asyncio.sleep(failure.hang_s)
            return _cut(request)
        return web.Response(status=int(what), text="<html>upstream error</html>", content_type="text/html")

    async def _calls(self, _: web.Request) -> web.Response:
        counts = Counter(call.kind for call in self.world.calls)
        return web.json_response({"counts": counts, "calls": [call.to_json() for call in self.world.calls]})

    async def _instances(self, _: web.Request) -> web.Response:
        self.world.live()
        now = time.time()
        return web.json_response({"instances": [each.record(now) for each in self.world.instances.values()]})

    async def _account(self, _: web.Request) -> web.Response:
        world = self.world
        answer = {"deposit": world.deposit, "spent": world.spent, "credit": world.credit}
        return web.json_response(answer | {"live_instances": len(world.live()), "rows_listed": world.rows_listed})

    async def _script(self, _: web.Request) -> web.Response:
        return web.json_response(self.world.script.to_json())

    async def _change_script(self, request: web.Request) -> web.Response:
        """Fields of the script, and three acts: down_s, credit, force {id: status}."""
        try:
            self.steer(await request.json())
        except (ValueError, MidasError) as error:
            return refused(400, "invalid_args", str(error))
        return web.json_response(self.world.script.to_json())

    def steer(self, changes: dict[str, Any]) -> None:
        """Change the script; or act at once: `down_s` cuts every connection for so long, `credit` sets what is left,
        `force` puts instances (by id) into a status, `outbid` among them. Raises UsageError."""
        world, fields = self.world, dict(changes)
        down_s, credit, force = fields.pop("down_s", None), fields.pop("credit", None), fields.pop("force", {})
        world.script = changed(world.script, fields)
        if down_s is not None:
            world.down_until = time.time() + float(down_s)
        if credit is not None:
            world.deposit = float(credit) + world.spent
        for number, status in force.items():
            instance = world.instances.get(int(number))
            if instance is None:
                raise UsageError(f"fake script: force: expected an instance's id, found {number}")
            world.force(instance, status)


def _cut(request: web.Request) -> web.Response:
    """No answer: the connection is cut under the client."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
