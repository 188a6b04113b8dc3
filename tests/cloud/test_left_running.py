"""What `midas down` says of rented nodes, with a head in files."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from midas_ray.capture import service
from midas_ray.capture.head import Autoscaling, Head
from midas_ray.cloud.left_running import BY_RAY_DOWN, rented_nodes_line
from midas_ray.cloud.node_state import Ending, Node, StateFile
from midas_ray.settings import Down, parse_settings

ROOT = Path(__file__).resolve().parents[2]
TWO_RUN = (
    "2 rented nodes run on, $0.75 an hour: ray down cluster.yaml on the laptop destroys them now; left alone they "
    "destroy themselves within 15 minutes (dead_man_minutes)"
)


def node(number: int, price: float) -> Node:
    return Node(
        instance_id=number, machine_id=number, slot=2, label="", tags={}, node_type="gpu", gpu="1 x RTX 4090",
        price_per_hour=price, created=0.0,
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def config(home: Path) -> Path:
    """As `ray up` brings it to a head."""
    path = home / "ray_bootstrap_config.yaml"
    content: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    content["provider"] |= {"head": "me@head", "cluster_id": "midas-1", "on_head": True}
    path.write_text(yaml.safe_dump(content))
    return path


def two_nodes() -> None:
    """One of them is to be destroyed, and is not gone yet. Another cluster's do not count."""
    with StateFile("midas-1").change() as state:
        state.nodes["1"] = node(1, 0.5)
        state.ending["2"] = Ending(node=node(2, 0.25), why="idle", asked=0.0)
    with StateFile("midas-2").change() as state:
        state.nodes["3"] = node(3, 9.0)


def test_nodes_are_counted_with_what_ends_them(config: Path) -> None:
    assert rented_nodes_line(str(config)) == ""
    assert StateFile("midas-1").read().nodes == {}
    assert rented_nodes_line(str(config)) == ""
    two_nodes()
    assert rented_nodes_line(str(config)) == TWO_RUN
    with StateFile("midas-1").change() as state:
        state.ending.clear()
    assert rented_nodes_line(str(config)).startswith("1 rented node runs on, $0.50 an hour: ")


def test_another_provider_rents_nothing_here(config: Path) -> None:
    config.write_text("provider: {type: local, head_ip: 10.0.0.1}")
    assert rented_nodes_line(str(config)) == ""


@pytest.mark.parametrize("text", [None, "a: [", "provider: vast", "[]"])
def test_what_cannot_be_read_is_said_in_one_line(config: Path, text: str | None) -> None:
    if text is None:
        config.unlink()
    else:
        config.write_text(text)
    line = rented_nodes_line(str(config))
    assert line.startswith("rented nodes: unknown whether there are any (")
    assert line.endswith("ray down cluster.yaml on the laptop destroys them")
    assert "\n" not in line


def test_a_broken_state_is_said(config: Path) -> None:
    (StateFile("midas-1").folder / "nodes.json").write_text("{")
    assert "expected the cluster's nodes, found" in rented_nodes_line(str(config))


@pytest.mark.parametrize("rents", [True, False])
def test_midas_down_says_it_and_its_exit_code_stays(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rents: bool
) -> None:
    two_nodes()
    autoscaling = Autoscaling(config=str(config), digest="") if rents else None
    head = Head(gcs_address="", dashboard_url="", session_id=0, temp_dir="", autoscaling=autoscaling)
    ended = []
    monkeypatch.setattr(service.head_node, "read_head", lambda _: head)
    monkeypatch.setattr(service.head_node, "is_running", lambda _: False)
    monkeypatch.setattr(service.head_node, "stop_head", lambda *_: ended.append(True))
    assert service.down(parse_settings(Down, "down", ["--data-dir", str(config.parent / "data")])) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert ended == [True]
    assert (TWO_RUN in out) is rents


def test_within_ray_down_nothing_is_said(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_nodes()
    monkeypatch.setenv(BY_RAY_DOWN, "1")
    assert rented_nodes_line(str(config)) == ""
