"""What is rented, lost and owed: no path leaves an instance behind, and no cap is passed."""

import random
from pathlib import Path
from typing import Any

import pytest

from midas_ray.cloud import fleet as fleet_module
from midas_ray.cloud import renting
from midas_ray.cloud.cluster_config import Caps, NodeConfig, Provider
from midas_ray.cloud.errors import BudgetError, NoOfferError, UnavailableError, VastError
from midas_ray.cloud.fleet import Fleet
from midas_ray.cloud.ledger import Ledger
from midas_ray.cloud.node_state import StateFile
from midas_ray.cloud.renting import Renter
from tests.cloud.account import AccountInMemory, Killed

CAPS = Caps(price_per_hour=0.8, nodes=3, hours_per_node=2, total_per_day=5)
WANTED = NodeConfig(image="image", gpus=["RTX 4090"])


class Head:
    """The head of one cluster over an account; `restart` is a new process with the same state folder."""

    def __init__(self, account: AccountInMemory, root: Path, cluster_id: str = "midas-1", **changes: Any) -> None:
        self.account, self._root = account, root
        given = {"on_head": True, **changes}
        self._provider = Provider(
            type="external", module="m", head="me@head", cluster_id=cluster_id, caps=CAPS, **given
        )
        self.restart()

    def restart(self) -> None:
        state = StateFile(self._provider.cluster_id, self._root)
        clock = lambda: self.account.now  # noqa: E731
        self.fleet = Fleet(self._provider, self.account, state, Ledger(state.folder), clock)  # type: ignore[arg-type]
        self.renter = Renter(self.fleet, "ssh-ed25519 AAAA")

    def rent(self, wanted: NodeConfig = WANTED) -> int:
        return self.renter.rent("gpu", wanted, {"ray-user-node-type": "gpu"}).instance_id

    def turn(self, seconds: float = 10.0) -> set[int]:
        """Time passes, the autoscaler asks; gives the ids of its nodes."""
        self.account.pass_time(seconds)
        return {node.instance_id for node in self.fleet.poll().values()}

    def set_ready(self, node: int) -> None:
        """As the command runner does once SSH and the ports work."""
        with self.fleet.state.change() as state:
            state.nodes[str(node)].ready = True

    def why(self) -> str:
        return self.fleet.state.read().problems[-1]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The account's clock is the test's; what is measured in real time is off."""
    monkeypatch.setattr(fleet_module, "LISTING_S", 0.0)
    monkeypatch.setattr(fleet_module, "LOOK_S", 0.0)
    monkeypatch.setattr(renting, "NO_OFFER_S", 0.0)


@pytest.fixture
def account() -> AccountInMemory:
    return AccountInMemory()


@pytest.fixture
def head(account: AccountInMemory, tmp_path: Path) -> Head:
    return Head(account, tmp_path)


def test_an_instance_comes_up_and_is_let_go_until_the_account_no_longer_lists_it(head: Head) -> None:
    node = head.rent()
    assert head.turn(5) == {node}
    assert head.fleet.state.read().nodes[str(node)].running_since is None
    head.turn(20)
    assert head.fleet.state.read().nodes[str(node)].running_since is not None
    head.fleet.let_go(str(node), "idle")
    for _ in range(20):
        assert head.turn() == set()
    assert not head.account.machines
    assert not head.fleet.state.read().ending


def test_a_new_instance_that_is_not_listed_yet_is_kept_and_one_that_disappears_is_not(head: Head) -> None:
    node = head.rent()
    head.account.unlisted.add(node)
    assert head.turn(30) == {node}
    head.account.unlisted.clear()
    assert head.turn() == {node}
    del head.account.machines[node]
    assert head.turn() == set()
    assert "does not list it any more" in head.why()


@pytest.mark.parametrize("status", ["exited", "unknown", "offline"])
def test_a_lost_instance_is_destroyed_and_its_machine_left_out(head: Head, status: str) -> None:
    node = head.rent()
    head.turn(30)
    machine = head.account.machines[node].machine_id
    head.account.set(node, actual_status=status)
    assert head.turn() == set()
    other = head.rent()
    assert head.account.machines[other].machine_id != machine
    for _ in range(20):
        head.turn()
    assert set(head.account.machines) == {other}


def test_an_outbid_instance_is_destroyed(head: Head) -> None:
    node = head.rent(NodeConfig(image="image", market="bid"))
    head.turn(30)
    head.account.set(node, cur_state="stopped", actual_status="exited")
    assert head.turn() == set()
    assert "outbid" in head.why()


def test_what_does_not_start_or_takes_no_ssh_is_given_up(head: Head) -> None:
    head.account.starts_after = 1e9
    never = head.rent()
    assert head.turn(14 * 60) == {never}
    assert head.turn(2 * 60) == set()
    assert "did not start" in head.why()
    head.account.starts_after = 1
    deaf = head.rent()
    head.turn(20)
    assert head.turn(4 * 60) == {deaf}
    assert head.turn(2 * 60) == set()
    assert "SSH did not work" in head.why()


def test_a_node_that_takes_ssh_stays(head: Head) -> None:
    node = head.rent()
    head.turn(30)
    head.set_ready(node)
    assert head.turn(3600) == {node}


def test_hours_and_the_days_dollars_end_nodes(head: Head) -> None:
    first = head.rent()
    head.set_ready(first)
    head.turn(30)
    assert head.turn(2 * 3600) == set()
    assert "2 hours are over" in head.why()


def test_no_rent_beyond_a_cap(head: Head) -> None:
    for _ in range(3):
        head.rent()
    with pytest.raises(BudgetError, match="nodes"):
        head.rent()
    head.fleet.let_go(str(min(head.account.machines)), "idle")
    for _ in range(20):
        head.turn()
    with pytest.raises(NoOfferError):
        head.rent(NodeConfig(image="image", max_price_per_hour=0.1))
    assert head.account.created == 3


@pytest.mark.parametrize("on_head", [True, False])
def test_what_keeps_a_node_from_being_rented_is_said_once(
    account: AccountInMemory, tmp_path: Path, caplog: pytest.LogCaptureFixture, on_head: bool
) -> None:
    """By the head's log; by `ray up` itself, which ends with the line that is raised."""
    machine = Head(account, tmp_path, on_head=on_head)
    with pytest.raises(NoOfferError) as caught:
        machine.rent(NodeConfig(image="image", max_price_per_hour=0.1))
    assert machine.why() == f"gpu: {caught.value}"
    assert [record.getMessage() for record in caplog.records] == ([machine.why()] if on_head else [])


def test_an_api_that_is_down_for_ten_minutes_changes_nothing(head: Head) -> None:
    node = head.rent()
    head.turn(30)
    head.set_ready(node)
    head.account.broken = True
    for _ in range(60):
        assert head.turn(10) == {node}
    head.fleet.let_go(str(node), "idle")
    assert head.turn() == set()
    assert node in head.account.machines
    head.account.broken = False
    for _ in range(20):
        head.turn()
    assert not head.account.machines


def test_a_head_that_starts_while_the_api_is_down_says_so(head: Head) -> None:
    head.account.broken = True
    with pytest.raises(UnavailableError):
        head.turn()


def test_a_head_killed_after_a_create_finds_the_orphan(head: Head) -> None:
    head.account.kill_after_create = True
    with pytest.raises(Killed):
        head.rent()
    head.restart()
    assert head.account.machines
    for _ in range(60):
        assert head.turn() == set()
    assert not head.account.machines


def test_a_create_whose_answer_was_lost_is_destroyed_when_it_shows(head: Head) -> None:
    head.account.lose_answer_of_create = True
    with pytest.raises(VastError):
        head.rent()
    for _ in range(20):
        head.turn()
    assert not head.account.machines


def test_a_restarted_head_goes_on_with_its_nodes(head: Head) -> None:
    node = head.rent()
    head.turn(30)
    head.restart()
    assert head.turn() == {node}
    assert head.fleet.state.read().nodes[str(node)].tags == {"ray-user-node-type": "gpu"}


def test_two_clusters_and_a_stranger_on_one_account_do_not_touch_each_other(
    account: AccountInMemory, tmp_path: Path
) -> None:
    one, two = Head(account, tmp_path, "midas-1"), Head(account, tmp_path, "midas-2")
    stranger = account.create(7, label="mine", bid_price=None, onstart="")
    first, second = one.rent(), two.rent()
    one.set_ready(first)
    two.set_ready(second)
    for _ in range(5):
        assert one.turn() == {first}
        assert two.turn() == {second}
    one.fleet.let_go(str(first), "idle")
    for _ in range(20):
        one.turn()
        two.turn()
    assert set(account.machines) == {second, stranger}


@pytest.mark.parametrize("seed", range(150))
def test_no_path_leaks_a_node_or_passes_a_cap(seed: int, tmp_path: Path) -> None:
    """Random rents, ends, failures, kills and restarts; then nobody wants anything, and the account is empty."""
    dice = random.Random(seed)
    account = AccountInMemory(seed, starts_after=dice.choice([5, 60, 1e9]))
    head = Head(account, tmp_path)
    for _ in range(120):
        account.broken = dice.random() < 0.15
        account.lose_answer_of_create = dice.random() < 0.1
        account.kill_after_create = dice.random() < 0.1
        account.gone_offers = dice.choice([0, 0, 0, 1, 2])
        _one_move(dice, account, head)
        assert len(account.machines) <= CAPS.nodes + 2  # orphans of lost answers and kills, until they are listed
        assert account.charged <= CAPS.total_per_day * (1 + (account.now % 86400 + 1e5) // 86400) + 1
    account.broken = account.lose_answer_of_create = account.kill_after_create = False
    for node_id in list(head.fleet.state.read().nodes):
        head.fleet.let_go(node_id, "the end")
    for _ in range(80):
        head.turn()
    assert not account.machines
    assert not head.fleet.state.read().ending
    assert not head.fleet.state.read().renting


def _one_move(dice: random.Random, account: AccountInMemory, head: Head) -> None:
    move = dice.random()
    try:
        if move < 0.3:
            head.rent(NodeConfig(image="image", market=dice.choice(["on-demand", "bid"])))
        elif move < 0.4 and account.machines:
            account.set(dice.choice(list(account.machines)), actual_status=dice.choice(["exited", "offline"]))
        elif move < 0.5 and account.machines:
            head.fleet.let_go(str(dice.choice(list(account.machines))), "idle")
        elif move < 0.55:
            head.restart()
    except (VastError, Killed):
        if account.kill_after_create is False and dice.random() < 0.5:
            head.restart()
    try:
        head.turn(dice.choice([1, 10, 300, 3600]))
    except UnavailableError:
        account.broken = False
