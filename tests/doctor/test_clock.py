"""`midas doctor`: the clock, by the kernel and by an exchange."""

import ctypes

import pytest

from midas_ray.capture.rest import ClockSample
from midas_ray.doctor import clock
from midas_ray.doctor.clock import KernelClock
from midas_ray.settings import Doctor


def test_what_the_kernel_says() -> None:
    assert clock.check_kernel(KernelClock(True, 12.4)).line == "ok      clock: synchronised, within 12 ms"
    unkept = clock.check_kernel(KernelClock(False, 16000.0))
    assert unkept.ok is None
    assert "timedatectl set-ntp true" in unkept.advice
    assert clock.check_kernel(None).found.startswith("unknown")


def test_the_kernel_is_asked_without_changing_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer is plausible; where it must not be asked, nothing is known."""
    state = clock.kernel_clock()
    assert state is None or 0 <= state.most_error_ms <= 20_000

    class Refusing:
        @staticmethod
        def adjtimex(_: object) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_options: Refusing())
    assert clock.kernel_clock() is None
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_options: object())
    assert clock.kernel_clock() is None


def test_the_offset_to_the_exchange() -> None:
    near = clock.check_offset("binance-futures", ClockSample(offset_ms=-180.4, round_trip_ms=31.0))
    assert near.ok is True
    assert near.found == "binance-futures answers in 31 ms; its clock is -180 ms from this one"
    assert clock.check_offset("binance-futures", ClockSample(offset_ms=1500.0, round_trip_ms=31.0)).ok is False
    slow = ClockSample(offset_ms=1500.0, round_trip_ms=1200.0)  # the offset is right to half of the round trip
    assert clock.check_offset("binance-futures", slow).ok is True


def test_no_network_is_a_note() -> None:
    finding = clock.check_exchange(Doctor(online=True, exchange_url="http://127.0.0.1:1"))
    assert finding.ok is None
    assert "cannot reach the exchange" in finding.found
