"""cluster.yaml and its variants: as shipped they are valid but for the head's address; what is wrong is said."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from midas_ray.cloud.cluster_config import check_cluster, cluster_id, head_address, parse_provider
from midas_ray.cloud.dead_man import ONSTART_LIMIT, onstart
from midas_ray.cloud.mesh import HEAD_SLOT, WORKER_SLOTS, Ports, forwards
from midas_ray.cloud.ray_command import schema_problem
from midas_ray.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    read["provider"]["head"] = "me@head.example:2222"
    return read


@pytest.mark.parametrize("name", ["cluster.yaml", "cluster/one-instance.yaml", "cluster/on-premises.yaml"])
def test_shipped_files_are_valid_for_ray(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config

    assert schema_problem(prepare_config(yaml.safe_load((ROOT / name).read_text()))) is None


def test_shipped_file_needs_the_heads_address_and_nothing_else() -> None:
    read = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    with pytest.raises(UsageError, match=r"provider\.head: expected user@host.*write where your head is"):
        check_cluster(read)
    read["provider"]["head"] = "localhost"
    assert check_cluster(read).caps.nodes == 2
    check_cluster(yaml.safe_load((ROOT / "cluster/one-instance.yaml").read_text()))


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ("provider.caps.total_per_dya", 3, r"provider\.caps: object contains unknown field `total_per_dya`"),
        ("provider.caps.price_per_hour", 0, "price_per_hour: expected a number above 0, found 0"),
        ("provider.caps.price_per_hour", "cheap", r"provider\.caps\.price_per_hour: expected `float`, got `str`"),
        ("provider.caps.nodes", 99, "nodes: expected 0 to 16, found 99"),
        ("provider.region", "US", "unknown field `region`"),
        ("provider.head", "a b", "expected user@host"),
        ("max_workers", 9, r"max_workers: expected at most provider\.caps\.nodes"),
        (
            "available_node_types.gpu.node_config.gpu",
            "RTX 4090",
            r"gpu\.node_config: object contains unknown field `gpu`",
        ),
        ("available_node_types.gpu.node_config.num_gpus", 9, "num_gpus: expected 0 to 8, found 9"),
        (
            "available_node_types.gpu.node_config.max_dollars_per_gb",
            -1,
            "max_dollars_per_gb: expected 0 or more, found -1",
        ),
        ("available_node_types.gpu.node_config.market", "spot", "invalid enum value 'spot'"),
        ("available_node_types.gpu.resources", {"CPU": 8, "GPU": 2}, r"GPU: expected node_config\.num_gpus"),
        ("available_node_types.gpu.resources", {"CPU": 64}, "CPU: expected 1 to 40"),
        ("available_node_types.gpu.resources", {"CPU": 8, "GPU": 1}, "CPU: expected 0 beside GPUs, found 8: a task"),
        ("available_node_types.head.node_config", {"image": "x"}, "expected {} for a head that is not rented"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(config: dict[str, Any], where: str, value: Any, said: str) -> None:
    *path, last = where.split(".")
    section = config
    for name in path:
        section = section[name]
    section[last] = value
    with pytest.raises(UsageError, match=said) as caught:
        check_cluster(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cap", ["price_per_hour", "nodes", "hours_per_node", "total_per_day"])
def test_no_cap_may_be_missing(config: dict[str, Any], cap: str) -> None:
    del config["provider"]["caps"][cap]
    with pytest.raises(UsageError, match=f"missing required field `{cap}`"):
        check_cluster(config)


def test_unknown_fields_at_the_top_are_said_in_one_line(config: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config

    wrong = copy.deepcopy(config) | {"max_wrokers": 3}
    problem = schema_problem(prepare_config(wrong))
    assert problem is not None
    assert "'max_wrokers' was unexpected" in problem
    assert "\n" not in problem


def test_clusters_are_told_apart_by_name_and_head() -> None:
    one = cluster_id("midas", "me@a", "laptop")
    assert one == cluster_id("midas", "me@a", "another laptop")
    assert len({one, cluster_id("midas", "me@b", "laptop"), cluster_id("midas-2", "me@a", "laptop")}) == 3
    assert cluster_id("midas", "localhost", "laptop") != cluster_id("midas", "localhost", "another laptop")
    with pytest.raises(UsageError, match="cluster_name"):
        cluster_id("My Cluster", "me@a", "laptop")


def test_head_address(config: dict[str, Any]) -> None:
    address = head_address(parse_provider(config["provider"]))
    assert address is not None
    assert (address.user, address.host, address.port) == ("me", "head.example", 2222)


def test_ports_of_nodes_are_disjoint_and_below_the_systems_own() -> None:
    ports = [port for slot in (HEAD_SLOT, *WORKER_SLOTS) for port in Ports(slot).reached_by_others()]
    assert len(ports) == len(set(ports))
    assert min(ports) > 1024
    assert max(ports) < 32768


def test_a_link_carries_every_other_nodes_ports_and_its_own() -> None:
    flags = forwards(3)
    local = {flag for flag in flags if flag.startswith("-L")}
    assert local == {f"-L127.0.0.1:{port}:127.0.0.1:{port}" for port in Ports(3).reached_by_others()}
    remote = {int(flag.split(":")[1]) for flag in flags if flag.startswith("-R")}
    assert remote == {p for slot in (HEAD_SLOT, *WORKER_SLOTS) if slot != 3 for p in Ports(slot).reached_by_others()}


def test_the_start_script_fits_and_holds_no_key() -> None:
    script = onstart("https://console.vast.ai", "ssh-ed25519 AAAA me", 12 * 3600, 900)
    assert len(script) < ONSTART_LIMIT / 2
    assert "@" not in script.replace("@URL@", "").replace("%s", "")
    assert "$CONTAINER_API_KEY" in script
