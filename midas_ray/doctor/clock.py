"""This machine's clock: whether something keeps it right, and how far it is from the exchange's."""

import asyncio
import ctypes
import os
from dataclasses import dataclass

from midas_ray.capture.rest import ClockSample, RestClient
from midas_ray.doctor.finding import Finding
from midas_ray.errors import VenueError
from midas_ray.settings import Doctor
from midas_ray.venues import get_venue

STA_UNSYNC = 0x40
ERROR = -1
MOST_OFFSET_MS = 1000.0
"""Beyond this, live buckets are closed early or late: their end waits 1 s by the corrected clock."""
KEEP_IT = "have it kept by NTP: timedatectl set-ntp true, or install chrony"


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What Linux knows of its clock. most_error_ms: bound of its error, by what keeps it."""

    synchronised: bool
    most_error_ms: float


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2)."""

    _fields_ = [
        ("modes", ctypes.c_uint),
        *[(name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")],
        ("status", ctypes.c_int),
        *[(name, ctypes.c_long) for name in ("constant", "precision", "tolerance", "sec", "usec", "tick")],
        ("rest", ctypes.c_byte * 128),
    ]


def kernel_clock() -> KernelClock | None:
    """None where it cannot be asked: not Linux, or a sandbox that forbids it."""
    adjtimex = getattr(ctypes.CDLL(None, use_errno=True), "adjtimex", None)
    if adjtimex is None:
        return None
    state = _Timex()
    if adjtimex(ctypes.byref(state)) == ERROR:
        return None
    return KernelClock(not state.status & STA_UNSYNC, state.maxerror / 1000)


def check_kernel(state: KernelClock | None) -> Finding:
    """Needs no network."""
    if state is None:
        return Finding("clock", f"unknown whether it is kept right on {os.uname().sysname}", None, "see --online")
    if not state.synchronised:
        return Finding("clock", "not synchronised, as far as the kernel knows", None, f"{KEEP_IT}; see --online")
    return Finding("clock", f"synchronised, within {state.most_error_ms:.0f} ms", True)


def check_exchange(settings: Doctor) -> Finding:
    """How far the clock is from the exchange's."""
    try:
        sample = asyncio.run(_ask(settings))
    except VenueError as error:
        return Finding("exchange", str(error), None)
    return check_offset(settings.venue, sample)


def check_offset(venue: str, sample: ClockSample) -> Finding:
    """Latencies are corrected by the offset; what is written down by this machine's clock is not."""
    found = f"{venue} answers in {sample.round_trip_ms:.0f} ms; its clock is {sample.offset_ms:+.0f} ms from this one"
    right = abs(sample.offset_ms) <= MOST_OFFSET_MS + sample.round_trip_ms / 2
    return Finding("exchange", found, right, f"expected at most {MOST_OFFSET_MS:.0f} ms: {KEEP_IT}")


async def _ask(settings: Doctor) -> ClockSample:
    async with RestClient(get_venue(settings.venue), settings.exchange_url) as rest:
        return await rest.clock()
