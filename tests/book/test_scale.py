import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.book.kernels import MAX_DECIMALS
from midas_ray.book.scale import Scale, ScaleTooSmallError


@given(st.integers(0, 10**9 - 1), st.text("0123456789", max_size=8), st.integers(8, 9))
def test_text_to_integer_and_back(whole: int, fraction: str, decimals: int) -> None:
    text = f"{whole}.{fraction}" if fraction else str(whole)
    value = Scale(decimals, 0).px_int(text)
    assert value == int(f"{whole}{fraction.ljust(decimals, '0')}")
    assert Scale(decimals, 0).px_text(value) == f"{whole}.{fraction.ljust(decimals, '0')}"


def test_trailing_zeros_need_no_decimals() -> None:
    assert Scale(0, 0).sz_int("12345678901234.00000000") == 12345678901234
    assert Scale(2, 0).px_int("61800.20000000") == 6180020
    with pytest.raises(ScaleTooSmallError) as caught:
        Scale(2, 3).px_int("0.00120")
    assert caught.value.scale == Scale(4, 3)
    with pytest.raises(ScaleTooSmallError) as caught:
        Scale(2, 3).sz_int("1.2345")
    assert caught.value.scale == Scale(2, 4)


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".5", "-1", "+1", "1e5", "1,5", " 1", "١", "0x1", "1.2.3", "NaN", "1" * 19, "1." + "1" * 11]
)
def test_what_is_no_plain_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        Scale(MAX_DECIMALS, MAX_DECIMALS).px_int(text)


def test_floats_are_correctly_rounded() -> None:
    values = np.array([6180020, 1, 10**15 + 1], np.int64)
    assert Scale(2, 3).px_float(values).tolist() == [61800.2, 0.01, 10000000000000.01]
    assert Scale(2, 3).sz_float(values).tolist() == [6180.02, 0.001, 1000000000000.001]


@given(st.lists(st.integers(-(10**18), 10**18), min_size=1, max_size=5), st.integers(0, MAX_DECIMALS))
def test_each_float_is_rounded_once_at_whatever_scale(values: list[int], decimals: int) -> None:
    """The integer of a wider scale stands for the same number, and for the same bits."""
    found = Scale(decimals, 0).px_float(np.array(values, np.int64)).tolist()
    assert found == [value / 10**decimals for value in values]  # Python rounds an exact quotient once
    table = np.array([values, values], np.int64)
    assert Scale(0, decimals).sz_float(table).tolist() == [found, found]
