"""Decimal columns as integers: exact, at the fewest decimals, refused beyond 18 digits."""

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.importers.vision.decimals import Decimals

EXACT = pa.decimal128(38, 10)


def of(*texts: str) -> Decimals | None:
    return Decimals.of(pa.array([Decimal(text) for text in texts], EXACT))


def test_the_fewest_decimals_that_hold_all() -> None:
    found = of("61800.20", "3", "0.5")
    assert found is not None
    assert (found.ints.tolist(), found.decimals) == ([618002, 30, 5], 1)
    whole = of("100", "20")
    assert whole is not None
    assert (whole.ints.tolist(), whole.decimals) == ([100, 20], 0)


def test_large_sizes_of_cheap_coins() -> None:
    found = of("98765432109876.00000000", "0.25")
    assert found is not None
    assert (found.ints.tolist(), found.decimals) == ([9876543210987600, 25], 2)
    assert of("98765432109876", "0.0000000001") is None
    assert of("1234567890123456789") is None


def test_parts_are_joined_at_the_wider_scale() -> None:
    first, second = of("1.5"), of("2.125", "7")
    assert first is not None
    assert second is not None
    assert Decimals.joined([first, second]).ints.tolist() == [1500, 2125, 7000]
    assert Decimals.joined([first, second[1:2]]).decimals == 1
    with pytest.raises(OverflowError):
        Decimals.joined([second, Decimals(first.ints * 10**16, 0)])


@given(st.lists(st.decimals("0.0000000001", 10**7, places=10), min_size=1))
def test_any_numbers_come_back(numbers: list[Decimal]) -> None:
    found = Decimals.of(pa.array(numbers, EXACT))
    assert found is not None
    assert [Decimal(each).scaleb(-found.decimals) for each in found.ints.tolist()] == numbers
    fewest = max(max(0, -number.normalize().as_tuple().exponent) for number in numbers)  # type: ignore[operator]
    assert found.decimals == fewest
