"""What the API sends, read: as documented, as older records have it, and with something missing."""

from typing import Any

import pytest

from midas_ray.cloud.errors import MalformedAnswerError
from midas_ray.cloud.messages import Account, Instance, Offer, read

OFFER = {
    "id": 7,
    "machine_id": 88,
    "gpu_name": "RTX 4090",
    "num_gpus": 2,
    "gpu_ram": 24564,
    "dph_total": 0.75,
    "verification": "verified",
    "reliability2": 0.9987,
    "inet_down": 812.5,
    "geolocation": "Texas, US",
    "cpu_cores_effective": 24.0,
    "an_unknown_field": {"a": [1]},
}
RUNNING = {
    "id": 31,
    "actual_status": "running",
    "label": None,
    "public_ipaddr": "203.0.113.9 ",
    "ssh_host": "ssh5.vast.ai",
    "ssh_port": 12122,
    "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "40123"}], "8080/tcp": None},
}


def test_an_offer_with_the_names_of_older_records() -> None:
    offer = read(Offer, OFFER, "an offer")
    assert (offer.verified, offer.reliability, offer.inet_down_mbps) == (True, 0.9987, 812.5)
    assert (offer.gpu_ram_gb, offer.country, offer.cpu_cores) == (24, "US", 24.0)
    newer = read(Offer, OFFER | {"reliability": 0.5, "verified": False}, "an offer")
    assert (newer.reliability, newer.verified) == (0.5, False)


@pytest.mark.parametrize("field", ["id", "machine_id", "num_gpus", "dph_total"])
@pytest.mark.parametrize("value", [None, [], "many"])
def test_a_field_that_matters_missing_or_of_another_type(field: str, value: Any) -> None:
    with pytest.raises(MalformedAnswerError, match=f"an offer: .*{field}"):
        read(Offer, OFFER | {field: value}, "an offer")


@pytest.mark.parametrize("raw", [None, [], "text", 3])
def test_no_object(raw: Any) -> None:
    with pytest.raises(MalformedAnswerError, match="the account: expected an object"):
        read(Account, raw, "the account")


def test_the_direct_address_comes_before_the_proxy() -> None:
    assert read(Instance, RUNNING, "x").ssh_address == ("203.0.113.9", 40123)
    assert read(Instance, RUNNING | {"ports": {}}, "x").ssh_address == ("ssh5.vast.ai", 12122)
    assert read(Instance, RUNNING | {"ports": {"22/tcp": None}}, "x").ssh_address == ("ssh5.vast.ai", 12122)
    assert read(Instance, RUNNING | {"ports": None, "ssh_host": None}, "x").ssh_address is None
    assert read(Instance, {"id": 1}, "x").ssh_address is None


@pytest.mark.parametrize(
    "ports", [[], "none", {"22/tcp": []}, {"22/tcp": [{}]}, {"22/tcp": [{"HostPort": ""}]}, {"22/tcp": ["x"]}]
)
def test_an_instance_is_listed_whatever_is_said_of_its_ports(ports: Any) -> None:
    assert read(Instance, RUNNING | {"ports": ports}, "x").ssh_address == ("ssh5.vast.ai", 12122)


def test_a_machine_without_gpus() -> None:
    bare = read(Offer, {"id": 1, "machine_id": 2, "num_gpus": 0, "gpu_name": None, "dph_total": 0.02}, "an offer")
    assert (bare.gpu_name, bare.gpu_ram_gb) == ("", 0)


@pytest.mark.parametrize(
    ("status", "lost"), [(None, False), ("loading", False), ("exited", True), ("unknown", True), ("offline", True)]
)
def test_what_never_comes_back(status: str | None, lost: bool) -> None:
    assert read(Instance, {"id": 1, "actual_status": status}, "x").never_recovers is lost


def test_outbid_is_a_bid_instance_whose_contract_stopped_against_our_will() -> None:
    outbid = {"id": 1, "is_bid": True, "intended_status": "running", "cur_state": "stopped"}
    assert read(Instance, outbid, "x").outbid
    assert not read(Instance, outbid | {"is_bid": False}, "x").outbid
    assert not read(Instance, outbid | {"intended_status": "stopped"}, "x").outbid
    assert not read(Instance, outbid | {"cur_state": "running"}, "x").outbid
