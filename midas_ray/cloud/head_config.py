"""The head's copy of cluster.yaml, as it is now: `ray up --no-restart` brings another one while everything goes on.

Ray's autoscaler reads node types and max_workers from it at each turn; what is ours is read anew here.
"""

from pathlib import Path
from typing import Any

import yaml

from midas_ray.cloud.autoscaler_process import told
from midas_ray.cloud.cluster_config import Caps, parse_provider
from midas_ray.errors import UsageError


class HeadConfig:
    """See above. caps: None until `look` has read them. gpus_of_largest: of the node type that has most."""

    def __init__(self, cluster_id: str, path: Path | None = None) -> None:
        """path: what this process was started with where it is left out; the autoscaler's alone is told one."""
        given = path or told("autoscaling-config")
        self._cluster_id, self._path = cluster_id, None if given is None else Path(given).expanduser()
        self._version: tuple[int, int] | None = None
        self.caps: Caps | None = None
        self.gpus_of_largest: int | None = None

    def look(self) -> None:
        """Read it where it has changed. Raises UsageError where it is not this cluster's; what was read before stands
        then. Says so once for each change."""
        if self._path is None:
            return
        version = (self._path.stat().st_mtime_ns, self._path.stat().st_ino) if self._path.exists() else (0, 0)
        if version == self._version:
            return
        self._version = version
        try:
            content: dict[str, Any] = yaml.safe_load(self._path.read_bytes())
            provider, types = parse_provider(content["provider"]), content["available_node_types"]
            gpus = max((int(each.get("resources", {}).get("GPU", 0)) for each in types.values()), default=0)
        except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._wrong(f"{type(error).__name__}: {' '.join(str(error).split())}") from None
        if provider.cluster_id != self._cluster_id:
            raise self._wrong(f"that of {provider.cluster_id or 'none'}")
        self.caps, self.gpus_of_largest = provider.caps, gpus

    def _wrong(self, found: str) -> UsageError:
        return UsageError(
            f"{self._path}: expected the configuration of {self._cluster_id}, found {found}; the caps before it stand: "
            "ray up --no-restart cluster.yaml brings it again"
        )
