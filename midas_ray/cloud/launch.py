"""What `ray up` needs before it starts: the checked YAML, keys, the cluster's id; and what of it goes to the head."""

import copy
import os
import stat
import subprocess
import uuid
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from packaging.version import Version

from midas_ray.cloud.api_key import HEAD_KEY_FILE, key_file, read_api_key
from midas_ray.cloud.cluster_config import RENTED_HEAD, check_cluster, cluster_id
from midas_ray.cloud.node_state import ROOT, private_folder
from midas_ray.errors import UsageError
from midas_ray.ray_token import ensure_token

HEAD_KEY = str(HEAD_KEY_FILE)
TOKEN = "~/.ray/auth_token"
"""Where every node finds the cluster's token: Ray's own place."""
LEAST_RAY = "2.60"


def prepared(config: dict[str, Any], ask: Callable[[str, str], None] | None = None) -> dict[str, Any]:
    """The configuration of `ray up`, checked and filled in. Raises UsageError or AuthError with one line.

    ask: tries the key at the API's address, and raises VastError where it is refused.
    Nothing is rented, copied or changed when it raises.
    """
    config = copy.deepcopy(config)
    provider = check_cluster(config)
    _check_ray()
    key = check_ssh_key(config["auth"])
    identity = cluster_id(config["cluster_name"], provider.head, machine_id())
    config["provider"] |= {
        "cluster_id": identity,
        "worker_liveness_check": False,
        "head_node_type": config["head_node_type"],
        "ssh_user": config["auth"]["ssh_user"],
        "ssh_private_key": str(key),
        "ssh_public_key": public_key(str(key)),
    }
    config["provider"]["vast_url"] = os.environ.get("VAST_URL") or provider.vast_url
    api_key = read_api_key(Path(HEAD_KEY).expanduser() if provider.on_head else Path("~/.config/vastai/vast_api_key"))
    if ask is not None:
        ask(api_key, config["provider"]["vast_url"])
    config["auth"]["ssh_private_key"] = str(key)
    config["file_mounts"] = {**config.get("file_mounts", {}), TOKEN: str(ensure_token())}
    if provider.head != RENTED_HEAD:
        config["file_mounts"][HEAD_KEY] = str(_private_file(identity, "vast_api_key", api_key))
    return config


def for_teardown(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of `ray down`: enough to find this cluster's nodes, whatever else is wrong with the YAML.

    Raises UsageError or AuthError where it cannot be told which cluster it is, or with which key.
    """
    config = copy.deepcopy(config)
    given = config["provider"]
    config["provider"] = {
        "type": "external",
        "module": given["module"],
        "head": given.get("head", ""),
        "caps": {"price_per_hour": 1, "nodes": 0, "hours_per_node": 1, "total_per_day": 1},  # nothing is rented
        "cluster_id": cluster_id(config["cluster_name"], given.get("head", ""), machine_id()),
        "head_node_type": config["head_node_type"],
        "vast_url": os.environ.get("VAST_URL") or given.get("vast_url") or "https://console.vast.ai",
        "data_dir": given.get("data_dir") or "~/midas-data",
    }
    read_api_key(key_file())
    return config


def for_the_head(config: dict[str, Any]) -> dict[str, Any]:
    """What the head's autoscaler gets: the API key is not among what it copies to the nodes it rents."""
    config = copy.deepcopy(config)
    config["provider"] |= {"on_head": True, "ssh_private_key": config["auth"]["ssh_private_key"]}
    config["provider"].pop("_config_cache_path", None)
    config["file_mounts"].pop(HEAD_KEY, None)
    return config


def machine_id() -> str:
    """What tells this machine from others."""
    path = Path("/etc/machine-id")
    return path.read_text().strip() if path.exists() else f"{uuid.getnode():x}"


def public_key(private: str) -> str:
    """The line of the public half beside a private key. Raises UsageError where there is none."""
    path = Path(f"{Path(private).expanduser()}.pub")
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        raise UsageError(
            f"{path}: expected the public half of auth.ssh_private_key, found none; ssh-keygen -y -f {private} > {path}"
        ) from None


def _check_ray() -> None:
    found = version("ray")
    if Version(found).release[:2] < Version(LEAST_RAY).release[:2]:
        raise UsageError(f"Ray on this machine: expected {LEAST_RAY} or newer, found {found}; run make setup")


def check_ssh_key(auth: dict[str, Any]) -> Path:
    """The file of `auth.ssh_private_key`. Raises UsageError for one that others can read or the head cannot use."""
    given = auth.get("ssh_private_key")
    if not given:
        raise UsageError("cluster.yaml: auth.ssh_private_key: expected the file of your SSH key, found none")
    path = Path(given).expanduser()
    if not path.is_file():
        raise UsageError(
            f"cluster.yaml: auth.ssh_private_key: expected a file, found none at {path}; "
            f"ssh-keygen -t ed25519 -f {path}"
        )
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UsageError(f"{path}: expected a key that only you can read (0600), found {mode:04o}; chmod 600 {path}")
    given_public = public_key(str(path)).split()[1:2]
    derived = subprocess.run(["ssh-keygen", "-y", "-P", "", "-f", path], capture_output=True, text=True, check=False)
    if derived.returncode:
        raise UsageError(
            f"{path}: expected an SSH key without a passphrase, which nobody can type on the head, found: "
            f"{derived.stderr.strip().splitlines()[-1]}; ssh-keygen -t ed25519 -f another, for this alone"
        )
    if derived.stdout.split()[1:2] != given_public:
        raise UsageError(
            f"{path}.pub: expected the public half of {path}, found another's; ssh-keygen -y -f {path} > {path}.pub"
        )
    return path


def _private_file(identity: str, name: str, content: str) -> Path:
    folder = ROOT.expanduser() / identity
    private_folder(folder)
    path = folder / name
    if not path.exists() or path.read_text() != content:
        _write_private(path, content)
    return path


def _write_private(path: Path, content: str) -> None:
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
    temporary.replace(path)
