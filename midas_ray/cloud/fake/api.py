"""The calls of Vast.ai's API as the fake answers them. Limits, keys and scripted failures come before (`server.py`)."""

import base64
import json
import time
from typing import Any

from aiohttp import web

from midas_ray.cloud.fake.instance import FakeInstance
from midas_ray.cloud.fake.search import BadSearchError
from midas_ray.cloud.fake.world import World

BY = web.RequestKey("by", str)
"""Whose key a request came with: `account` or `instance`."""
LIST_PAGE = 25
LONGEST_LABEL = 60
LONGEST_ONSTART = 4048
LONGEST_ENV_VALUE = 256
LEAST_DISK_GB = 8.0


def refused(status: int, error: str, msg: str, **more: Any) -> web.Response:
    """An error as the API words it."""
    return web.json_response({"success": False, "error": error, "msg": msg, **more}, status=status)


async def _body(request: web.Request) -> dict[str, Any] | None:
    try:
        body = await request.json() if request.can_read_body else {}
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


class Api:
    """Handlers over one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def search(self, request: web.Request) -> web.Response:
        """POST /api/v0/bundles/"""
        body = await _body(request)
        if body is None:
            return refused(400, "invalid_request", "Invalid json body")
        over_s = self._world.quota_over_s()
        if over_s is not None:
            answer = {"error": "search_quota_exceeded", "msg": "Daily search row quota exhausted"}
            return web.json_response(answer, status=429, headers={"Retry-After": str(round(over_s))})
        try:
            offers = self._world.offers(body)
        except BadSearchError as error:
            return refused(400, "invalid_args", str(error))
        self._world.rows_listed += len(offers)
        return web.json_response({"success": True, "offers": offers})

    async def create(self, request: web.Request) -> web.Response:
        """PUT /api/v0/asks/{id}/"""
        number, body = int(request.match_info["id"]), await _body(request)
        if body is None:
            return refused(400, "invalid_request", "Invalid json body")
        wrong = _wrong_create(body)
        if wrong:
            return refused(400, "invalid_args", f"error 400/3467: {wrong}", ask_id=number)
        if self._world.credit <= 0:
            return no_credit()
        ask = self._world.asks.get(number)
        if ask is None:
            msg = f"error 404/3603: no_such_ask Instance type by id {number} is not available."
            return refused(404, "invalid_args", msg, ask_id=number)
        bid = float(body["price"]) if body.get("price") is not None else None
        taken = any(instance.ask.id == number for instance in self._world.live())
        if taken or (bid is not None and bid < ask.min_bid):
            return gone(number)
        env = {str(name): str(value) for name, value in (body.get("env") or {}).items()}
        instance = self._world.create(ask, body, bid, env)
        answer = {"success": True, "new_contract": instance.id, "instance_api_key": instance.api_key}
        return web.json_response(answer)

    async def instances(self, request: web.Request) -> web.Response:
        """GET /api/v1/instances/: by id, 25 a page."""
        after = _after(request.query.get("after_token"))
        limit = min(int(request.query.get("limit", LIST_PAGE)), LIST_PAGE)
        live = sorted(self._world.live(), key=lambda instance: instance.id)
        rest = [instance for instance in live if instance.id > after]
        page = rest[:limit]
        answer = {
            "success": True,
            "instances_found": len(page),
            "total_instances": len(live),
            "next_token": _token(page[-1].id) if len(rest) > limit else None,
            "instances": [instance.shown() for instance in page],
        }
        return web.json_response(answer)

    async def show(self, request: web.Request) -> web.Response:
        """GET /api/v0/instances/{id}/"""
        instance = self._find(request)
        return web.json_response({"instances": None if instance is None else instance.shown()})

    async def change(self, request: web.Request) -> web.Response:
        """PUT /api/v0/instances/{id}/ with a label or a state."""
        instance, body = self._find(request), await _body(request)
        if instance is None:
            return refused(404, "no_such_instance", f"Instance {request.match_info['id']} not found.")
        if body is None or not set(body) & {"label", "state"}:
            return refused(400, "invalid_args", "expected label or state")
        if len(str(body.get("label") or "")) > LONGEST_LABEL:
            return refused(400, "invalid_args", f"label longer than {LONGEST_LABEL}")
        if "label" in body:
            instance.label = str(body["label"] or "")
        if body.get("state") == "stopped":
            self._world.stop(instance)
        elif body.get("state") == "running" and instance.intended == "stopped":
            self._world.start(instance)
        return web.json_response({"success": True})

    async def destroy(self, request: web.Request) -> web.Response:
        """DELETE /api/v0/instances/{id}/"""
        instance = self._find(request)
        if instance is None:
            return refused(404, "no_such_instance", f"Instance {request.match_info['id']} not found.")
        self._world.destroy(instance, request[BY])
        return web.json_response({"success": True})

    async def ssh_keys(self, _: web.Request) -> web.Response:
        """GET /api/v0/ssh/"""
        return web.json_response([{"id": i, "user_id": 1, "key": key} for i, key in self._world.ssh_keys.items()])

    async def add_ssh_key(self, request: web.Request) -> web.Response:
        """POST /api/v0/ssh/"""
        key = str((await _body(request) or {}).get("ssh_key") or "").strip()
        if not key.startswith(("ssh-", "ecdsa-", "sk-")):
            return refused(400, "invalid_args", "Invalid ssh key")
        if key in self._world.ssh_keys.values():
            return refused(400, "duplicate_ssh_key", "Key already exists")
        number = 1 + max(self._world.ssh_keys, default=0)
        self._world.ssh_keys[number] = key
        return web.json_response({"success": True, "key": {"id": number, "user_id": 1, "public_key": key}})

    async def account(self, _: web.Request) -> web.Response:
        """GET /api/v0/users/current/"""
        credit = self._world.credit
        answer = {"id": 1, "username": "fake", "email": "fake@example.com", "credit": credit, "balance": 0.0}
        return web.json_response(answer)

    async def retired(self, _: web.Request) -> web.Response:
        """GET /api/v0/instances/"""
        return refused(410, "gone", "GET /api/v0/instances/ is retired: use /api/v1/instances/")

    def _find(self, request: web.Request) -> FakeInstance | None:
        instance = self._world.instances.get(int(request.match_info["id"]))
        if instance is None or instance.destroyed_at is not None:
            return None
        instance.advance(time.time())
        return instance


def gone(number: int) -> web.Response:
    """The offer is rented."""
    msg = f"error 410/3907: no_such_ask Instance type {number} is no longer available."
    return refused(410, "no_such_ask", msg, ask_id=number)


def no_credit() -> web.Response:
    """Nothing is rented to an account without money."""
    return refused(400, "insufficient_credit", "Your account lacks credit; see the billing page.")


def _wrong_create(body: dict[str, Any]) -> str:
    """What the API holds against a create; empty where nothing."""
    env, price = body.get("env") or {}, body.get("price")
    if not body.get("image"):
        return "image is required"
    if not isinstance(env, dict):
        return "env must be an object"
    if any(len(str(value)) > LONGEST_ENV_VALUE for value in env.values()):
        return f"env value longer than {LONGEST_ENV_VALUE}"
    if len(str(body.get("label") or "")) > LONGEST_LABEL:
        return f"label longer than {LONGEST_LABEL}"
    if len(str(body.get("onstart") or "")) > LONGEST_ONSTART:
        return f"onstart longer than {LONGEST_ONSTART}"
    if float(body.get("disk") or LEAST_DISK_GB) < LEAST_DISK_GB:
        return f"disk under {LEAST_DISK_GB} GB"
    if price is not None and not 0.001 <= float(price) <= 128:
        return "price out of range"
    return ""


def _token(last_id: int) -> str:
    return base64.urlsafe_b64encode(json.dumps({"values": {"id": last_id}}).encode()).decode()


def _after(token: str | None) -> int:
    return 0 if not token else int(json.loads(base64.urlsafe_b64decode(token))["values"]["id"])
