"""How Ray's updater runs commands and copies files: on the head, on this machine, on a rented node."""

import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ray.autoscaler._private.command_runner import SSHCommandRunner
from ray.autoscaler.command_runner import CommandRunnerInterface

from midas_ray.cloud import ssh
from midas_ray.cloud.cluster_config import HeadAddress
from midas_ray.cloud.errors import VastError
from midas_ray.cloud.left_running import BY_RAY_DOWN
from midas_ray.cloud.links import alias
from midas_ray.cloud.mesh import HEAD_ADDRESS, Ports
from midas_ray.cloud.node_state import Node

RAY_STOP = "ray stop"
FIRST_CONTACT_S = 0.25
LINK_S = 60.0


class _PortRunner(SSHCommandRunner):
    """SSH to a port of its own, with a host key pinned at the first contact and without a shared connection."""

    def __init__(self, common: dict[str, Any], known_hosts: Path) -> None:
        super().__init__(**common)
        self.ssh_control_path = None
        options = self.ssh_options.arg_dict
        for name in ("ControlMaster", "ControlPath", "ControlPersist"):
            options.pop(name, None)
        self._known_hosts = known_hosts

    def _reach(self, user: str, host: str, port: int, name: str) -> None:
        self.ssh_user, self.ssh_ip = user, host
        self.ssh_options.arg_dict |= ssh.options(self._known_hosts, name) | {"Port": str(port)}

    def run_rsync_up(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """As SSHCommandRunner, with the excludes for folders alone."""
        super().run_rsync_up(source, target, options_of(source, options))

    def remote_shell_command_str(self) -> str:
        """What `ray up` prints for a shell on the node."""
        port = self.ssh_options.arg_dict.get("Port", "22")
        return (
            f"ssh -o IdentitiesOnly=yes -p {port} -i {self.ssh_private_key} {self.ssh_user}@{self._get_ssh_target()}\n"
        )


class HeadRunner(_PortRunner):
    """A head that is a server of the user's."""

    def __init__(self, common: dict[str, Any], known_hosts: Path, address: HeadAddress, data_dir: str) -> None:
        super().__init__(common, known_hosts)
        self._data_dir = data_dir
        self._reach(address.user or self.ssh_user, address.host, address.port, f"{address.host}:{address.port}")

    def run(self, cmd: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """As SSHCommandRunner; but `ray down` ends the head of MIDAS alone, and in good order."""
        return super().run(midas_down(cmd, self._data_dir), *args, **kwargs)


class LocalRunner(CommandRunnerInterface):
    """A head that is this machine: no SSH."""

    def __init__(self, data_dir: str) -> None:
        self._data_dir = data_dir

    def run(
        self,
        cmd: str | None = None,
        timeout: int = 120,  # noqa: ARG002 (of connecting)
        exit_on_fail: bool = False,  # noqa: ARG002
        port_forward: list[tuple[int, int]] | None = None,
        with_output: bool = False,
        environment_variables: dict[str, object] | None = None,
        run_env: str = "auto",  # noqa: ARG002
        ssh_options_override_ssh_key: str = "",  # noqa: ARG002
        shutdown_after_run: bool = False,  # noqa: ARG002
        silent: bool = False,
    ) -> Any:
        """Run it in a login shell. Raises click.ClickException where it fails."""
        import click
        from ray.autoscaler._private.command_runner import _with_environment_variables

        if port_forward:
            raise click.ClickException("the head is this machine: its ports are here already")
        text = midas_down(cmd, self._data_dir) or "true"
        if environment_variables:
            text = _with_environment_variables(text, environment_variables)
        command = ["bash", "--login", "-c", text]
        try:
            if with_output:
                return subprocess.check_output(command)
            return subprocess.run(command, check=True, stdout=subprocess.DEVNULL if silent else None).returncode
        except subprocess.CalledProcessError as error:
            raise click.ClickException(f"exit code {error.returncode} of: {text}") from None

    def run_rsync_up(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """Copy on this machine; a folder onto itself is left alone."""
        here, there = Path(source).expanduser().resolve(), Path(target).expanduser().resolve()
        if here == there:
            return
        there.parent.mkdir(parents=True, exist_ok=True)
        excluded = [f"--exclude={name}" for name in options_of(source, options).get("rsync_exclude") or []]
        slash = "/" if here.is_dir() else ""
        subprocess.run(["rsync", "-a", *excluded, f"{here}{slash}", f"{there}{slash}"], check=True)

    def run_rsync_down(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """As up."""
        self.run_rsync_up(source, target, options)

    def remote_shell_command_str(self) -> str:
        """What `ray up` prints for a shell on the head."""
        return "bash --login\n"

    def run_init(self, *, as_head: bool, file_mounts: dict[str, str], sync_run_yet: bool) -> None:
        """Nothing to do."""


class NodeRunner(_PortRunner):
    """A rented node: waits for its SSH without Ray's pauses of 5 s, and has its ports up before Ray is started on it.

    find: gives the node as it is known now; None once it is let go. prepare: opens the link to it. fail: lets go of it.
    """

    def __init__(
        self,
        common: dict[str, Any],
        known_hosts: Path,
        find: Callable[[str], Node | None],
        prepare: Callable[[Node], None],
        fail: Callable[[str, str], None],
        timeout_s: float,
    ) -> None:
        super().__init__(common, known_hosts)
        self._user = self.ssh_user
        self._find, self._prepare, self._fail, self._timeout_s = find, prepare, fail, timeout_s
        self._node: Node | None = None

    def run(self, cmd: str | None = None, *args: Any, **kwargs: Any) -> Any:
        """As SSHCommandRunner, once the node can be reached; with its place in the mesh in the environment."""
        node = self._reached()
        exports = "; ".join(f"export {name}={value!r}" for name, value in environment(node).items())
        return super().run(None if cmd is None else f"{exports}; {cmd}", *args, **kwargs)

    def run_rsync_up(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """As SSHCommandRunner; but the private key, which Ray copies to every head, never goes to a rented machine."""
        if Path(source).expanduser() == Path(self.ssh_private_key).expanduser():
            return
        self._reached()
        super().run_rsync_up(source, target, options)

    def run_rsync_down(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        self._reached()
        super().run_rsync_down(source, target, options)

    def _reached(self) -> Node:
        """The node, with SSH and ports that work. Raises VastError where that does not come about."""
        if self._node is not None:
            return self._node
        deadline = time.monotonic() + self._timeout_s
        said = "no answer"
        while True:
            node = self._find(self.node_id)
            if node is None:
                raise VastError(f"node {self.node_id} is let go")
            if node.host is not None and node.port is not None and node.running_since is not None:
                said = self._try(node.host, node.port)
                if not said:
                    break
                if ssh.CHANGED in said:
                    self._fail(self.node_id, "it shows another host key than at the first contact")
                    raise VastError(f"node {self.node_id}: its host key has changed")
            if time.monotonic() > deadline:
                self._fail(self.node_id, f"SSH does not work: {said}")
                raise VastError(f"node {self.node_id}: SSH does not work: {said}")
            time.sleep(FIRST_CONTACT_S)
        self._prepare(node)
        self._node = node
        return node

    def _try(self, host: str, port: int) -> str:
        """What ssh says against it; empty where it works."""
        self._reach(self._user, host, port, alias(int(self.node_id)))
        options = {
            **ssh.options(self._known_hosts, alias(int(self.node_id))),
            "ConnectTimeout": "5",
            "BatchMode": "yes",
        }
        key = str(Path(self.ssh_private_key).expanduser())
        tried = subprocess.run(
            [*ssh.command(key, self._user, host, port, options), "true"],
            capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return "" if tried.returncode == 0 else tried.stderr.strip() or f"exit code {tried.returncode}"


def environment(node: Node) -> dict[str, str]:
    """What commands on a rented node find: its place in the mesh, and the versions it has to have."""
    return {
        "MIDAS_HEAD_ADDRESS": HEAD_ADDRESS,
        "MIDAS_RAY_FLAGS": " ".join(Ports(node.slot).start_flags()),
        "MIDAS_EXPECT_PYTHON": ".".join(map(str, sys.version_info[:2])),
        "MIDAS_EXPECT_RAY": version("ray"),
        "MIDAS_EXPECT_TORCH": version("torch").split("+")[0],
    }


def options_of(source: str, options: dict[str, Any] | None) -> dict[str, Any]:
    """rsync's options for one entry of file_mounts: excludes are for folders.

    A file that is named itself, as the token is, is meant to be copied; rsync would drop it without a word.
    """
    if Path(source).expanduser().is_file():
        return {name: value for name, value in (options or {}).items() if not name.startswith("rsync_")}
    return options or {}


def midas_down(cmd: str | None, data_dir: str) -> str | None:
    """`ray stop` would end every Ray of the user on the head; `ray down` means ours."""
    return f"{BY_RAY_DOWN}=1 midas down --data-dir {data_dir}" if cmd == RAY_STOP else cmd
