"""What goes wrong in the field, on real machines: see `failures`. After each of it the account is empty."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster import failures


@pytest.mark.long
def test_what_never_starts_and_what_takes_no_ssh_is_replaced_elsewhere(outer: Callable[..., Any]) -> None:
    result = outer(failures.what_does_not_come_up_is_replaced, timeout_s=900)
    assert result["job"] == 0, result["said"]
    assert len(result["machines"]) == len(set(result["machines"])) == 3
    assert result["live"] == 0
    assert any("did not start" in line for line in result["problems"])
    assert any("SSH" in line for line in result["problems"])


def test_a_training_goes_on_after_its_node_dies_and_after_the_next_is_outbid(outer: Callable[..., Any]) -> None:
    result = outer(failures.a_node_dies_in_a_training, timeout_s=900)
    assert result["problems"] == ["node 30000001 is let go: it is offline", "node 30000002 is let go: it was outbid"]
    assert result["log"].count("a worker has died: the training goes on after epoch") == 2
    assert "epoch 40/40" in result["log"]
    assert result["ever"] >= 3
    assert result["live"] == 0


@pytest.fixture(scope="module")
def row(outer: Callable[..., Any]) -> dict[str, Any]:
    result: dict[str, Any] = outer(failures.faults_in_a_row, 40.0, timeout_s=1500)
    return result


@pytest.mark.long
def test_more_gpus_than_a_node_type_has_are_refused_and_nothing_is_rented(row: dict[str, Any]) -> None:
    found = row["too many"]
    assert (found["code"], found["ever"]) == (1, 0)
    assert "--gpus 9: expected at most the 1 of the largest node type in cluster.yaml" in found["said"]
    assert "waiting for a GPU node" not in found["said"]


@pytest.mark.long
def test_a_node_with_another_host_key_is_replaced(row: dict[str, Any]) -> None:
    assert "shows another host key" in row["host key"]["problems"][-1]
    assert row["host key"]["counted"] == 1  # the actor was started anew


@pytest.mark.long
def test_a_head_that_restarts_adopts_its_node_with_what_runs_on_it(row: dict[str, Any]) -> None:
    (nodes, counted), after = row["restart"]["before"], row["restart"]["after"]
    assert len(nodes) == 1
    assert after == [nodes, counted + 1]


@pytest.mark.long
def test_while_the_api_is_down_work_goes_on_and_what_is_owed_is_done_later(row: dict[str, Any]) -> None:
    found = row["api"]
    assert found["alive"] == found["until_the_end"] == [found["node"]]
    assert found["counted"] == row["restart"]["after"][1] + 1
    assert found["status"]["at"] - found["status"]["answered_at"] > 10


@pytest.mark.long
def test_a_full_disk_of_a_node_ends_its_job_with_the_nodes_name(row: dict[str, Any]) -> None:
    found = row["disk"]
    assert f"of node vast-{found['node']}: No space left on device" in found["log"]
    assert "midas train --resume" in found["log"]
    assert found["model"] == ""


@pytest.mark.long
def test_two_clusters_of_an_account_leave_each_other_alone(row: dict[str, Any]) -> None:
    found = row["two"]
    first, second = found["nodes"]
    assert found["left"] == [second] != [first]
    assert (found["counted"], found["downs"], row["live"]) == (2, [0, 0], 0)
