"""One call to Vast.ai's API: paced, authorised, repeated where that is safe, its failure told by kind."""

import ipaddress
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec
import stamina

from midas_ray import __version__
from midas_ray.cloud.errors import (
    AuthError,
    MalformedAnswerError,
    NoCreditError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
    VastError,
)
from midas_ray.cloud.pace import Pace
from midas_ray.errors import UsageError

stamina.instrumentation.set_on_retry_hooks(())  # it would print each repetition on the user's terminal

ATTEMPTS = 6
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 15.0
LONGEST_REASON = 300
"""Characters kept of what the API says of a failure."""


class Transport:
    """HTTP to `base_url` with the account's key; thread-safe."""

    def __init__(self, api_key: str, base_url: str, pace: Pace, timeout_s: float, total_s: float) -> None:
        local = _check_url(base_url)
        self._api_key = api_key
        self._url = base_url.rstrip("/")
        self._pace = pace
        self._total_s = total_s
        self._http = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {api_key}", "User-Agent": f"midas-ray/{__version__}"},
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
            follow_redirects=False,  # the key goes to this address and no other
            trust_env=not local,  # a proxy of the environment has no business with a server on this machine
        )

    def call(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> object:
        """The decoded JSON of one call. Raises VastError.

        429 is always repeated (nothing was done); 5xx, timeouts and broken connections where `repeatable`; all within
        `total_s`.
        """
        until = time.monotonic() + self._total_s
        backoff = _Backoff(self._pace, kind, until, repeatable)
        for attempt in stamina.retry_context(on=backoff, attempts=ATTEMPTS, timeout=None):
            with attempt:
                self._pace.wait(kind, until)
                return self._once(kind, method, path, body, params)
        raise AssertionError("stamina raises what the last attempt raised")

    def _once(
        self, kind: str, method: str, path: str, body: Mapping[str, Any] | None, params: Mapping[str, str] | None
    ) -> object:
        try:
            response = self._http.request(method, path, json=body, params=params)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            raise UnavailableError(
                self._line(kind, f"no connection to {self._url} ({_name(error)})"), maybe_done=False
            ) from None
        except httpx.TransportError as error:
            raise UnavailableError(
                self._line(kind, f"no answer from {self._url} ({_name(error)})"), maybe_done=True
            ) from None
        if not response.is_success:
            raise self._failure(kind, response)
        try:
            answer = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = f"found {len(response.content)} bytes of something else"
            raise MalformedAnswerError(self._line(kind, f"expected JSON, {found}")) from None
        if isinstance(answer, dict) and answer.get("success") is False:
            raise self._refusal(kind, response, answer)
        return answer

    def _failure(self, kind: str, response: httpx.Response) -> VastError:
        status = response.status_code
        try:
            answer = msgspec.json.decode(response.content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            answer = response.text
        if not isinstance(answer, dict):
            answer = {"msg": answer if isinstance(answer, str) else ""}
        reason = _reason(answer)
        if status == 429:
            retry_after_s = _seconds(response.headers.get("Retry-After"))
            return RateLimitedError(self._line(kind, f"too many calls (429): {reason}"), retry_after_s)
        if status >= 500:
            return UnavailableError(self._line(kind, f"HTTP {status}: {reason}"), maybe_done=True)
        return self._refusal(kind, response, answer)

    def _refusal(self, kind: str, response: httpx.Response, answer: dict[str, Any]) -> VastError:
        status, code, reason = response.status_code, str(answer.get("error", "")), _reason(answer)
        lowered = f"{code} {reason}".lower()
        key_refused = "invalid user key" in lowered or "invalid api key" in lowered
        if status == 401 or key_refused or (status == 403 and code != "invalid_args"):
            return AuthError(
                self._line(
                    kind, f"the API key is refused (HTTP {status}: {reason}): check VAST_API_KEY or the key file"
                )
            )
        if "insufficient_credit" in lowered or "lacks credit" in lowered:
            return NoCreditError(
                self._line(kind, f"the account has no credit ({reason}): add some at https://cloud.vast.ai/billing/")
            )
        return RefusedError(self._line(kind, f"refused (HTTP {status}): {reason}"), status=status, code=code)

    def _line(self, kind: str, text: str) -> str:
        """One line that names the call and never the key, whatever the other side echoes."""
        line = " ".join(f"Vast.ai API: {kind}: {text}".split())
        return line.replace(self._api_key, "***")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


class _Backoff:
    """Whether and after how long a failed call goes out again; counts what one call has waited."""

    def __init__(self, pace: Pace, kind: str, until: float, repeatable: bool) -> None:
        self._pace, self._kind, self._until, self._repeatable = pace, kind, until, repeatable
        self._next_s = FIRST_BACKOFF_S

    def __call__(self, error: Exception) -> bool | float:
        wait_s = self._next_s
        if isinstance(error, RateLimitedError):
            wait_s = max(wait_s, error.retry_after_s or self._pace.interval_s(self._kind))
        elif not (isinstance(error, UnavailableError) and (self._repeatable or not error.maybe_done)):
            return False
        if time.monotonic() + wait_s > self._until:
            return False
        if isinstance(error, RateLimitedError):
            self._pace.hold(self._kind, wait_s)
        self._next_s = min(2 * self._next_s, LONGEST_BACKOFF_S)
        return wait_s


def _check_url(base_url: str) -> bool:
    """Whether `base_url` is on a private network. Raises UsageError: the key goes over https to any other address."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    try:
        private = host == "localhost" or ipaddress.ip_address(host).is_private
    except ValueError:
        private = False
    if not host or parts.scheme not in {"http", "https"}:
        raise UsageError(f"VAST_URL: expected an address such as https://console.vast.ai, found {base_url!r}")
    if parts.scheme == "http" and not private:
        raise UsageError(f"VAST_URL: expected https (http only to a private address), found {base_url!r}")
    return private


def _name(error: httpx.TransportError) -> str:
    """What happened, without the request: `ReadTimeout`, or the system's text."""
    return str(error) or type(error).__name__


def _reason(answer: dict[str, Any]) -> str:
    """What the API says; endpoints differ in the field."""
    for field in ("msg", "message", "detail", "error"):
        text = answer.get(field)
        if isinstance(text, str) and text.strip():
            return text.strip()[:LONGEST_REASON]
    return "no reason given"


def _seconds(header: str | None) -> float | None:
    """Seconds of a Retry-After header; None where there is none or it is a date."""
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None
