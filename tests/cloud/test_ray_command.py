"""What `ray up` and `ray down` say of a YAML, and what Ray says without need."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private import commands
from ray.autoscaler._private.util import prepare_config, validate_config

from midas_ray.cloud import ray_command
from midas_ray.cloud.cluster_config import NEEDED, check_cluster
from midas_ray.cloud.provider import VastNodeProvider
from midas_ray.cloud.ray_command import schema_problem
from midas_ray.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
READ_FIRST = {"cluster_name", "max_workers", "setup_commands", "head_setup_commands", "worker_setup_commands"}
"""Lines that Ray reads before it asks the provider: it ends in a traceback of its own."""


@pytest.fixture
def config() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    read["provider"]["head"] = "me@head.example"
    return read


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lines of warnings and errors, of Ray's command and of ours."""
    lines: list[str] = []
    tell = lambda text, *values, **_: lines.append(text.format(*values))  # noqa: E731
    for logger in (ray_command.cli_logger, commands.cli_logger):
        monkeypatch.setattr(logger, "warning", tell)
        monkeypatch.setattr(logger, "error", tell)
    return lines


@pytest.mark.parametrize("name", NEEDED)
def test_a_line_that_is_missing_is_named(config: dict[str, Any], name: str) -> None:
    del config[name]
    with pytest.raises(UsageError, match=f"{name}: expected at the top level, found none; take the line from"):
        check_cluster(config)
    if name not in READ_FIRST | {"available_node_types", "head_node_type"}:
        problem = schema_problem(prepare_config(config))
        assert problem is not None
        assert problem.startswith(f"cluster.yaml: {name}: expected at the top level")


def test_what_ray_checks_after_its_schema_is_said_in_one_line(config: dict[str, Any]) -> None:
    other_head = copy.deepcopy(config) | {"head_node_type": "haed"}
    assert schema_problem(other_head) == "cluster.yaml: head_node_type: expected one of head, gpu, found haed"
    config["available_node_types"]["gpu"]["min_workers"] = 2
    config["max_workers"] = 1
    assert schema_problem(config) == (
        "cluster.yaml: max_workers: expected at least the min_workers of all node types (2), found 1"
    )


@pytest.mark.parametrize("wrong", [{"max_wrokers": 3}, {"cluster_synced_files": None}, {"head_node_type": "haed"}])
def test_a_wrong_yaml_ends_ray_up_and_never_ray_down(
    config: dict[str, Any], wrong: dict[str, Any], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = prepare_config(config) | wrong
    monkeypatch.setattr("sys.argv", ["/bin/ray", "up"])
    with pytest.raises(SystemExit) as end:
        VastNodeProvider.fillout_available_node_types_resources(copy.deepcopy(prepared))
    assert end.value.code == 1
    assert len(said) == 1
    monkeypatch.setattr("sys.argv", ["/bin/ray", "down"])
    left = VastNodeProvider.fillout_available_node_types_resources(copy.deepcopy(prepared))
    assert said[1] == f"{said[0]}; what this cluster rented is destroyed all the same"
    validate_config(left)
    assert (left["cluster_name"], left["provider"], left["auth"]) == (
        config["cluster_name"], config["provider"], config["auth"]
    )  # fmt: skip


@pytest.mark.parametrize("name", ["cluster.yaml", "cluster/one-instance.yaml"])
def test_ray_does_not_warn_that_nothing_is_started(name: str, said: list[str]) -> None:
    """It looks for words in the commands; ours start the head by a script."""
    start = yaml.safe_load((ROOT / name).read_text())["head_start_ray_commands"]
    commands.warn_about_bad_start_command(start, no_monitor_on_head=False)
    assert said == []
    commands.warn_about_bad_start_command(["bash start_head.sh"], no_monitor_on_head=False)
    assert len(said) == 2


def test_ray_up_does_not_speak_of_its_autoscalers_version() -> None:
    assert os.environ["RAY_UP_enable_autoscaler_v2"] == "1"  # noqa: SIM112 (Ray's own spelling)
