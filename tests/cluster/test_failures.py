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


def test_a_training_goes_on_when_its_node_dies_and_when_the_next_is_outbid(outer: Callable[..., Any]) -> None:
    result = outer(failures.a_node_dies_in_a_training, timeout_s=1200)
    assert "SUCCEEDED" in result["jobs"], result["log"]
    assert (result["ever"], result["live"]) == (3, 0)
    assert any("outbid" in line for line in result["problems"])
    assert result["log"].count("epoch 1/40") == 1, "it went on from its checkpoint"


def test_a_head_that_is_killed_finds_its_nodes_again(outer: Callable[..., Any]) -> None:
    result = outer(failures.the_head_restarts, timeout_s=900)
    assert result["live"] == [result["node"]]
    assert result["counted"] == "2", "the actor on the node has kept its state"
    assert result["ever"] == 1


def test_a_node_with_another_host_key_is_replaced(outer: Callable[..., Any]) -> None:
    result = outer(failures.another_host_key, timeout_s=900)
    assert any("another host key" in line for line in result["problems"])
    assert result["live"] == 0
