"""The client against the fake over HTTP: the calls, and each failure by its kind."""

import logging

import pytest

from midas_ray.cloud.client import VastClient
from midas_ray.cloud.errors import (
    AuthError,
    MalformedAnswerError,
    NoCreditError,
    OfferGoneError,
    RateLimitedError,
    RefusedError,
    UnavailableError,
    VastError,
)
from midas_ray.cloud.fake import FakeHandle, running_fake
from midas_ray.cloud.offers import OfferQuery, rank
from midas_ray.errors import UsageError
from tests.cloud.answering import answering
from tests.cloud.clients import QUERY, quick_client, rent

KEY_LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG midas"


def test_rent_label_show_and_destroy(vast: VastClient, fake: FakeHandle) -> None:
    vast.ensure_ssh_key(KEY_LINE)
    offer = rank(vast.search(QUERY), QUERY)[0]
    number = rent(vast, "midas-a", offer.id)
    vast.set_label(number, "midas-b")
    shown = vast.show(number)
    assert shown is not None
    assert (shown.label, shown.machine_id, shown.dph_total) == ("midas-b", offer.machine_id, offer.dph_total)
    assert [instance.id for instance in vast.instances()] == [number]
    assert offer.id not in [each.id for each in vast.search(QUERY)]
    vast.destroy(number)
    vast.destroy(number)
    assert vast.show(number) is None
    assert vast.instances() == []
    assert fake.live() == []
    assert 0 < 25.0 - vast.account().credit < 0.01


def test_a_bid_rents_at_the_bid(vast: VastClient) -> None:
    query = OfferQuery(market="bid")
    offer = rank(vast.search(query), query)[0]
    assert offer.is_bid
    with pytest.raises(OfferGoneError):
        rent(vast, "low", offer.id, bid_price=offer.min_bid * 0.9)
    number = rent(vast, "fair", offer.id, bid_price=offer.min_bid * 1.5)
    shown = vast.show(number)
    assert shown is not None
    assert shown.is_bid
    assert shown.dph_total - offer.dph_total == pytest.approx(0.5 * offer.min_bid)


def test_a_listing_of_several_pages(vast: VastClient) -> None:
    offers = vast.search(OfferQuery(num_gpus=0, verified=False, direct_ports=0, min_reliability=0))
    made = [rent(vast, f"n{offer.id}", offer.id) for offer in offers[:30]]
    assert [instance.id for instance in vast.instances()] == sorted(made)


def test_the_ssh_key_is_added_once(vast: VastClient, fake: FakeHandle) -> None:
    for _ in range(3):
        vast.ensure_ssh_key(KEY_LINE)
    assert [call["kind"] for call in fake.calls()] == ["ssh", "add_ssh", "ssh", "ssh"]
    with pytest.raises(RefusedError, match="expected a public SSH key on one line"):
        vast.ensure_ssh_key("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA")


@pytest.mark.parametrize("what", ["lost", "drop"])
def test_a_key_whose_adding_had_no_answer_is_looked_up(vast: VastClient, fake: FakeHandle, what: str) -> None:
    fake.steer(failures=[{"what": what, "call": "add_ssh", "hang_s": 0.0}])
    vast.ensure_ssh_key(KEY_LINE)
    vast.ensure_ssh_key(KEY_LINE)
    added = [call["status"] for call in fake.calls("add_ssh")]
    assert added == ([0] if what == "lost" else [0, 200])


@pytest.mark.parametrize("what", ["429", "500", "502", "503", "drop"])
def test_what_passes_is_waited_out(vast: VastClient, fake: FakeHandle, what: str) -> None:
    fake.steer(failures=[{"what": what, "times": 3}])
    assert vast.instances() == []
    assert len(fake.calls("instances")) == 4


@pytest.mark.parametrize(
    ("what", "kind"), [("429", RateLimitedError), ("500", UnavailableError), ("drop", UnavailableError)]
)
def test_what_does_not_pass_ends_in_bounded_calls(
    vast: VastClient, fake: FakeHandle, what: str, kind: type[VastError]
) -> None:
    fake.steer(failures=[{"what": what, "times": 100}])
    with pytest.raises(kind, match=r"^Vast\.ai API: account: "):
        vast.account()
    assert len(fake.calls("account")) == 6


def test_an_answer_that_never_comes(fake: FakeHandle) -> None:
    fake.steer(failures=[{"what": "hang", "times": 1, "hang_s": 30}])
    with quick_client(fake) as vast:
        assert vast.instances() == []
        assert len(fake.calls("instances")) == 2
    fake.steer(failures=[{"what": "hang", "times": 100, "hang_s": 30}])
    with quick_client(fake, total_s=1.5) as vast, pytest.raises(UnavailableError, match="no answer from"):
        vast.show(1)


def test_a_hint_of_hours_is_not_slept_through(vast: VastClient, fake: FakeHandle) -> None:
    fake.steer(search_rows_a_day=10)
    assert len(vast.search(QUERY)) > 10
    with pytest.raises(RateLimitedError, match="Daily search row quota exhausted") as refused:
        vast.search(QUERY)
    assert refused.value.retry_after_s == pytest.approx(86400, abs=60)
    assert len(fake.calls("search")) == 2


def test_a_short_hint_is_kept(vast: VastClient, fake: FakeHandle) -> None:
    fake.steer(failures=[{"what": "429", "call": "account", "retry_after_s": 0.2}])
    vast.account()
    first, second = fake.calls("account")
    assert second["at"] - first["at"] >= 0.2


@pytest.mark.parametrize("call", ["account", "instances", "search", "show"])
def test_broken_json_is_one_line_and_not_repeated(vast: VastClient, fake: FakeHandle, call: str) -> None:
    fake.steer(failures=[{"what": "malformed", "call": call}])
    with pytest.raises(MalformedAnswerError, match=f"^Vast.ai API: {call}: expected JSON, found 40 bytes of some"):
        {"account": vast.account, "instances": vast.instances, "search": lambda: vast.search(QUERY),
         "show": lambda: vast.show(1)}[call]()  # fmt: skip
    assert len(fake.calls(call)) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "instances: expected a list `instances`, found NoneType"),
        ('{"instances": null}', "instances: expected a list `instances`, found NoneType"),
        ('{"instances": {}}', "instances: expected a list `instances`, found dict"),
        ('{"instances": [{"label": "x"}]}', "an instance: Object missing required field `id`"),
        ('{"instances": [], "next_token": "again"}', "instances: expected a new page, found one given already"),
    ],
)
def test_a_listing_that_cannot_be_trusted_is_not_an_empty_one(quick: None, text: str, said: str) -> None:
    with answering((200, text, {})) as url, VastClient("k" * 64, url, intervals_s={}) as vast:
        with pytest.raises(MalformedAnswerError) as refused:
            vast.instances()
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, '{"success": false, "error": "auth_error", "msg": "Invalid user key"}', AuthError),
        (403, '{"success": false, "error": "forbidden", "msg": "no"}', AuthError),
        (404, '{"error": "x", "msg": "Invalid user key"}', AuthError),
        (403, '{"success": false, "error": "invalid_args", "msg": "Offer 1 is not your own."}', RefusedError),
        (400, '{"error": "insufficient_credit", "msg": "Your account lacks credit"}', NoCreditError),
        (200, '{"success": false, "error": "invalid_args", "msg": "no"}', RefusedError),
        (400, "<html>", RefusedError),
        (302, "", RefusedError),
    ],
)
def test_refusals_by_kind_without_repetition(status: int, body: str, kind: type[VastError]) -> None:
    elsewhere = {"Location": "http://127.0.0.1:9/"}
    answers = [(status, body, elsewhere), (200, '{"credit": 1}', {})]
    with answering(*answers) as url, VastClient("k" * 64, url, intervals_s={}) as vast:
        with pytest.raises(kind):
            vast.account()
        assert vast.account().credit == 1


def test_a_wrong_key(fake: FakeHandle) -> None:
    with VastClient("wrong", fake.url, intervals_s={}) as vast, pytest.raises(AuthError, match="VAST_API_KEY"):
        vast.instances()
    assert len(fake.calls()) == 1


@pytest.mark.parametrize("url", ["http://example.com", "ftp://127.0.0.1", "console.vast.ai", "http://"])
def test_the_key_goes_over_https_or_stays_near(url: str) -> None:
    with pytest.raises(UsageError, match=r"^VAST_URL: expected"):
        VastClient("k", url)


def test_the_key_is_nowhere(fake: FakeHandle, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    with quick_client(fake, timeout_s=0.2, total_s=1.0) as vast:
        offer = rank(vast.search(QUERY), QUERY)[0]
        for what in ("429", "500", "drop", "hang", "malformed"):
            fake.steer(failures=[{"what": what, "times": 100}])
            for call in (vast.instances, vast.account, lambda: rent(vast, "x", offer.id)):
                with pytest.raises(VastError) as error:
                    call()
                said += [str(error.value), repr(error.value), repr(error.value.__cause__)]
        said += [repr(vast), repr(vars(vast))]
    assert fake.api_key not in "\n".join([*said, caplog.text])


def test_a_server_that_echoes_the_key(quick: None) -> None:
    echo = (401, '{"error": "auth_error", "msg": "no such key: {authorization}"}', {})
    with answering(echo) as url, VastClient("sesame" * 9, url, intervals_s={}) as vast:
        with pytest.raises(AuthError, match=r"no such key: Bearer \*\*\*") as refused:
            vast.account()
        assert "sesame" not in str(refused.value)


def test_a_proxy_of_the_environment_gets_nothing_meant_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with running_fake() as fake, VastClient(fake.api_key, fake.url, intervals_s={}) as vast:
        assert vast.instances() == []
