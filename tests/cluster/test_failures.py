"""What goes wrong in the field, on real machines: see `failures`. After each of it the account is empty."""

from collections.abc import Callable
from typing import Any

from tests.cluster import failures


def test_what_never_starts_and_what_takes_no_ssh_is_replaced_elsewhere(outer: Callable[..., Any]) -> None:
    result = outer(failures.what_does_not_come_up_is_replaced, timeout_s=900)
    assert result["job"] == 0, result["said"]
    assert len(result["machines"]) == len(set(result["machines"])) == 3
    assert result["live"] == 0
    assert any("did not start" in line for line in result["problems"])
    assert any("SSH" in line for line in result["problems"])
