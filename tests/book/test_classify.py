"""The one sync rule (DESIGN 3.3), as a table: last applied id 100."""

import pytest

from midas_ray.book.kernels import APPLY, CONFIRM, DROP, GAP, classify


@pytest.mark.parametrize(
    ("previous_id", "final_id", "expected"),
    [
        (80, 99, DROP),  # ends before
        (99, 100, CONFIRM),  # ends just there
        (100, 101, APPLY),  # pu == L: continues directly
        (100, 150, APPLY),
        (99, 101, APPLY),  # spans it
        (1, 101, APPLY),  # sizes are absolute: an overlap is exact
        (101, 102, GAP),  # something between is missing
        (10**13, 10**13 + 1, GAP),
        (50, 60, DROP),
    ],
)
def test_rule(previous_id: int, final_id: int, expected: int) -> None:
    assert classify(100, final_id, previous_id) == expected
