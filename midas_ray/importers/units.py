"""The unit of a timestamp, told by its magnitude; decimal text to integer nanoseconds without rounding."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

EARLIEST_NS = 1_230_940_800 * 10**9
"""2009-01-03, the first block of the first coin: nothing was traded before."""

LATEST_NS = 4_102_444_800 * 10**9
"""2100-01-01."""

_NUMBER = re.compile(rb"\d+(?:\.\d*)?")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of time: its name and how many nanoseconds it has."""

    name: str
    ns: int

    def to_ns(self, stamp: bytes) -> int:
        """Nanoseconds since 1970 of decimal text; digits beyond the nanosecond are cut. Raises ValueError otherwise."""
        if stamp.isdigit():
            return int(stamp) * self.ns
        if not _NUMBER.fullmatch(stamp):
            raise ValueError(f"not a number: {stamp[:40]!r}")
        whole, _, fraction = stamp.partition(b".")
        return int(whole) * self.ns + int((fraction[:9] or b"0").ljust(9, b"0")) * self.ns // 10**9


UNITS = (Unit("s", 10**9), Unit("ms", 10**6), Unit("us", 10**3), Unit("ns", 1))


def unit_of(stamp: bytes) -> Unit | None:
    """The unit in which decimal text is a time from 2009 to 2100 (there is one at most); None where there is none."""
    if len(stamp) > 40 or not _NUMBER.fullmatch(stamp):
        return None
    return next((unit for unit in UNITS if EARLIEST_NS <= unit.to_ns(stamp) < LATEST_NS), None)


def utc_text(ns: int) -> str:
    """`2024-08-08 23:54:15` of nanoseconds since 1970."""
    return datetime.fromtimestamp(ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")
