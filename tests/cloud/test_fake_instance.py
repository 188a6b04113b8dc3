"""The fake's instances by the clock alone: states, what falls when, and what is charged."""

import pytest

from midas_ray.cloud.fake.catalogue import catalogue
from midas_ray.cloud.fake.instance import FakeInstance, made
from midas_ray.cloud.fake.script import Plan, Script

ASK = catalogue()[0]
T0 = 1_800_000_000.0
HOUR = 3600.0


def instance(plan: Plan | None = None, bid: float | None = None, up: bool = True) -> FakeInstance:
    script = Script(provisioned_s=1.0, created_s=2.0, loading_s=30.0, plans=[plan or Plan()])
    body = {"label": "n1", "image": "i", "onstart": "", "disk": 72.0}
    made_now = made(1, ASK, body, bid, {"-p 70000:70000": "1", "A": "b"}, script, T0)
    if up:
        made_now.address = ("203.0.113.1", 40022)
    return made_now


@pytest.mark.parametrize(
    ("after", "status"),
    [(0, None), (0.9, None), (1, "created"), (2.9, "created"), (3, "loading"), (32.9, "loading"), (33, "running")],
)
def test_states_by_the_clock(after: float, status: str | None) -> None:
    each = instance()
    each.advance(T0 + after)
    assert each.status == status
    assert (each.shown()["ports"] is not None) is (status == "running")


def test_it_runs_no_sooner_than_its_machine_is_up() -> None:
    each = instance(up=False)
    each.advance(T0 + 100)
    assert each.status == "loading"
    each.address, each.up_at = ("203.0.113.1", 40022), T0 + 120
    each.advance(T0 + 130)
    assert each.history[-1] == (T0 + 120, "running")


@pytest.mark.parametrize(
    ("plan", "after", "status", "running_s"),
    [
        (Plan(outcome="never_starts"), HOUR, "loading", 0),
        (Plan(outcome="exits"), 34, "exited", 0),
        (Plan(outcome="exits", after_s=60), 92, "running", 59),
        (Plan(outcome="exits", after_s=60), HOUR, "exited", 60),
        (Plan(outcome="offline", after_s=10), HOUR, "offline", 10),
        (Plan(outcome="unknown", after_s=10), HOUR, "unknown", 10),
        (Plan(outcome="outbid", after_s=10), HOUR, "stopped", 10),
    ],
)
def test_what_becomes_of_it(plan: Plan, after: float, status: str, running_s: float) -> None:
    each = instance(plan, bid=ASK.min_bid, up=plan.outcome != "never_starts")
    each.advance(T0 + after)
    assert each.status == status
    assert each.running_s(T0 + after) == pytest.approx(running_s)
    assert each.shown()["cur_state"] == ("stopped" if plan.outcome == "outbid" else "running")


def test_the_disk_is_charged_from_the_create_and_the_gpus_while_it_runs() -> None:
    each = instance()
    each.advance(T0 + 2 * HOUR)
    disk = 72 * ASK.storage_cost / 720
    assert each.dollars(T0) == 0
    assert each.dollars(T0 + 33) == pytest.approx(disk * 33 / HOUR)
    assert each.dollars(T0 + 33 + HOUR) == pytest.approx(disk * (33 + HOUR) / HOUR + ASK.gpu_price)
    assert each.shown()["dph_total"] == pytest.approx(disk + ASK.gpu_price)


def test_a_bid_is_charged_at_the_bid_and_an_exited_one_only_its_disk() -> None:
    each = instance(Plan(outcome="exits", after_s=HOUR), bid=0.05)
    each.advance(T0 + 10 * HOUR)
    assert each.dollars(T0 + 10 * HOUR) == pytest.approx(10 * each.storage_price + 0.05)


def test_nothing_is_charged_once_it_is_destroyed() -> None:
    each = instance()
    each.advance(T0 + HOUR)
    each.destroyed_at = T0 + HOUR
    assert each.dollars(T0 + 100 * HOUR) == each.dollars(T0 + HOUR)
    each.advance(T0 + 100 * HOUR)
    assert each.status == "running"
    assert each.due is None


def test_ports_are_mapped_as_the_api_shows_them() -> None:
    each = instance()
    each.advance(T0 + 40)
    ports = each.shown()["ports"]
    assert ports["22/tcp"] == [{"HostIp": "203.0.113.1", "HostPort": "40022"}]
    assert set(ports) == {"22/tcp", "70000/tcp"}
    assert "api_key" not in repr(each)
