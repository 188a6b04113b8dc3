"""`midas doctor`: token, keys and the cluster's YAML; what is wrong is named with its cure, no secret is printed."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from midas_ray.cli import main
from midas_ray.cloud.fake import FakeHandle, running_fake
from midas_ray.doctor import access, cluster

CLUSTER_YAML = Path(__file__).parents[2] / "cluster.yaml"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("RAY_", "VAST_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def fake() -> Iterator[FakeHandle]:
    with running_fake() as running:
        yield running


def secret(path: Path, content: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)
    return path


def ssh_key(path: Path, passphrase: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)
    return path


@pytest.mark.parametrize(
    ("mode", "ok", "said"),
    [
        ("token", True, "RAY_AUTH_MODE=token"),
        (None, None, "export RAY_AUTH_MODE=token"),
        ("disabled", False, "whoever reaches a dashboard that is started so runs code here"),
        ("tokn", False, "expected token or disabled, found 'tokn'"),
    ],
)
def test_token_authentication(
    home: Path, monkeypatch: pytest.MonkeyPatch, mode: str | None, ok: bool | None, said: str
) -> None:
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    finding = access.check_mode()
    assert finding.ok is ok
    assert said in finding.line


def test_the_token_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / ".ray" / "auth_token"
    assert access.check_token_file().ok is None
    secret(path, "the-token", 0o644)
    finding = access.check_token_file()
    assert (finding.ok, finding.advice) == (False, f"chmod 600 {path}")
    path.chmod(0o600)
    assert access.check_token_file().ok is True
    path.write_text("")
    assert access.check_token_file().ok is False
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the-token")
    finding = access.check_token_file()
    assert finding.ok is None
    assert "the-token" not in finding.line


def test_keys_of_vast(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (none,) = access.check_vast_keys()
    assert none.ok is None
    own = secret(home / ".config" / "vastai" / "vast_api_key", "the-key", 0o640)
    brought = secret(home / ".midas" / "vast_api_key", "the-key\n")
    monkeypatch.setenv("VAST_API_KEY", "the-key")
    in_environment, first, second = access.check_vast_keys()
    assert (in_environment.ok, first.ok, second.ok) == (True, False, True)
    assert first.advice == f"chmod 600 {own}"
    brought.write_text(" \n")
    assert [finding.ok for finding in access.check_vast_keys()] == [True, False, False]


def test_the_account_is_asked(home: Path, fake: FakeHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAST_API_KEY", fake.api_key)
    assert access.check_vast_account(fake.url).found == "the key is accepted, $25.00 of credit"
    fake.steer(credit=-0.5)
    poor = access.check_vast_account(fake.url)
    assert (poor.ok, "add credit" in poor.advice) == (False, True)
    monkeypatch.setenv("VAST_API_KEY", "wrong")
    assert access.check_vast_account(fake.url).ok is False
    monkeypatch.setattr(access, "PATIENCE_S", 0.5)
    assert access.check_vast_account("http://127.0.0.1:1").ok is None


def test_an_ssh_key_that_the_head_cannot_use(home: Path) -> None:
    auth = {"ssh_private_key": "~/.ssh/id_ed25519"}
    assert cluster.check_key(auth, wanted=False).ok is None
    missing = cluster.check_key(auth, wanted=True)
    assert missing.ok is False
    assert "ssh-keygen -t ed25519" in missing.found
    key = ssh_key(home / ".ssh" / "id_ed25519")
    assert cluster.check_key(auth, wanted=True).ok is True
    key.chmod(0o644)
    assert f"chmod 600 {key}" in cluster.check_key(auth, wanted=True).found
    key.chmod(0o600)
    other = ssh_key(home / ".ssh" / "other")
    shutil.copy(f"{other}.pub", f"{key}.pub")
    assert "found another's; ssh-keygen -y" in cluster.check_key(auth, wanted=True).found
    Path(f"{key}.pub").unlink()
    assert "expected the public half" in cluster.check_key(auth, wanted=True).found
    locked = ssh_key(home / ".ssh" / "locked", passphrase="a-passphrase")
    assert "without a passphrase" in cluster.check_key({"ssh_private_key": str(locked)}, wanted=True).found


def test_the_cluster_yaml(home: Path) -> None:
    assert [finding.ok for finding in cluster.check_cluster(home / "cluster.yaml")] == [None, None]
    config = yaml.safe_load(CLUSTER_YAML.read_text())
    path = home / "cluster.yaml"

    def first_line(**provider: object) -> str:
        path.write_text(yaml.safe_dump({**config, "provider": {**config["provider"], **provider}}))
        return next(iter(cluster.check_cluster(path))).line

    assert first_line().startswith("note    cluster: ")
    assert first_line(head="me@server").startswith("ok      cluster: ")
    assert "at most 2 nodes, $0.80 an hour each, $10.00 a day" in first_line(head="me@server")
    assert "MISSING" in first_line(head="me@server", heed="x")
    assert "heed" in first_line(head="me@server", heed="x")
    path.write_text("cluster_name: [")
    assert "expected Ray's cluster YAML, found: " in next(iter(cluster.check_cluster(path))).line
    path.write_text(yaml.safe_dump({"provider": config["provider"] | {"head": "me@server"}}))
    assert next(iter(cluster.check_cluster(path))).ok is False


def test_no_secret_is_printed(
    home: Path, fake: FakeHandle, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ["token-of-the-cluster", fake.api_key, "AKIA-secret"]
    secret(home / ".ray" / "auth_token", secrets[0])
    secret(home / ".config" / "vastai" / "vast_api_key", fake.api_key, 0o644)
    monkeypatch.setenv("VAST_API_KEY", fake.api_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secrets[2])
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    key = ssh_key(home / ".ssh" / "id_ed25519")
    secrets.append(key.read_text().splitlines()[1])
    assert main(["doctor", "--online", "--vast-url", fake.url, "--exchange-url", "http://127.0.0.1:1"]) == 1
    said = capsys.readouterr()
    assert "the key is accepted" in said.out
    assert [text for text in secrets if text in said.out + said.err] == []


def test_a_line_without_which_ray_ends_in_a_traceback_is_named(home: Path, tmp_path: Path) -> None:
    config = yaml.safe_load(CLUSTER_YAML.read_text())
    config["provider"]["head"] = "me@head"
    del config["max_workers"]
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(config))
    finding = next(iter(cluster.check_cluster(path)))
    assert finding.ok is False
    assert "max_workers: expected at the top level, found none; take the line from MIDAS's" in finding.found
