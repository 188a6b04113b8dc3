"""Why the exchange refused an HTTP request or a WebSocket handshake, and for how long. No I/O."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from midas_ray.venues.messages import RestError

BAN_S = 120.0
"""Length of a ban that does not say its own: the shortest one."""
BACK_OFF_S = 60.0
"""Pause after a 429 that does not say how long."""
FIREWALL_S = 15.0
FIREWALL_MOST_S = 300.0
"""Pause after a first 403, doubled with each further one, up to where the firewall forgets an address: a hiccup of a
second is not to cost minutes."""
MOST_WAIT_S = 3 * 86400.0
"""The longest ban. A longer one is a wrong clock here or there."""

RefusalKind = Literal["ban", "limit", "firewall", "geo", "server", "other"]

_decode_error = msgspec.json.Decoder(RestError).decode


@dataclass(frozen=True, slots=True)
class Refusal:
    """kind: `ban` (418: this address is banned), `limit` (429: called too often), `firewall` (403), `geo` (451: not
    served here, fatal), `server` (5xx: worth another try), `other` (the request itself is wrong; `code`: the venue's).

    wait_s: how long nothing may be asked from this address; None where that is not limited. text: one line.
    """

    kind: RefusalKind
    wait_s: float | None
    text: str
    code: int | None = None

    def wait_again_s(self, times: int) -> float | None:
        """`wait_s` where it is the refusal number `times` in a row (1 = the first)."""
        if self.kind != "firewall" or self.wait_s is None:
            return self.wait_s
        return min(self.wait_s * 2.0 ** min(times - 1, 10), FIREWALL_MOST_S)

    @property
    def stops_sockets(self) -> bool:
        """Connections have to wait, too. The weight limit and the firewall of REST concern requests alone."""
        return self.kind == "ban"


def refusal_of(status: int, headers: Mapping[str, str], body: bytes, where: str, now_ns: int | None = None) -> Refusal:
    """What a status other than the expected one means.

    headers: looked up as `Retry-After`. where: the URL, without its query. now_ns: wall clock, to which the end of a
    ban is compared; None = now.
    """
    match status:
        case 418:
            wait_s = _wait_s(headers, body, time.time_ns() if now_ns is None else now_ns) or BAN_S
            text = f"this address is banned (HTTP 418) for {wait_s:.0f} s more; stop other programs that call"
            return Refusal("ban", wait_s, f"{where}: {text}")
        case 429:
            wait_s = _wait_s(headers, body, time.time_ns() if now_ns is None else now_ns) or BACK_OFF_S
            text = f"called too often, over the request weight limit (HTTP 429); calling again in {wait_s:.0f} s"
            return Refusal("limit", wait_s, f"{where}: {text}")
        case 403:
            text = "refused by the exchange's firewall (HTTP 403); waiting, ever longer; or use another address"
            return Refusal("firewall", FIREWALL_S, f"{where}: {text}")
        case 451:
            text = "not served in this country (HTTP 451); run from another location"
            return Refusal("geo", None, f"{where}: {text}")
    kind: RefusalKind = "server" if status >= 500 else "other"
    try:
        error = _decode_error(body)
    except msgspec.DecodeError:
        return Refusal(kind, None, f"{where}: expected HTTP 200, found {status}; try again later")
    return Refusal(kind, None, f"{where}: HTTP {status}, error {error.code}: {error.msg}", error.code)


def _wait_s(headers: Mapping[str, str], body: bytes, now_ns: int) -> float | None:
    """Retry-After, which no wrong clock touches, or the time until the end of the ban that the -1003 text tells."""
    retry_after = headers.get("Retry-After")
    if retry_after and retry_after.isdecimal() and int(retry_after) > 0:
        return min(float(retry_after), MOST_WAIT_S)
    until = re.search(rb"until (\d{13})", body)
    if until is None:
        return None
    wait_s = (int(until[1]) * 10**6 - now_ns) / 1e9
    return min(wait_s, MOST_WAIT_S) if wait_s > 0 else None
