"""Creates through the client: refused, lost, unknown, and never two in the place of one."""

from typing import Any

import pytest

from midas_ray.cloud import client as client_module
from midas_ray.cloud.client import VastClient
from midas_ray.cloud.errors import (
    CreateUnknownError,
    NoCreditError,
    OfferGoneError,
    RefusedError,
    UnavailableError,
)
from midas_ray.cloud.fake import FakeHandle
from midas_ray.cloud.offers import rank
from tests.cloud.answering import answering
from tests.cloud.clients import QUERY, quick_client, rent


def test_no_credit(vast: VastClient, fake: FakeHandle) -> None:
    fake.steer(credit=0)
    with pytest.raises(NoCreditError, match=r"no credit .*: add some at https://cloud.vast.ai/billing/"):
        rent(vast)
    assert fake.instances() == []


def test_an_offer_that_somebody_took(vast: VastClient, fake: FakeHandle) -> None:
    number = rent(vast, "first")
    machine = next(each["offer_id"] for each in fake.instances() if each["id"] == number)
    with pytest.raises(OfferGoneError):
        rent(vast, "second", machine)  # 410
    with pytest.raises(OfferGoneError):
        rent(vast, "third", 1)  # 404, no_such_ask in the message alone
    assert len(fake.calls("create")) == 3
    assert len(fake.instances()) == 1


@pytest.mark.parametrize("what", ["lost", "429"])
def test_a_create_makes_one_instance_whatever_becomes_of_its_answer(fake: FakeHandle, what: str) -> None:
    with quick_client(fake) as vast:
        offers = rank(vast.search(QUERY), QUERY)
        before = rent(vast, "other", offers[1].id)
        fake.steer(failures=[{"what": what, "call": "create", "times": 1 if what == "lost" else 3}])
        number = rent(vast, "mine", offers[0].id)
    made = fake.instances()
    assert [(each["id"], each["label"]) for each in made] == [(before, "other"), (number, "mine")]
    assert len(fake.calls("create")) == (2 if what == "lost" else 5)


@pytest.mark.parametrize("what", ["500", "drop", "hang", "malformed"])
def test_a_create_of_unknown_outcome_is_sent_once_and_looked_for(fake: FakeHandle, what: str) -> None:
    with quick_client(fake) as vast:
        rent(vast, "somebody's")
        offer = rank(vast.search(QUERY), QUERY)[0]
        fake.steer(failures=[{"what": what, "call": "create", "times": 100}])
        with pytest.raises(CreateUnknownError, match="no instance 'mine' exists so far") as unknown:
            rent(vast, "mine", offer.id)
    assert unknown.value.label == "mine"
    assert len(fake.calls("create")) == 2
    assert len(fake.calls("instances")) == client_module.LOOKUPS


def test_a_create_and_then_silence(fake: FakeHandle) -> None:
    with quick_client(fake) as vast:
        offer = rank(vast.search(QUERY), QUERY)[0]
        fake.steer(failures=[{"what": "lost", "call": "create"}, {"what": "500", "call": "instances", "times": 100}])
        with pytest.raises(CreateUnknownError, match="whether an instance 'mine' exists"):
            rent(vast, "mine", offer.id)
        assert len(fake.live()) == 1
        fake.steer(failures=[])
        assert [instance.label for instance in vast.instances()] == ["mine"]


def test_without_a_connection_nothing_was_made(quick: None) -> None:
    with VastClient("k", "http://127.0.0.1:9", total_s=1.0, intervals_s={}) as vast:
        with pytest.raises(UnavailableError, match=r"no connection to http://127\.0\.0\.1:9") as down:
            rent(vast, offer_id=3)
        assert not down.value.maybe_done
        assert not isinstance(down.value, CreateUnknownError)


def test_the_api_down_and_back(vast: VastClient, fake: FakeHandle) -> None:
    number = rent(vast)
    fake.steer(down_s=600)
    with pytest.raises(UnavailableError):
        vast.destroy(number)
    fake.steer(down_s=0)
    vast.destroy(number)
    assert fake.live() == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"label": "x" * 61}, "label: expected at most 60 characters, found 61"),
        ({"label": ""}, "label: expected one of its own"),
        ({"onstart": "x" * 4049}, "onstart: expected at most 4048 characters, found 4049"),
        ({"env": {"A": "x" * 257}}, "env A: expected at most 256 characters, found 257"),
        ({"disk_gb": 5}, "disk: expected at least 8 GB, found 5"),
    ],
)
def test_what_the_api_would_refuse_is_not_sent(
    vast: VastClient, fake: FakeHandle, more: dict[str, Any], said: str
) -> None:
    with pytest.raises(RefusedError) as refused:
        rent(vast, offer_id=1, **more)
    assert said in str(refused.value)
    assert fake.calls() == []


def test_a_create_whose_answer_names_no_instance_is_looked_for(quick: None) -> None:
    found = '{"success": true, "instances": [{"id": 41, "label": "mine"}, {"id": 42, "label": "other"}]}'
    answers = [(200, '{"success": true}', {}), (200, found, {})]
    with answering(*answers) as url, VastClient("k", url, intervals_s={}) as vast:
        assert rent(vast, "mine", offer_id=1) == 41
