import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.importers.units import EARLIEST_NS, LATEST_NS, UNITS, unit_of


@given(st.integers(EARLIEST_NS, LATEST_NS - 1), st.sampled_from(UNITS))
def test_unit_is_told_by_magnitude_and_exact(ns: int, unit: object) -> None:
    chosen = next(each for each in UNITS if each is unit)
    whole, rest = divmod(ns, chosen.ns)
    width = len(str(chosen.ns)) - 1
    stamp = f"{whole}.{rest:0{width}d}" if width else str(whole)
    assert chosen.to_ns(stamp.encode()) == ns
    if ns - rest >= EARLIEST_NS:
        assert unit_of(stamp.encode()) == chosen
        assert unit_of(str(whole).encode()) == chosen


@pytest.mark.parametrize(
    "stamp", [b"", b"12", b"2024-08-08", b"1723161255,03", b"-1723161255", b"1e9", b"99999999999", b"{", b"9" * 50]
)
def test_what_is_no_time_has_no_unit(stamp: bytes) -> None:
    assert unit_of(stamp) is None


def test_decimal_seconds_keep_every_digit() -> None:
    unit = unit_of(b"1626992741.06217")
    assert unit is not None
    assert unit.name == "s"
    assert unit.to_ns(b"1626992741.06217") == 1626992741062170000
    assert unit.to_ns(b"1626992741") == 1626992741000000000
