"""Caps and node types that change while the head goes on: what `ray up --no-restart` brings is read anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from midas_ray.cloud.cluster_config import Caps
from midas_ray.cloud.errors import BudgetError
from midas_ray.cloud.head_config import HeadConfig
from midas_ray.cloud.provider import VastNodeProvider
from midas_ray.errors import UsageError
from tests.cloud.account import AccountInMemory
from tests.cloud.test_fleet import CAPS, Head

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = Caps(price_per_hour=0.8, nodes=2, hours_per_node=12, total_per_day=10)
Write = Callable[..., dict[str, Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ray_bootstrap_config.yaml"


@pytest.fixture
def write(path: Path) -> Write:
    """Brings the shipped configuration with other caps, as rsync does: under another name, then renamed."""

    def written(cluster_id: str = "midas-1", gpus: int = 1, **caps: Any) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
        content["provider"] |= {"head": "me@head", "cluster_id": cluster_id, "on_head": True}
        content["provider"]["caps"] |= caps
        content["available_node_types"]["gpu"]["resources"]["GPU"] = gpus
        temporary = path.with_suffix(".tmp")
        temporary.write_text(yaml.safe_dump(content))
        temporary.replace(path)
        return dict(content["provider"])

    return written


def test_it_is_read_where_it_changed(path: Path, write: Write) -> None:
    write()
    config = HeadConfig("midas-1", path)
    assert (config.caps, config.gpus_of_largest) == (None, None)
    config.look()
    assert (config.caps, config.gpus_of_largest) == (SHIPPED, 1)
    write(gpus=4, nodes=5)
    config.look()
    assert config.caps is not None
    assert (config.caps.nodes, config.gpus_of_largest) == (5, 4)


def test_what_is_wrong_is_said_once_and_changes_nothing(path: Path, write: Write) -> None:
    write()
    config = HeadConfig("midas-1", path)
    config.look()
    for spoil, said in (
        (lambda: write(nodes=99), "nodes: expected 0 to 16, found 99"),
        (lambda: path.write_text("a: ["), "expected the configuration of midas-1, found ParserError"),
        (lambda: path.write_text("[]"), "expected the configuration of midas-1, found TypeError"),
        (lambda: write(cluster_id="midas-2", nodes=7), "expected the configuration of midas-1, found that of midas-2"),
        (path.unlink, "expected the configuration of midas-1, found FileNotFoundError"),
    ):
        spoil()
        with pytest.raises(UsageError, match=said):
            config.look()
        config.look()
        assert config.caps == SHIPPED


def test_a_process_that_is_not_the_autoscaler_reads_nothing() -> None:
    config = HeadConfig("midas-1")
    config.look()
    assert config.caps is None


def test_what_runs_and_what_is_rented_go_by_the_caps_of_now(account: AccountInMemory, tmp_path: Path) -> None:
    head = Head(account, tmp_path)
    nodes = {head.rent() for _ in range(3)}
    with pytest.raises(BudgetError, match=r"caps\.nodes: 3 are rented already"):
        head.rent()
    head.fleet.take_up(Caps(price_per_hour=0.8, nodes=4, hours_per_node=2, total_per_day=5))
    nodes.add(head.rent())
    assert head.turn(30) == nodes
    head.fleet.take_up(Caps(price_per_hour=0.8, nodes=4, hours_per_node=0.005, total_per_day=5))
    assert head.turn(1) == set()
    head.fleet.take_up(CAPS)
    assert head.fleet.caps == CAPS


@pytest.fixture
def account() -> AccountInMemory:
    return AccountInMemory()


def test_the_heads_provider_takes_them_up_and_says_what_is_wrong(
    path: Path, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAST_API_KEY", "a-key")
    monkeypatch.setattr("sys.argv", ["monitor.py", "--gcs-address=x", f"--autoscaling-config={path}"])
    provider = VastNodeProvider(write(), "midas")
    write(total_per_day=3)
    provider._take_up_caps()
    assert provider._fleet.caps.total_per_day == 3
    write(total_per_day=-3)
    provider._take_up_caps()
    assert provider._fleet.caps.total_per_day == 3
    assert "total_per_day: expected a number above 0, found -3" in provider._state.read().problems[-1]
