"""Which jobs a Ray cluster ran, from when to when, and which of them used nodes beside its head: by its dashboard.

The dashboard answers on loopback alone; it is asked without proxies, with the cluster's token where there is one.
"""

import os
from pathlib import Path
from typing import Any

import httpx
import msgspec

from midas_ray.errors import MidasError
from midas_ray.ray_token import TOKEN, default_path

TIMEOUT_S = 5.0
MOST_ROWS = 10_000
"""Actors and tasks that Ray's API gives at most."""


class RayUnreachableError(MidasError):
    """The dashboard does not answer, refuses the token, or says what it does not document."""


class RayJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job, as the dashboard tells of it. What else it tells, such as environments with secrets, is not kept."""

    job_id: str | None = None
    submission_id: str | None = None
    status: str
    entrypoint: str = ""
    start_time: float | None = None
    """Milliseconds since 1970."""
    end_time: float | None = None

    @property
    def name(self) -> str:
        return self.submission_id or self.job_id or ""


class _Node(msgspec.Struct, frozen=True):
    node_id: str
    is_head_node: bool


class _Work(msgspec.Struct, frozen=True):
    """An actor or a task."""

    job_id: str | None = None
    node_id: str | None = None


def jobs_beside_head(address: str) -> list[RayJob]:
    """The jobs whose actors or tasks ran on nodes beside the head, oldest first. Raises RayUnreachableError.

    Ray forgets tasks of jobs that had very many (100,000), and nodes after 1,000 others.
    """
    headers = {"Authorization": f"Bearer {token}"} if (token := _token()) else {}
    with httpx.Client(base_url=address, headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
        jobs = _ask(client, "/api/jobs/", list[RayJob])
        if not jobs:
            return []
        nodes = _state(client, "nodes", _Node)
        rented = {node.node_id for node in nodes if not node.is_head_node}
        work = [*_state(client, "actors", _Work), *_state(client, "tasks", _Work)]
    used = {each.job_id for each in work if each.node_id in rented}
    return sorted((job for job in jobs if job.job_id in used), key=lambda job: job.start_time or 0.0)


def _token() -> str:
    """The cluster's token as Ray finds it; none where there is none."""
    given = os.environ.get(TOKEN, "").strip()
    path: Path = default_path()
    if given or not path.is_file():
        return given
    try:
        return path.read_text().strip()
    except OSError as error:
        raise RayUnreachableError(f"{path}: expected the cluster's token, cannot read it ({error.strerror})") from None


def _state(client: httpx.Client, what: str, kind: type[Any]) -> list[Any]:
    answer = _ask(client, f"/api/v0/{what}?detail=true&limit={MOST_ROWS}", dict[str, Any])
    try:
        return msgspec.convert(answer["data"]["result"]["result"], list[kind])  # type: ignore[valid-type]
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise _malformed(client, what, error) from None


def _ask(client: httpx.Client, path: str, kind: Any) -> Any:
    try:
        answer = client.get(path)
    except httpx.HTTPError as error:
        raise RayUnreachableError(f"no Ray dashboard answers at {client.base_url} ({type(error).__name__})") from None
    if answer.status_code in (401, 403):
        raise RayUnreachableError(
            f"the Ray dashboard at {client.base_url} refuses the token: expected that of the cluster in RAY_AUTH_TOKEN "
            f"or in the file RAY_AUTH_TOKEN_PATH ({default_path()})"
        )
    if answer.status_code != 200:
        raise RayUnreachableError(f"the Ray dashboard at {client.base_url} answers HTTP {answer.status_code}")
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise _malformed(client, path, error) from None


def _malformed(client: httpx.Client, what: str, error: Exception) -> RayUnreachableError:
    return RayUnreachableError(f"the Ray dashboard at {client.base_url}: {what}: not as documented: {error}")
