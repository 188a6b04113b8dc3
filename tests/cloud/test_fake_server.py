"""The fake over HTTP: keys, limits, machines behind instances, money, and its `/fake/` side."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from midas_ray.cloud.client import VastClient
from midas_ray.cloud.fake import Failure, FakeHandle, Plan, Script, running_fake
from midas_ray.cloud.fake.script import changed
from midas_ray.cloud.offers import OfferQuery
from midas_ray.errors import UsageError

WAIT_S = 20.0


class Recording:
    """Machines that note what is asked of them."""

    def __init__(self) -> None:
        self.started: dict[int, tuple[dict[str, str], str]] = {}
        self.stopped: list[int] = []
        self.closed = 0
        self.broken = False

    async def start(self, instance_id: int, env: dict[str, str], onstart: str) -> tuple[str, int]:
        await asyncio.sleep(0)
        if self.broken:
            raise OSError("no such image")
        self.started[instance_id] = (env, onstart)
        return "127.0.0.1", 2200

    async def stop(self, instance_id: int) -> None:
        self.stopped.append(instance_id)

    async def close(self) -> None:
        self.closed += 1


def until(condition: Callable[[], object]) -> None:
    """Wait for it. A safety limit, not a measurement."""
    limit = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < limit, "it never came about"
        time.sleep(0.01)


def rent(vast: VastClient, label: str = "n1", **more: Any) -> int:
    offer = vast.search(OfferQuery())[0].id
    asked: dict[str, Any] = {"image": "i", "disk_gb": 8, "label": label, "env": {"A": "b"}, "onstart": "echo hi"}
    return vast.create(offer, **(asked | {"bid_price": None} | more))


def status(vast: VastClient, number: int) -> str | None:
    shown = vast.show(number)
    assert shown is not None
    return shown.actual_status


def test_the_machine_behind_an_instance_gets_what_vast_puts_into_a_container() -> None:
    machines = Recording()
    with running_fake(machines=machines) as fake, VastClient(fake.api_key, fake.url, intervals_s={}) as vast:
        vast.ensure_ssh_key("ssh-ed25519 AAAA me")
        number = rent(vast, env={"A": "b", "-p 8080:8080": "1"})
        until(lambda: status(vast, number) == "running")
        shown = vast.show(number)
        assert shown is not None
        assert shown.ssh_address == ("127.0.0.1", 2200)
        env, onstart = machines.started[number]
        key = env.pop("CONTAINER_API_KEY")
        assert onstart == "echo hi"
        assert env == {
            "A": "b",
            "CONTAINER_ID": str(number),
            "VAST_CONTAINERLABEL": f"C.{number}",
            "FAKE_VAST_PUBLIC_KEYS": "ssh-ed25519 AAAA me",
        }
        assert len(key) == 64
        vast.destroy(number)
        until(lambda: machines.stopped == [number])
    assert machines.closed == 1


@pytest.mark.parametrize("lost", ["exited", "offline", "unknown", "outbid"])
def test_a_lost_instance_has_no_machine_any_more(lost: str) -> None:
    machines = Recording()
    with running_fake(machines=machines) as fake, VastClient(fake.api_key, fake.url, intervals_s={}) as vast:
        number = rent(vast)
        until(lambda: status(vast, number) == "running")
        fake.steer(force={number: lost})
        until(lambda: machines.stopped == [number])
        assert status(vast, number) == ("stopped" if lost == "outbid" else lost)
        assert len(fake.live()) == 1


def test_a_machine_that_does_not_boot_is_an_exited_instance() -> None:
    machines = Recording()
    machines.broken = True
    with running_fake(machines=machines) as fake, VastClient(fake.api_key, fake.url, intervals_s={}) as vast:
        number = rent(vast)
        until(lambda: status(vast, number) == "exited")
        shown = vast.show(number)
        assert shown is not None
        assert shown.status_msg == "OSError: no such image"


def test_plans_are_taken_in_order_and_start_no_machine_that_nobody_reaches() -> None:
    machines = Recording()
    plans = [Plan(outcome="never_starts"), Plan(outcome="no_ssh"), Plan(outcome="exits"), Plan()]
    with (
        running_fake(Script(plans=plans), machines=machines) as fake,
        VastClient(fake.api_key, fake.url, intervals_s={}) as vast,
    ):
        numbers = [rent(vast, f"n{i}") for i in range(4)]
        wanted = ["loading", "running", "exited", "running"]
        until(lambda: [status(vast, number) for number in numbers] == wanted)
        assert list(machines.started) == [numbers[3]]


def test_an_instances_own_key_may_only_end_that_instance(vast: VastClient, fake: FakeHandle) -> None:
    own, other = rent(vast, "own"), rent(vast, "other")
    offer = vast.search(OfferQuery())[0].id
    body = {"image": "i", "label": "own key"}
    account = {"Authorization": f"Bearer {fake.api_key}"}
    made = httpx.put(f"{fake.url}/api/v0/asks/{offer}/", json=body, headers=account, trust_env=False).json()
    own, key = made["new_contract"], {"Authorization": f"Bearer {made['instance_api_key']}"}

    def ask(method: str, path: str) -> int:
        return httpx.request(method, f"{fake.url}{path}", headers=key, trust_env=False).status_code

    assert ask("GET", "/api/v1/instances/") == 403
    assert ask("GET", "/api/v0/users/current/") == 403
    assert ask("POST", "/api/v0/bundles/") == 403
    assert ask("PUT", f"/api/v0/asks/{offer}/") == 403
    assert ask("DELETE", f"/api/v0/instances/{other}/") == 403
    assert ask("GET", f"/api/v0/instances/{own}/") == 200
    assert ask("DELETE", f"/api/v0/instances/{own}/") == 200
    assert ask("DELETE", f"/api/v0/instances/{own}/") == 401  # its key went with it
    ended = {each["id"]: each["destroyed_by"] for each in fake.instances()}
    assert ended[own] == "instance"
    assert ended[other] == ""


def test_intervals_and_refusals_are_those_of_the_real_api(fake: FakeHandle) -> None:
    fake.steer(intervals_s={"account": 60.0})
    headers = {"Authorization": f"Bearer {fake.api_key}"}
    answers = [httpx.get(f"{fake.url}/api/v0/users/current/", headers=headers, trust_env=False) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[1].text == "API requests too frequent: endpoint threshold=60.0"
    by_query = httpx.get(f"{fake.url}/api/v0/ssh", params={"api_key": fake.api_key}, trust_env=False)
    assert (by_query.status_code, by_query.json()) == (200, [])
    assert httpx.get(f"{fake.url}/api/v0/instances/", headers=headers, trust_env=False).status_code == 410
    assert httpx.get(f"{fake.url}/api/v1/instances/", trust_env=False).status_code == 401


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "image is required"),
        ({"image": "i", "label": "x" * 61}, "label longer than 60"),
        ({"image": "i", "onstart": "x" * 4049}, "onstart longer than 4048"),
        ({"image": "i", "env": "-e A=b"}, "env must be an object"),
        ({"image": "i", "env": {"A": "x" * 257}}, "env value longer than 256"),
        ({"image": "i", "disk": 7}, "disk under 8"),
        ({"image": "i", "price": 200}, "price out of range"),
    ],
)
def test_wrong_creates_are_refused(vast: VastClient, fake: FakeHandle, body: dict[str, Any], said: str) -> None:
    offer, headers = vast.search(OfferQuery())[0].id, {"Authorization": f"Bearer {fake.api_key}"}
    answer = httpx.put(f"{fake.url}/api/v0/asks/{offer}/", json=body, headers=headers, trust_env=False)
    assert answer.status_code == 400
    assert said in answer.json()["msg"]
    assert fake.instances() == []


def test_a_search_for_what_no_offer_has_is_refused(fake: FakeHandle) -> None:
    headers = {"Authorization": f"Bearer {fake.api_key}"}
    for body in ({"gpu_nam": {"eq": "x"}}, {"num_gpus": 1}, {"num_gpus": {"over": 1}}):
        answer = httpx.post(f"{fake.url}/api/v0/bundles/", json=body, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_args")


def test_stopped_and_started_again(vast: VastClient, fake: FakeHandle) -> None:
    number = rent(vast)
    until(lambda: status(vast, number) == "running")
    url, headers = f"{fake.url}/api/v0/instances/{number}/", {"Authorization": f"Bearer {fake.api_key}"}
    httpx.put(url, json={"state": "stopped"}, headers=headers, trust_env=False).raise_for_status()
    assert status(vast, number) == "stopped"
    httpx.put(url, json={"state": "running"}, headers=headers, trust_env=False).raise_for_status()
    until(lambda: status(vast, number) == "running")


def test_an_account_out_of_credit_stops_everything(vast: VastClient, fake: FakeHandle) -> None:
    number = rent(vast)
    until(lambda: status(vast, number) == "running")
    fake.steer(credit=0.0)
    until(lambda: status(vast, number) == "stopped")
    assert fake.account()["credit"] <= 0


def test_the_books_agree(vast: VastClient, fake: FakeHandle) -> None:
    first, second = rent(vast, "a"), rent(vast, "b")
    until(lambda: status(vast, second) == "running")
    vast.destroy(first)
    books = fake.instances()
    assert [each["label"] for each in books] == ["a", "b"]
    assert [each["id"] for each in fake.live()] == [second]
    account = fake.account()
    assert account["spent"] >= sum(each["dollars"] for each in books) > 0
    assert account["credit"] == pytest.approx(25.0 - account["spent"])
    assert [each["status"] for each in fake.calls("destroy")] == [200]


def test_a_script_with_a_field_too_many_changes_nothing(fake: FakeHandle) -> None:
    for wrong in ({"loading": 3}, {"plans": [{"outcome": "explodes"}]}, {"failures": [{"call": "search"}]}):
        with pytest.raises(UsageError, match="fake script: "):
            fake.steer(**wrong)
    with pytest.raises(UsageError, match="expected an instance's id, found 99"):
        fake.steer(force={99: "exited"})
    assert fake.steer() == Script().to_json()


def test_a_failure_strikes_as_often_as_said() -> None:
    script = Script(failures=[Failure(what="500", call="create", times=2), Failure(what="429")])
    struck = [script.strikes(call) for call in ("search", "search", "create", "create", "create")]
    assert [None if each is None else each.what for each in struck] == ["429", None, "500", "500", None]
    again = changed(script, {"loading_s": 3})
    assert (again.loading_s, len(again.failures)) == (3, 2)


def test_a_taken_port_is_one_line(fake: FakeHandle) -> None:
    port = int(fake.url.rsplit(":", 1)[1])
    with pytest.raises(UsageError, match=rf"cannot listen on 127\.0\.0\.1:{port}"), running_fake(port=port):
        pass
