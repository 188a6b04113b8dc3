"""The head's side of the mesh: one `link` process for each worker, started, found again and ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from midas_ray.cloud import ssh
from midas_ray.cloud.errors import VastError
from midas_ray.cloud.node_state import Node

POLL_S = 0.1


class Links:
    """The links of a cluster, in its state folder. key: the private key's file; user: on the nodes."""

    def __init__(self, folder: Path, key: str, user: str) -> None:
        self._folder, self._key, self._user = folder / "links", key, user
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self.known_hosts = folder / "known_hosts"
        self._started: dict[str, subprocess.Popen[bytes]] = {}

    def _plan(self, node_id: str) -> Path:
        return self._folder / f"{node_id}.json"

    def status(self, node_id: str) -> dict[str, Any] | None:
        """What the link last said: state (up, down), since, connects, reason, pid; None where it said nothing yet."""
        try:
            read: dict[str, Any] = json.loads(self._plan(node_id).with_suffix(".status").read_text())
        except FileNotFoundError:
            return None
        return read

    def ensure(self, node: Node) -> None:
        """Have a link to this node run; it must have an address."""
        node_id = str(node.instance_id)
        plan = {
            "host": node.host,
            "port": node.port,
            "user": self._user,
            "key": str(Path(self._key).expanduser()),
            "slot": node.slot,
            "alias": alias(node.instance_id),
            "known_hosts": str(self.known_hosts),
            "alive": str(self._folder.parent / "alive"),
        }
        text = json.dumps(plan)
        path = self._plan(node_id)
        if not path.exists() or path.read_text() != text:
            temporary = path.with_suffix(".new")
            temporary.write_text(text)
            temporary.replace(path)
        if not self._runs(node_id):
            log = (self._folder / f"{node_id}.log").open("ab")
            self._started[node_id] = subprocess.Popen(
                [sys.executable, "-m", "midas_ray.cloud.link", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=Path(__file__).resolve().parents[2],
            )
            log.close()

    def wait_up(self, node: Node, timeout_s: float) -> None:
        """Until the ports are there. Raises VastError with ssh's reason where they are not in time."""
        self.ensure(node)
        deadline = time.monotonic() + timeout_s
        said = None
        while time.monotonic() < deadline:
            said = self.status(str(node.instance_id))
            if said is not None and said["state"] == "up":
                return
            time.sleep(POLL_S)
        reason = said["reason"] if said else "it said nothing"
        raise VastError(f"node {node.instance_id}: its ports were not there after {timeout_s:.0f} s: {reason}")

    def down_s(self, node_id: str, now: float) -> float:
        """How long the link has been down; 0 where it is up or has not been yet."""
        said = self.status(node_id)
        return now - said["down_since"] if said is not None and said["state"] == "down" and said["connects"] else 0.0

    def changed_host_key(self, node_id: str) -> bool:
        """Whether the node last showed another host key than at the first contact."""
        said = self.status(node_id)
        return said is not None and said["state"] == "down" and ssh.CHANGED in said["reason"]

    def drop_others(self, node_ids: set[str]) -> None:
        """End the links of nodes that are no more, and forget their host keys."""
        for plan in self._folder.glob("*.json"):
            if plan.stem in node_ids:
                continue
            pid = self._pid(plan.stem)
            plan.unlink(missing_ok=True)
            if pid is not None:
                os.kill(pid, signal.SIGTERM)
            plan.with_suffix(".status").unlink(missing_ok=True)
            plan.with_suffix(".log").unlink(missing_ok=True)
            ssh.forget(self.known_hosts, alias(int(plan.stem)))
            self._started.pop(plan.stem, None)

    def _runs(self, node_id: str) -> bool:
        started = self._started.get(node_id)
        if started is not None and started.poll() is None:
            return True
        return self._pid(node_id) is not None

    def _pid(self, node_id: str) -> int | None:
        """The link's process, also of one that an earlier autoscaler started."""
        started = self._started.get(node_id)
        if started is not None and started.poll() is None:
            return started.pid
        said = self.status(node_id)
        if said is None:
            return None
        try:
            command = Path(f"/proc/{said['pid']}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return int(said["pid"]) if str(self._plan(node_id)).encode() in command else None


def alias(instance_id: int) -> str:
    """The name under which a node's host key is kept."""
    return f"vast-{instance_id}"
