"""When the next call of a kind may go out: Vast.ai wants a minimum interval between calls of one kind and one key."""

import threading
import time
from collections.abc import Mapping

from midas_ray.cloud.errors import RateLimitedError

INTERVALS_S: Mapping[str, float] = {
    "search": 2.1,
    "create": 4.6,
    "instances": 2.1,
    "show": 2.1,
    "label": 1.1,
    "destroy": 3.1,
    "ssh": 1.1,
    "add_ssh": 1.1,
    "account": 1.1,
}
"""Least seconds between two calls, by kind: the documented thresholds and a tenth of a second for the way."""


class Pace:
    """Slots of time for calls, handed out in the order of asking. Thread-safe."""

    def __init__(self, intervals_s: Mapping[str, float]) -> None:
        self._intervals_s = intervals_s
        self._free_at: dict[str, float] = {}
        self._last_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def interval_s(self, kind: str) -> float:
        """Least seconds between two calls of `kind`."""
        return self._intervals_s.get(kind, 0.0)

    def wait(self, kind: str, until: float) -> None:
        """Sleep until a call of `kind` may go out.

        Raises RateLimitedError at once, without having taken a slot, where that is after `until` (monotonic, s).
        """
        with self._lock:
            now = time.monotonic()
            slot = max(now, self._free_at.get(kind, 0.0))
            if slot > until:
                raise RateLimitedError(
                    f"Vast.ai API: {kind}: too many calls at once: the next may go out in {slot - now:.1f} s",
                    retry_after_s=slot - now,
                )
            self._free_at[kind] = slot + self.interval_s(kind)
        time.sleep(max(0.0, slot - now))
        while (early_s := self._early_s(kind)) > 0:
            time.sleep(early_s)

    def _early_s(self, kind: str) -> float:
        """How much too early now is, s, because the call before went out later than its slot; else it is noted."""
        with self._lock:
            now = time.monotonic()
            early_s = self._last_at.get(kind, -float("inf")) + self.interval_s(kind) - now
            if early_s <= 0:
                self._last_at[kind] = now
            return early_s

    def hold(self, kind: str, seconds: float) -> None:
        """Let no call of `kind` out for so long, because the API said so."""
        with self._lock:
            self._free_at[kind] = max(self._free_at.get(kind, 0.0), time.monotonic() + seconds)
