"""Vast.ai's REST API, typed: search, rent, list, label, destroy. Synchronous, thread-safe, bounded in time.

Every call waits for its kind's minimum interval, is repeated within a bounded time where that is safe (429; and for
calls that change nothing twice, also 5xx, timeouts and broken connections), and fails with one of the kinds of
`midas_ray.cloud.errors`. No message, log or repr holds the API key.
Sources: docs.vast.ai/api-reference and the official CLI, github.com/vast-ai/vast-cli.
"""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any, Self

from midas_ray.cloud.errors import (
    CreateUnknownError,
    MalformedAnswerError,
    OfferGoneError,
    RefusedError,
    UnavailableError,
    VastError,
)
from midas_ray.cloud.messages import Account, Instance, Offer, read
from midas_ray.cloud.offers import OfferQuery, to_search
from midas_ray.cloud.pace import INTERVALS_S, Pace
from midas_ray.cloud.transport import Transport

DEFAULT_URL = "https://console.vast.ai"
MAX_LABEL = 60
"""Characters that a label may have: more is documented, this many are shown everywhere."""
MAX_ONSTART = 4048
"""Characters that `onstart` may have."""
MAX_ENV_VALUE = 256
"""Characters that one variable of `env` may have."""
MIN_DISK_GB = 8.0
LIST_PAGE = 25
"""Most instances in a page of the listing."""
MOST_PAGES = 400
LOOKUPS = 3
"""Listings in which a created instance whose answer was lost is looked for."""
LOOKUP_EVERY_S = 1.5


class VastClient:
    """The account that `api_key` opens, at `base_url`.

    One may be shared by threads, and should be: minimum intervals are kept per client. `with` closes it.
    """

    def __init__(
        self,
        api_key: str,
        base_url: str = DEFAULT_URL,
        *,
        timeout_s: float = 20.0,
        total_s: float = 60.0,
        intervals_s: Mapping[str, float] = INTERVALS_S,
    ) -> None:
        """`timeout_s`: for one answer; `total_s`: for a call with all its repetitions and waits, but for the last
        answer; `intervals_s`: minimum interval by kind of call (pace.INTERVALS_S), s. Raises UsageError on a bad URL.
        """
        self._transport = Transport(api_key, base_url, Pace(intervals_s), timeout_s, total_s)
        self._base_url = base_url
        self._listing = threading.Lock()
        self._listed_from = -1.0
        self._listed: list[Instance] | VastError = []

    def __repr__(self) -> str:
        return f"VastClient({self._base_url!r})"

    def search(self, query: OfferQuery, limit: int = 64) -> list[Offer]:
        """Offers that the API holds to fit, cheapest first; not yet ranked (`offers.rank`). Raises VastError.

        The API gives at most 64, and takes each row off a daily quota.
        """
        body = to_search(query) | {"limit": limit}
        answer = self._transport.call("search", "POST", "/api/v0/bundles/", body=body)
        return [read(Offer, raw, "an offer") for raw in _rows(answer, "offers", "search")]

    def create(
        self,
        offer_id: int,
        *,
        image: str,
        disk_gb: float,
        label: str,
        env: dict[str, str],
        onstart: str,
        bid_price: float | None,
    ) -> int:
        """Rent an offer; gives the instance's id. `label` must be new: a lost answer is looked up by it, not repeated.

        `bid_price`: $ an hour without the disk; None = on demand. Raises OfferGoneError, NoCreditError, RefusedError,
        CreateUnknownError (an instance may exist), RateLimitedError and UnavailableError (none does). Interrupted, it
        leaves what CreateUnknownError says: note the label before the call.
        """
        _check_create(label, env, onstart, disk_gb)
        body: dict[str, Any] = {
            "client_id": "me",
            "image": image,
            "disk": disk_gb,
            "label": label,
            "env": env,
            "onstart": onstart,
            "runtype": "ssh_direct",
            "target_state": "running",
            "cancel_unavail": True,
        }
        if bid_price is not None:
            body["price"] = bid_price
        try:
            return self._create(offer_id, body)
        except (UnavailableError, MalformedAnswerError) as error:
            if isinstance(error, UnavailableError) and not error.maybe_done:
                raise
            return self._created(label, error)

    def _create(self, offer_id: int, body: dict[str, Any]) -> int:
        try:
            answer = self._transport.call("create", "PUT", f"/api/v0/asks/{offer_id}/", body=body, repeatable=False)
        except RefusedError as error:
            if error.status in (404, 410) or "no_such_ask" in f"{error.code} {error}":
                raise OfferGoneError(f"offer {offer_id} was rented by another meanwhile ({error})") from None
            raise
        new_id = answer.get("new_contract") if isinstance(answer, dict) else None
        if not isinstance(new_id, int):
            raise MalformedAnswerError("Vast.ai API: create: expected new_contract, found none")
        return new_id

    def _created(self, label: str, lost: VastError) -> int:
        """The instance that bears `label`, whose create had no answer. Raises CreateUnknownError where none does."""
        for lookup in range(LOOKUPS):
            if lookup:
                time.sleep(LOOKUP_EVERY_S)
            try:
                ids = [instance.id for instance in self.instances() if instance.label == label]
            except VastError as error:
                raise CreateUnknownError(f"{lost}; whether an instance {label!r} exists: {error}", label) from None
            if ids:
                return max(ids)
        raise CreateUnknownError(f"{lost}; no instance {label!r} exists so far", label)

    def instances(self) -> list[Instance]:
        """Every instance of the account, also those that others made.

        Threads that ask while a listing is under way share the next one, or its failure: two listings serve any
        number of them.
        """
        asked = time.monotonic()
        with self._listing:
            if self._listed_from < asked:
                began = time.monotonic()
                try:
                    self._listed = self._list()
                except VastError as error:
                    self._listed = error
                self._listed_from = began
            if isinstance(self._listed, VastError):
                raise self._listed.with_traceback(None)
            return list(self._listed)

    def _list(self) -> list[Instance]:
        params = {
            "select_filters": "{}",
            "order_by": json.dumps([{"col": "id", "dir": "asc"}]),
            "limit": str(LIST_PAGE),
        }
        found: list[Instance] = []
        tokens: set[str] = set()
        for _ in range(MOST_PAGES):
            answer = self._transport.call("instances", "GET", "/api/v1/instances/", params=params)
            found += [read(Instance, raw, "an instance") for raw in _rows(answer, "instances", "instances")]
            token = answer.get("next_token") if isinstance(answer, dict) else None
            if not token:
                return found
            if not isinstance(token, str) or token in tokens:
                raise MalformedAnswerError("Vast.ai API: instances: expected a new page, found one given already")
            tokens.add(token)
            params = params | {"after_token": token}
        raise MalformedAnswerError(f"Vast.ai API: instances: expected at most {MOST_PAGES} pages, found more")

    def show(self, instance_id: int) -> Instance | None:
        """One instance; None where the account has none of this id."""
        try:
            answer = self._transport.call("show", "GET", f"/api/v0/instances/{instance_id}/", params={"owner": "me"})
        except RefusedError as error:
            if error.status in (404, 410):
                return None
            raise
        if not isinstance(answer, dict) or "instances" not in answer:
            raise MalformedAnswerError("Vast.ai API: show: expected an object with `instances`, found none")
        raw = answer["instances"]
        return None if raw is None or raw == [] else read(Instance, raw, f"instance {instance_id}")

    def set_label(self, instance_id: int, label: str) -> None:
        """Label an instance. Raises RefusedError where it is gone."""
        _check_length("label", label, MAX_LABEL)
        self._transport.call("label", "PUT", f"/api/v0/instances/{instance_id}/", body={"label": label})

    def destroy(self, instance_id: int) -> None:
        """Destroy an instance and end its charges; gone already is fine."""
        try:
            self._transport.call("destroy", "DELETE", f"/api/v0/instances/{instance_id}/", body={})
        except RefusedError as error:
            if error.status not in (404, 410) and error.code not in ("no_such_instance", "not_found"):
                raise

    def ensure_ssh_key(self, public_key: str) -> None:
        """Have the account hold `public_key` (one line of OpenSSH): instances made from now on let it in."""
        words = public_key.split()
        if len(words) < 2 or "\n" in public_key.strip() or "PRIVATE" in public_key:
            raise RefusedError("expected a public SSH key on one line, such as `ssh-ed25519 AAAA... name`")
        for last in (False, True):
            if self._has_ssh_key(words[1]):
                return
            try:
                body = {"ssh_key": public_key.strip()}
                self._transport.call("add_ssh", "POST", "/api/v0/ssh/", body=body, repeatable=False)
            except UnavailableError as error:
                if last or not error.maybe_done:
                    raise
            else:
                return

    def _has_ssh_key(self, blob: str) -> bool:
        answer = self._transport.call("ssh", "GET", "/api/v0/ssh/")
        keys = answer if isinstance(answer, list) else _rows(answer, "ssh_keys", "ssh")
        held = [
            str(raw.get(field, "")).split() for raw in keys if isinstance(raw, dict) for field in ("key", "public_key")
        ]
        return any(blob in words for words in held)

    def account(self) -> Account:
        """What the account has left to spend."""
        answer = self._transport.call("account", "GET", "/api/v0/users/current/", params={"owner": "me"})
        return read(Account, answer, "the account")

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rows(answer: object, field: str, kind: str) -> list[Any]:
    """The list that `answer` holds under `field`. Raises MalformedAnswerError: no list is not an empty list."""
    rows = answer.get(field) if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        raise MalformedAnswerError(f"Vast.ai API: {kind}: expected a list `{field}`, found {type(rows).__name__}")
    return rows


def _check_create(label: str, env: dict[str, str], onstart: str, disk_gb: float) -> None:
    """Raises RefusedError, before anything is sent, where the API would refuse."""
    _check_length("label", label, MAX_LABEL)
    _check_length("onstart", onstart, MAX_ONSTART)
    for name, value in env.items():
        _check_length(f"env {name}", value, MAX_ENV_VALUE)
    if not label:
        raise RefusedError("label: expected one of its own for every instance, found none")
    if disk_gb < MIN_DISK_GB:
        raise RefusedError(f"disk: expected at least {MIN_DISK_GB:g} GB, found {disk_gb:g}")


def _check_length(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise RefusedError(f"{what}: expected at most {most} characters, found {len(text)}")
