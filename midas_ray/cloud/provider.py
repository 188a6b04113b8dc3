"""Ray's node provider for Vast.ai: `provider: {type: external, module: midas_ray.cloud.provider.VastNodeProvider}`.

Thin: what is rented, lost and owed is `fleet` and `renting`, the ports are `links`, what `ray up` copies is `launch`.
Ray makes one on the laptop (`ray up`, `ray exec`, `ray down`) and one on the head, in the autoscaler. Only the head's
lets go of nodes by itself.
"""

import atexit
import sys
import time
from pathlib import Path
from typing import Any

from ray.autoscaler._private.cli_logger import cli_logger
from ray.autoscaler.command_runner import CommandRunnerInterface
from ray.autoscaler.node_launch_exception import NodeLaunchException
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import (
    NODE_KIND_HEAD,
    NODE_KIND_WORKER,
    STATUS_UP_TO_DATE,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_NODE_STATUS,
    TAG_RAY_USER_NODE_TYPE,
)

from midas_ray.cloud.api_key import KEY_FILE, read_api_key
from midas_ray.cloud.client import VastClient
from midas_ray.cloud.cluster_config import RENTED_HEAD, head_address, parse_node_config, parse_provider
from midas_ray.cloud.command_runner import HeadRunner, LocalRunner, NodeRunner
from midas_ray.cloud.errors import NoCreditError
from midas_ray.cloud.fleet import Fleet, note
from midas_ray.cloud.head_config import HeadConfig
from midas_ray.cloud.launch import HEAD_KEY, for_teardown, for_the_head, prepared
from midas_ray.cloud.ledger import Ledger
from midas_ray.cloud.links import Links
from midas_ray.cloud.mesh import LOOPBACK
from midas_ray.cloud.money_metrics import MoneyMetrics
from midas_ray.cloud.node_state import Node, StateFile
from midas_ray.cloud.publication import publish
from midas_ray.cloud.ray_command import (
    ask_account,
    least_config,
    ray_command,
    refuse,
    schema_problem,
    unknown_node,
    warn,
)
from midas_ray.cloud.ray_nodes import Obituaries
from midas_ray.cloud.renting import Renter
from midas_ray.errors import MidasError, UsageError

HEAD_ID = "head"
"""Ray's id of a head that is not rented."""
LINK_S = 60.0
DEAD_S = 180.0
"""A node that no SSH connection reached for so long is taken for dead: Ray itself waits longer, see `head_start`."""


class VastNodeProvider(NodeProvider):
    """See above. Node ids are Vast.ai's instance ids; a head that is not rented is `head`."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        # What was checked may have changed since: nothing of it is taken from a cache.
        if cached := provider_config.get("_config_cache_path"):
            Path(cached).unlink(missing_ok=True)
        self.provider = parse_provider(provider_config)
        if not self.provider.cluster_id:
            raise UsageError("cluster.yaml: expected to be read by ray up, found no cluster id")
        self._on_head = self.provider.on_head
        key_file = Path(HEAD_KEY) if self._on_head else KEY_FILE
        client = VastClient(read_api_key(key_file), self.provider.vast_url)
        self._state = StateFile(self.provider.cluster_id)
        self._ledger = Ledger(self._state.folder)
        self._fleet = Fleet(self.provider, client, self._state, self._ledger)
        self._renter = Renter(self._fleet, self.provider.ssh_public_key)
        self._config = HeadConfig(self.provider.cluster_id)
        self._metrics = MoneyMetrics()
        self._obituaries = Obituaries()
        self._links = Links(self._state.folder, self.provider.ssh_private_key, self.provider.ssh_user)
        if not self._on_head:
            self._made_here: set[str] = set()
            atexit.register(self._destroy_unfinished)

    # Configuration -----------------------------------------------------------------------------------------------

    @staticmethod
    def fillout_available_node_types_resources(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Nothing to fill in: resources are the YAML's to say. Checks the whole YAML, in one line instead of pages.

        `ray down` goes on with what it needs of it.
        """
        problem = schema_problem(cluster_config)
        if problem is None:
            return cluster_config
        if ray_command() != "down":
            refuse(problem)
        warn(f"{problem}; what this cluster rented is destroyed all the same")
        return least_config(cluster_config)

    @staticmethod
    def bootstrap_config(cluster_config: dict[str, Any]) -> dict[str, Any]:
        """Checked and filled in; ends the command with one line and exit code 1 where it cannot be.

        `ray down` goes on: a YAML that became wrong must not keep nodes running.
        """
        try:
            return prepared(cluster_config, ask_account if ray_command() == "up" else None)
        except MidasError as error:
            if ray_command() != "down":
                refuse(str(error))
            warn(f"{error}; what this cluster rented is destroyed all the same")
        try:
            return for_teardown(cluster_config)
        except MidasError as error:
            refuse(str(error))

    def prepare_for_head_node(self, cluster_config: dict[str, Any]) -> dict[str, Any]:
        """For `ray up`: the account is asked before anything is copied; gives what the head gets."""
        try:
            self._check_account()
        except MidasError as error:
            refuse(str(error))
        return for_the_head(cluster_config)

    def _check_account(self) -> None:
        """Raises AuthError, NoCreditError, another VastError."""
        account = self._fleet.client.account()
        if account.credit <= 0:
            raise NoCreditError(
                f"Vast.ai: expected credit on the account, found {account.credit:.2f} dollars; add some"
            )
        self._fleet.client.ensure_ssh_key(self.provider.ssh_public_key)

    # What there is -----------------------------------------------------------------------------------------------

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        """Ids of the nodes that are up or coming up and carry these tags."""
        if tag_filters.get(TAG_RAY_NODE_KIND) == NODE_KIND_HEAD and self.provider.head != RENTED_HEAD:
            nodes: dict[str, Node] = {}  # the account need not be asked
        else:
            nodes = self._turn() if self._on_head else self._listed(fresh=False)
        tags = {node_id: node.tags for node_id, node in nodes.items()}
        head = self._head_tags()
        if head is not None:
            tags[HEAD_ID] = head
        return [
            node_id
            for node_id, own in tags.items()
            if all(own.get(name) == value for name, value in tag_filters.items())
        ]

    def nodes_for_teardown(self, tag_filters: dict[str, str]) -> list[str]:
        """For `ray down`: as the account says now, not as this machine remembers it."""
        nodes = self._listed(fresh=True)
        ids = [i for i, node in nodes.items() if all(node.tags.get(n) == value for n, value in tag_filters.items())]
        head = self._head_tags()
        if head is not None and tag_filters.get(TAG_RAY_NODE_KIND) == NODE_KIND_HEAD:
            ids.append(HEAD_ID)
        return ids

    def _turn(self) -> dict[str, Node]:
        """One turn of the head: see `Fleet.poll`; then the links."""
        self._take_up_caps()
        try:
            nodes = self._fleet.poll()
        except MidasError:
            self._publish()  # how long the API has not answered is seen
            raise
        for node_id, node in nodes.items():
            if node.ready:
                self._links.ensure(node)
                if self._links.down_s(node_id, time.time()) > DEAD_S:
                    self._fleet.let_go(node_id, f"no SSH connection for {DEAD_S / 60:.0f} min", exclude=True)
                elif self._links.changed_host_key(node_id):
                    self._fleet.let_go(node_id, "it shows another host key than at the first contact", exclude=True)
        self._links.drop_others(set(nodes))
        self._obituaries.tell(frozenset(nodes))
        self._publish()
        return nodes

    def _take_up_caps(self) -> None:
        """Caps change while everything goes on; where their file is wrong, those before it stand, and that is said."""
        try:
            self._config.look()
        except MidasError as error:
            with self._state.change() as state:
                note(state, str(error))
        if self._config.caps is not None:
            self._fleet.take_up(self._config.caps)

    def _publish(self) -> None:
        self._metrics.export(publish(self._fleet, self._links, self._config.gpus_of_largest))

    def _listed(self, fresh: bool) -> dict[str, Node]:
        """For the laptop: what carries this cluster's label, with the tags that are remembered here.

        Ends the command with one line where the account cannot be asked.
        """
        try:
            listing = self._fleet.listing(fresh)
        except MidasError as error:
            refuse(str(error))
        remembered = self._state.read().nodes
        found = {}
        for instance in listing.values():
            node = remembered.get(str(instance.id)) or unknown_node(instance, self.provider.cluster_id)
            found[str(instance.id)] = node
        return found

    def _head_tags(self) -> dict[str, str] | None:
        """Tags of a head that is not rented; None where there is none."""
        if self.provider.head == RENTED_HEAD:
            return None
        remembered = self._state.read().head_tags
        if remembered is None and self._on_head:
            return {
                TAG_RAY_NODE_KIND: NODE_KIND_HEAD,
                TAG_RAY_NODE_STATUS: STATUS_UP_TO_DATE,
                TAG_RAY_USER_NODE_TYPE: self.provider.head_node_type,
                TAG_RAY_NODE_NAME: f"ray-{self.cluster_name}-head",
            }
        return remembered

    def _find(self, node_id: str) -> Node | None:
        """A node as it is now, looked at again where it is still coming up."""
        node = self._state.read().nodes.get(node_id)
        if node is not None and node.running_since is None:
            self._fleet.look(node_id)
            node = self._state.read().nodes.get(node_id)
        return node

    def is_running(self, node_id: str) -> bool:
        """Whether the instance runs."""
        if node_id == HEAD_ID:
            return True
        node = self._state.read().nodes.get(node_id)
        return node is not None and node.running_since is not None

    def is_terminated(self, node_id: str) -> bool:
        """Whether it is gone, or to be destroyed."""
        if node_id == HEAD_ID:
            return self._head_tags() is None
        return node_id not in self._state.read().nodes

    def node_tags(self, node_id: str) -> dict[str, str]:
        """Ray's tags of it; none for a node that is gone."""
        if node_id == HEAD_ID:
            return dict(self._head_tags() or {})
        node = self._state.read().nodes.get(node_id)
        return dict(node.tags) if node is not None else {}

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        """Remember tags; of a node that is gone they are of no use to anybody."""
        with self._state.change() as state:
            if node_id == HEAD_ID:
                state.head_tags = {**(state.head_tags or {}), **tags}
                return
            node = state.nodes.get(node_id)
            if node is None:
                return
            node.tags |= tags
            if tags.get(TAG_RAY_NODE_STATUS) == STATUS_UP_TO_DATE:
                node.joined = True
                node.steps["set up"] = time.time()

    def external_ip(self, node_id: str) -> str:
        """Where the laptop finds it; for the head of a cluster that is not rented, its own address."""
        address = head_address(self.provider)
        if node_id == HEAD_ID:
            return LOOPBACK if address is None else address.host
        node = self._find(node_id)
        return (node.host if node is not None else None) or ""

    def internal_ip(self, node_id: str) -> str:  # noqa: ARG002
        """What Ray knows every node by; they differ by their ports (`mesh`)."""
        return LOOPBACK

    # Making and ending -------------------------------------------------------------------------------------------

    def create_node(self, node_config: dict[str, Any], tags: dict[str, str], count: int) -> dict[str, Any]:
        """Rent `count` nodes, or take the head that is there. Raises NodeLaunchException with one line."""
        if tags.get(TAG_RAY_NODE_KIND) == NODE_KIND_HEAD and self.provider.head != RENTED_HEAD:
            with self._state.change() as state:
                state.head_tags = dict(tags)
            return {HEAD_ID: {}}
        made: dict[str, Any] = {}
        for _ in range(count):
            node = self._rent(node_config, tags)
            made[str(node.instance_id)] = {"machine_id": node.machine_id, "price_per_hour": node.price_per_hour}
        return made

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],  # noqa: ARG002 (the YAML's, checked when it was read)
        labels: dict[str, str],  # noqa: ARG002
    ) -> dict[str, Any]:
        """As `create_node`."""
        return self.create_node(node_config, tags, count)

    def _rent(self, node_config: dict[str, Any], tags: dict[str, str]) -> Node:
        node_type = tags.get(TAG_RAY_USER_NODE_TYPE, "")
        head = tags.get(TAG_RAY_NODE_KIND) == NODE_KIND_HEAD
        try:
            if not self._on_head:
                self._check_account()
            node = self._renter.rent(node_type, parse_node_config(node_type, node_config), tags, head)
        except MidasError as error:
            if not self._on_head:
                refuse(str(error))
            raise NodeLaunchException(type(error).__name__[:20], str(error), sys.exc_info()) from error
        if not self._on_head:
            self._made_here.add(str(node.instance_id))
        return node

    def terminate_node(self, node_id: str) -> dict[str, Any] | None:
        """Destroy it; on the head again and again until the account no longer lists it."""
        if node_id == HEAD_ID:
            with self._state.change() as state:
                state.head_tags = None
            return None
        if self._on_head:
            self._fleet.let_go(node_id, "idle, or no longer wanted")
        else:
            self._fleet.destroy_listed(int(node_id), "ray down")
        return None

    def terminate_nodes(self, node_ids: list[str]) -> dict[str, Any] | None:
        """Destroy these."""
        for node_id in node_ids:
            self.terminate_node(node_id)
        return None

    def _destroy_unfinished(self) -> None:
        """At the end of `ray up` on the laptop: what it rented and did not finish, as after Ctrl-C, goes."""
        for node_id in self._made_here:
            node = self._state.read().nodes.get(node_id)
            if node is None or not node.joined:
                cli_logger.print("destroying node {}, which is not set up", node_id)
                self._fleet.destroy_listed(int(node_id), "ray up did not finish")

    # Commands ----------------------------------------------------------------------------------------------------

    def get_command_runner(
        self,
        log_prefix: str,
        node_id: str,
        auth_config: dict[str, Any],
        cluster_name: str,
        process_runner: Any,
        use_internal_ip: bool,
        docker_config: dict[str, Any] | None = None,
    ) -> CommandRunnerInterface:
        """How commands are run on a node. Raises UsageError for containers inside the instance's own."""
        if docker_config and docker_config.get("container_name"):
            raise UsageError(
                "cluster.yaml: docker: expected {}: an instance is a container already; use node_config.image"
            )
        common = {
            "log_prefix": log_prefix,
            "node_id": node_id,
            "provider": self,
            "auth_config": auth_config,
            "cluster_name": cluster_name,
            "process_runner": process_runner,
            "use_internal_ip": use_internal_ip,
        }
        if node_id == HEAD_ID:
            address = head_address(self.provider)
            if address is None or self._on_head:
                return LocalRunner(self.provider.data_dir)
            return HeadRunner(common, self._links.known_hosts, address, self.provider.data_dir)
        return NodeRunner(
            common,
            self._links.known_hosts,
            self._find,
            self._prepare,
            lambda node, why: self._fleet.let_go(node, why, exclude=True),
            60 * (self.provider.ssh_timeout_minutes + self.provider.start_timeout_minutes),
        )

    def _prepare(self, node: Node) -> None:
        """Once SSH works: the ports, for a worker. A rented head has none to be brought."""
        node_id = str(node.instance_id)
        now = time.time()
        self._fleet.step(node_id, "ssh", now)
        if node.tags.get(TAG_RAY_NODE_KIND) == NODE_KIND_WORKER:
            self._links.wait_up(node, LINK_S)
            self._fleet.step(node_id, "ports", time.time())
        with self._state.change() as state:
            if node_id in state.nodes:
                state.nodes[node_id].ready = True
