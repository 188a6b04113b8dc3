"""What the fake does beside working: delays, limits and what goes wrong; in Python, or JSON to `POST /fake/script`."""

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from midas_ray.errors import UsageError

Outcome = Literal["runs", "never_starts", "no_ssh", "exits", "offline", "unknown", "outbid"]
What = Literal["429", "500", "502", "503", "malformed", "hang", "drop", "gone", "lost", "no_credit"]

THRESHOLDS_S = {
    "search": 2.0,
    "create": 4.5,
    "instances": 2.0,
    "show": 2.0,
    "label": 1.0,
    "destroy": 3.0,
    "ssh": 1.0,
    "add_ssh": 1.0,
    "account": 1.0,
}
"""The real API's minimum intervals by kind of call, s."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What becomes of an instance: runs; never_starts (loading for ever); no_ssh (running, nobody answers at its port);
    exits, offline, unknown (lost) or outbid `after_s` after it began to run (0 and not outbid: in place of running)."""

    outcome: Outcome = "runs"
    after_s: float = 0.0


@dataclass(kw_only=True)
class Failure:
    """What the next calls meet.

    429, 500, 502, 503: refused with it; malformed: 200 and broken JSON; hang: no answer for `hang_s`; drop: the
    connection is cut; gone, no_credit: a create is refused so; lost: a create is carried out and its answer dropped.
    All but lost leave things as they are.
    """

    what: What
    call: str = ""
    """Kind of call: search, create, instances, show, label, destroy, ssh, add_ssh, account; empty = any."""
    times: int = 1
    """So many calls; then no more."""
    retry_after_s: float | None = None
    """With 429: the Retry-After header, s."""
    hang_s: float = 30.0
    """With hang and lost: how long no answer comes, s."""


@dataclass(kw_only=True)
class Script:
    """How the fake behaves. The default is quick and without limits; `realistic()` is as the real one."""

    provisioned_s: float = 0.02
    """From the create until the status is no longer null, s."""
    created_s: float = 0.02
    """How long it is `created`, s."""
    loading_s: float = 0.05
    """How long it is `loading`, at least: until its machine is up, s."""
    plans: list[Plan] = field(default_factory=list)
    """Of the next instances, one each, in order; then `default`."""
    default: Plan = field(default_factory=Plan)
    failures: list[Failure] = field(default_factory=list)
    """Of the next calls; the first that matches a call strikes."""
    intervals_s: dict[str, float] = field(default_factory=dict)
    """Minimum interval by kind of call, s: what comes sooner is refused with 429."""
    search_rows_a_day: int = 0
    """Offers listed a day (24 h); beyond, 429 with Retry-After until the day is over; 0 = no limit."""

    @classmethod
    def realistic(cls) -> "Script":
        """Delays and limits as the real API's, but a smaller image."""
        return cls(
            provisioned_s=1.0,
            created_s=2.0,
            loading_s=12.0,
            intervals_s=dict(THRESHOLDS_S),
            search_rows_a_day=20_000,
        )

    def next_plan(self) -> Plan:
        """The plan of an instance that is made now."""
        return self.plans.pop(0) if self.plans else self.default

    def strikes(self, call: str) -> Failure | None:
        """The failure that a call of this kind meets now, counted down; None where it meets none."""
        for failure in self.failures:
            if failure.times > 0 and failure.call in ("", call):
                failure.times -= 1
                return failure
        return None

    def to_json(self) -> dict[str, Any]:
        """Every field, as JSON takes it."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return content


def changed(script: Script, changes: dict[str, Any]) -> Script:
    """`script` with fields replaced by those of `changes`. Raises UsageError on an unknown field or a bad value."""
    unknown = sorted(set(changes) - set(script.to_json()))
    if unknown:
        raise UsageError(f"fake script: expected {', '.join(script.to_json())}, found {', '.join(unknown)}")
    try:
        return msgspec.convert(script.to_json() | changes, Script)
    except msgspec.ValidationError as error:
        raise UsageError(f"fake script: {error}") from None
