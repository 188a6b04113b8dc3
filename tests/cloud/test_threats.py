"""cluster/THREATS.md says what the code does: what a rented node is sent, ports, places and times."""

import json
import re
from pathlib import Path

import pytest
import yaml

from midas_ray.cloud.api_key import KEY_FILE
from midas_ray.cloud.cluster_config import parse_provider
from midas_ray.cloud.dead_man import onstart
from midas_ray.cloud.launch import HEAD_KEY, TOKEN, for_the_head, prepared
from midas_ray.cloud.link import ALIVE_S
from midas_ray.cloud.links import alias
from midas_ray.cloud.mesh import HEAD_SLOT, WORKER_SLOTS, Ports
from midas_ray.setting_values import MAX_DOLLARS_PER_GB
from tests.doctor.test_access import ssh_key

ROOT = Path(__file__).parents[2]
TEXT = " ".join((ROOT / "cluster" / "THREATS.md").read_text().split())


def test_a_rented_node_is_sent_the_checkout_and_the_token_and_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("VAST_API_KEY", "the-key-of-the-account")
    private = ssh_key(tmp_path / ".ssh" / "id_ed25519").read_text().splitlines()[1]
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    config["provider"]["head"] = "me@head"
    laptop = prepared(config)
    head = for_the_head(laptop)
    assert set(head["file_mounts"]) == {"~/midas", TOKEN}
    assert set(laptop["file_mounts"]) - set(head["file_mounts"]) == {HEAD_KEY}
    assert {".git", ".env", "/data", "/models"} <= set(head["rsync_exclude"])
    token = Path(laptop["file_mounts"][TOKEN])
    for config in (laptop, head):
        said = json.dumps(config)
        assert [word for word in ("the-key-of-the-account", private, token.read_text()) if word in said] == []
    script = onstart("https://console.vast.ai", head["provider"]["ssh_public_key"], 3600, 900)
    assert [word for word in ("the-key-of-the-account", private, token.read_text()) if word in script] == []
    kept = [Path(laptop["file_mounts"][HEAD_KEY]), token]
    assert [path.stat().st_mode & 0o777 for path in kept] == [0o600, 0o600]
    assert kept[0].parent.stat().st_mode & 0o777 == 0o700


def test_no_file_is_read_as_code() -> None:
    assert "one that holds code is refused" in TEXT
    unpickles = ("weights_only=False", "pickle.load", "joblib.load", "read_pickle", "allow_pickle=True")
    for path in (ROOT / "midas_ray").rglob("*.py"):
        content = path.read_text()
        assert [word for word in unpickles if word in content] == [], path
        assert [call for call in re.findall(r"torch\.load\(.*", content) if "weights_only=True" not in call] == [], path


def test_numbers_and_places_are_the_codes() -> None:
    head, first, last = Ports(HEAD_SLOT), Ports(WORKER_SLOTS[0]), Ports(WORKER_SLOTS[-1])
    section = yaml.safe_load((ROOT / "cluster" / "one-instance.yaml").read_text())["provider"]
    assert "dead_man_minutes" not in section
    minutes = parse_provider(section).dead_man_minutes
    for said in (
        f"ports {first.gcs} to {last.workers.stop - 1}",
        f"Ray {head.gcs} to {head.workers.stop - 1}",
        f"of money ({head.money})",
        f"`{KEY_FILE}`",
        f"`{HEAD_KEY}`",
        f"`{TOKEN}`",
        f"`dead_man_minutes` ({minutes:.0f})",
        f"`max_dollars_per_gb`, ${MAX_DOLLARS_PER_GB:g}",
        f"silent for {ALIVE_S / 60:.0f} minutes",
        f"`{alias(0).replace('0', 'ID')}`",
    ):
        assert said in TEXT, said
