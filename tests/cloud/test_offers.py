"""Which offers fit, in which order, and what one line says where none does."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_ray.cloud.cluster_config import NodeConfig
from midas_ray.cloud.fake.catalogue import catalogue
from midas_ray.cloud.fake.search import search
from midas_ray.cloud.messages import Offer, read
from midas_ray.cloud.offers import OfferQuery, rank, relaxations, to_search, why_none
from midas_ray.cloud.renting import query_of

CATALOGUE = catalogue()
GPUS = ("RTX 3060", "RTX 3090", "RTX 4090", "A100 SXM4", "H100 SXM")
QUERIES = st.builds(
    OfferQuery,
    gpu_names=st.lists(st.sampled_from(GPUS), max_size=2).map(tuple),
    num_gpus=st.integers(0, 8),
    min_gpu_ram_gb=st.sampled_from([0.0, 12.0, 24.0, 48.0, 80.0]),
    min_reliability=st.floats(0, 1),
    min_inet_down_mbps=st.floats(0, 6000),
    min_cpu_cores=st.floats(0, 64),
    disk_gb=st.floats(8, 900),
    max_price_per_hour=st.none() | st.floats(0.05, 5),
    max_dollars_per_gb=st.none() | st.sampled_from([0.0, 0.002, 0.01, 0.02]),
    market=st.sampled_from(["on-demand", "bid"]),
    regions=st.lists(st.sampled_from(["US", "SE", "JP", "Texas", "Quebec"]), max_size=2).map(tuple),
    verified=st.booleans(),
    min_cuda=st.sampled_from([0.0, 12.4, 12.8, 13.0]),
    direct_ports=st.sampled_from([0, 1, 100]),
    excluded_machines=st.sets(st.sampled_from([ask.machine_id for ask in CATALOGUE]), max_size=5).map(frozenset),
)


def offers_of(query: OfferQuery, body: dict[str, Any] | None = None) -> list[Offer]:
    listed = [ask.listed(bid=query.market == "bid", disk_gb=query.disk_gb, rented=False) for ask in CATALOGUE]
    raw = listed if body is None else search(listed, body)
    return [read(Offer, each, "an offer") for each in raw]


OFFER = Offer(
    id=1,
    machine_id=1,
    gpu_name="RTX 4090",
    num_gpus=1,
    gpu_ram_mb=24564,
    cpu_cores=12,
    disk_gb=500,
    reliability=0.995,
    dph_total=0.4,
    min_bid=0.2,
    inet_down_mbps=900,
    geolocation="Texas, US",
    inet_down_cost=0.02,
    inet_up_cost=0.02,
    verified=True,
    direct_port_count=100,
    cuda_max_good=12.8,
)
QUERY = OfferQuery(
    gpu_names=("RTX_4090",), min_reliability=0.99, max_price_per_hour=0.5, regions=("US",), max_dollars_per_gb=0.02
)


def changed(**fields: Any) -> Offer:
    return msgspec.structs.replace(OFFER, **fields)


@given(QUERIES)
def test_the_servers_search_loses_nothing_that_fits(query: OfferQuery) -> None:
    everywhere = rank(offers_of(query), query)
    assert rank(offers_of(query, to_search(query)), query) == everywhere


@given(QUERIES)
def test_ranked_by_price_then_reliability_and_a_narrower_cap_only_takes_away(query: OfferQuery) -> None:
    ranked = rank(offers_of(query), query)
    keys = [(offer.dph_total, -offer.reliability, offer.id) for offer in ranked]
    assert keys == sorted(keys)
    assert not {offer.machine_id for offer in ranked} & query.excluded_machines
    if ranked:
        cap = ranked[0].dph_total
        assert [offer.dph_total for offer in rank(offers_of(query), replace(query, max_price_per_hour=cap))] == [cap]


@given(QUERIES)
def test_where_none_fits_one_line_names_an_offer_of_the_relaxed_searches(query: OfferQuery) -> None:
    if rank(offers_of(query), query):
        return
    found = [offer for wider in relaxations(query) for offer in offers_of(query, to_search(wider))]
    line = why_none(found, query)
    assert line.startswith("no offer fits")
    assert "\n" not in line
    if found:
        assert any(f"${offer.dph_total:.3f}/h" in line for offer in found)


@pytest.mark.parametrize(
    "fields",
    [
        {"gpu_name": "RTX 4080"},
        {"num_gpus": 2},
        {"reliability": 0.9899},
        {"dph_total": 0.5001},
        {"geolocation": "Quebec, CA"},
        {"geolocation": ""},
        {"verified": False},
        {"direct_port_count": 0},
        {"disk_gb": 39.0},
        {"rentable": False},
        {"inet_down_cost": 5.0},
        {"inet_up_cost": 5.0},
        {"inet_down_cost": float("nan")},
        {"inet_up_cost": float("nan")},
    ],
)
def test_the_server_is_not_trusted(fields: dict[str, Any]) -> None:
    assert rank([OFFER], QUERY) == [OFFER]
    assert rank([changed(**fields)], QUERY) == []


@pytest.mark.parametrize(("gb", "listed_mb"), [(16, 15109), (24, 23034), (48, 46068), (80, 81559)])
def test_a_card_fits_its_nominal_size_though_it_lists_less(gb: float, listed_mb: float) -> None:
    assert rank([changed(gpu_ram_mb=listed_mb)], OfferQuery(min_gpu_ram_gb=gb))
    assert not rank([changed(gpu_ram_mb=listed_mb)], OfferQuery(min_gpu_ram_gb=1.5 * gb))


def test_at_one_price_the_more_reliable_comes_first() -> None:
    same = [changed(id=1, reliability=0.991), changed(id=3, reliability=0.999), changed(id=2, reliability=0.999)]
    assert [offer.id for offer in rank([*same, changed(id=9, dph_total=0.39)], QUERY)] == [9, 2, 3, 1]


def test_the_cap_is_named_with_the_price_that_gets_through() -> None:
    line = why_none([changed(dph_total=0.6234), changed(id=2, dph_total=0.7)], QUERY)
    assert line == (
        "no offer fits; the cheapest that would: 1 x RTX 4090 (24 GB, Texas, US) at $0.623/h with the price cap raised "
        "from $0.5 to $0.624 an hour"
    )
    assert rank([changed(dph_total=0.6234)], replace(QUERY, max_price_per_hour=0.624))


def test_the_price_of_traffic_is_named_with_what_lets_the_offer_in() -> None:
    line = why_none([changed(inet_up_cost=5.0, dph_total=0.01)], QUERY)
    assert line == (
        "no offer fits; the cheapest that would: 1 x RTX 4090 (24 GB, Texas, US) at $0.010/h with max_dollars_per_gb "
        "raised from 0.02 to 5.000 (traffic)"
    )


def test_a_node_type_caps_the_price_of_traffic_without_being_told_to() -> None:
    query = query_of(NodeConfig(image="image"), 1.0, frozenset())
    assert rank([OFFER, changed(id=2, inet_down_cost=0.021, dph_total=0.01)], query) == [OFFER]
    free = query_of(NodeConfig(image="image", max_dollars_per_gb=0), 1.0, frozenset())
    assert rank([OFFER], free) == []


def test_the_gpu_asked_for_comes_before_a_cheaper_other_one() -> None:
    others = [changed(id=2, gpu_name="RTX 3060", dph_total=0.07), changed(id=3, reliability=0.97, dph_total=0.3)]
    line = why_none(others, QUERY)
    assert line.index("min_reliability lowered from 0.99 to 0.97") < line.index("the model RTX 3060 let in")


def test_two_conditions_in_the_way_are_both_named() -> None:
    line = why_none([changed(dph_total=0.9, geolocation="Japan, JP")], QUERY)
    assert "the nearest: 1 x RTX 4090 (24 GB, Japan, JP) at $0.900/h with" in line
    assert "the price cap raised from $0.5 to $0.900 an hour and the region Japan, JP let in" in line


def test_an_empty_market() -> None:
    assert why_none([], QUERY) == "no offer fits: Vast.ai lists nothing in the on-demand market with 40 GB of disk"


def test_what_the_api_is_asked() -> None:
    body = to_search(replace(QUERY, excluded_machines=frozenset({9, 3}), min_gpu_ram_gb=24))
    assert body["gpu_name"] == {"in": ["RTX 4090"]}
    assert body["num_gpus"] == {"eq": 1}
    assert body["dph_total"] == {"lte": 0.5}
    assert body["geolocation"] == {"in": ["US"]}
    assert body["inet_down_cost"] == body["inet_up_cost"] == {"lte": 0.02}
    assert body["machine_id"] == {"notin": [3, 9]}
    assert body["gpu_ram"]["gte"] == pytest.approx(22609.92)
    assert (body["type"], body["allocated_storage"]) == ("ondemand", 40.0)
    assert to_search(replace(QUERY, market="bid"))["type"] == "bid"
    assert "geolocation" not in to_search(replace(QUERY, regions=("US", "Texas")))
