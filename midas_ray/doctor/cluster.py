"""The configuration of a cluster, and the SSH key that it names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from midas_ray.cloud.cluster_config import MODULE, PLACEHOLDER
from midas_ray.cloud.cluster_config import check_cluster as check_configuration
from midas_ray.cloud.launch import check_ssh_key
from midas_ray.doctor.finding import Finding
from midas_ray.errors import UsageError

DEFAULT_KEY = "~/.ssh/id_ed25519"


def check_cluster(path: Path) -> Iterator[Finding]:
    """The YAML where there is one, and the SSH key that goes to the head. Where no cluster is wanted, notes alone."""
    try:
        config = _read(path)
    except UsageError as error:
        yield Finding("cluster", str(error), False)
        return
    wanted = config is not None and config["provider"].get("head") != PLACEHOLDER
    if config is None:
        yield Finding("cluster", f"no {path}: a cluster is not wanted here, or see --cluster-yaml", None)
    elif not wanted:
        advice = "to rent GPUs, write your head's address there"
        yield Finding("cluster", f"{path}: provider.head is not filled in", None, advice)
    else:
        yield _checked(path, config)
    yield check_key({"ssh_private_key": DEFAULT_KEY} if config is None else config.get("auth") or {}, wanted)


def check_key(auth: dict[str, Any], wanted: bool) -> Finding:
    """The key is there, for its owner alone, with its public half and without a passphrase."""
    try:
        path = check_ssh_key(auth)
    except UsageError as error:
        return Finding("SSH key", str(error), False if wanted else None, "" if wanted else "only to rent GPUs")
    return Finding("SSH key", f"{path}, for its owner alone, with its public half", True)


def _checked(path: Path, config: dict[str, Any]) -> Finding:
    try:
        provider = check_configuration(config)
    except UsageError as error:
        return Finding("cluster", f"{path}: {error}", False)
    except (KeyError, TypeError, AttributeError) as error:
        return Finding("cluster", f"{path}: expected Ray's cluster YAML, found no {error}", False)
    caps = provider.caps
    most = f"at most {caps.nodes} nodes, ${caps.price_per_hour:.2f} an hour each, ${caps.total_per_day:.2f} a day"
    return Finding("cluster", f"{path}, head {provider.head}, {most}", True)


def _read(path: Path) -> dict[str, Any] | None:
    """None where there is none, or it is another provider's. Raises UsageError where it cannot be read."""
    try:
        content = yaml.safe_load(path.expanduser().read_text())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: expected Ray's cluster YAML, found: {' '.join(str(error).split())}") from None
    provider = content.get("provider") if isinstance(content, dict) else None
    return content if isinstance(provider, dict) and provider.get("module") == MODULE else None
